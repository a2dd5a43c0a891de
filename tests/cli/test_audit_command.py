"""`xraycls data audit` as a user meets it."""

import json
import shutil

import pytest

from xraycls.cli import main
from xraycls.data.phantom import write_phantom


def run(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean") / "my films"
    write_phantom(folder, images=24, size=96, threads=1)
    return folder


@pytest.fixture
def leak(clean, tmp_path):
    folder = shutil.copytree(clean, tmp_path / "leak")
    shutil.copy(next((folder / "train/NORMAL").iterdir()), folder / "test/NORMAL/p0900_1.jpeg")
    return folder


def test_clean_data(clean, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run("data", "audit", clean, "--strict") == 0
    out = capfd.readouterr().out
    assert "train: 7 NORMAL, 5 PNEUMONIA\n" in out
    assert "Nothing found in 24 pictures.\n" in out
    assert "Wrote audit-my films/audit.html" in out
    assert (tmp_path / "audit-my films/audit.html").is_file()


def test_a_leak(leak, tmp_path, capfd):
    assert run("data", "audit", leak, "-o", tmp_path / "report", "--threads", 1) == 0
    out = " ".join(capfd.readouterr().out.split())
    assert "error 2 pictures with the very same content" in out
    assert run("data", "audit", leak, "--output", tmp_path / "report", "--quick", "--strict") == 1


def test_json_for_programs(leak, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run("data", "audit", leak, "--json", "--quick") == 0
    told = json.loads(capfd.readouterr().out)
    assert [finding["kind"] for finding in told["findings"]] == ["duplicate-across-splits"]
    assert told["quick"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leak"]  # no report unless asked


MISTAKES = {
    "no data": (["no/such"], 1, "There is no file or folder no/such"),
    "within the data": (["DATA", "-o", "DATA/report"], 2, "lies in the data"),
    "no threads": (["DATA", "--threads", "0"], 2, "--threads"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_sentence(clean, mistake, capfd):
    arguments, code, sentence = MISTAKES[mistake]
    assert run("data", "audit", *(str(a).replace("DATA", str(clean)) for a in arguments)) == code
    err = " ".join(capfd.readouterr().err.split())
    assert sentence in err
    assert "Traceback" not in err


def test_the_default_report_stays_out_of_the_data(clean, monkeypatch, capfd):
    monkeypatch.chdir(clean)
    assert run("data", "audit", ".", "--quick") == 2
    assert "Name another folder by --output" in " ".join(capfd.readouterr().err.split())
    assert not list(clean.glob("audit-*"))
