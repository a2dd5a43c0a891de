"""`xraycls bench parity` as a user meets it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from xraycls.cli import main
from xraycls.data.phantom import write_phantom
from xraycls.loaders.dali_graph import is_installed
from xraycls.loaders.resident_engine import ResidentLoader

FAST = "--number 6 --size 160 --device cpu --threads 1".split()


def run(*arguments: object) -> int:
    """The exit code of `xraycls bench parity`."""
    with pytest.raises(SystemExit) as end:
        main(["bench", "parity", *map(str, arguments)])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """An image folder of twelve phantoms."""
    folder = tmp_path_factory.mktemp("films")
    write_phantom(folder, images=12)
    return folder


@pytest.fixture
def flipped(monkeypatch):
    """A resident engine that flips its pictures."""
    honest = ResidentLoader._finished
    monkeypatch.setattr(
        ResidentLoader, "_finished", lambda self, batch, images, failed: honest(self, batch, images.flip(-1), failed)
    )


@pytest.mark.walkthrough
def test_a_table_tells_of_every_engine_and_view(films, tmp_path, capfd):
    assert run("--data", films, "-o", tmp_path / "out", *FAST) == 0
    printed = capfd.readouterr().out
    lines = printed.splitlines()
    engines = 1 + is_installed()
    assert "6 pictures of 160 × 160 against torch" in lines[0]
    assert len([line for line in lines if line.endswith(" within")]) == 2 * engines
    assert "resident on cpu" in printed
    assert "resident on cuda was left out: " in printed
    assert "random weights: top-1 is only a rough check and not judged" in printed
    assert "Every engine is within the bars." in printed
    assert f"{tmp_path / 'out' / 'parity.png'}" in printed
    with Image.open(tmp_path / "out" / "parity.png") as picture:
        assert picture.format == "PNG"
    assert all(len(line) <= 80 for line in lines[: 3 + 3 * engines])


@pytest.mark.walkthrough
def test_json_tells_the_same_and_nothing_else(films, tmp_path, capfd):
    assert run("--data", films, "-o", tmp_path, "--seed", 3, "--json", *FAST) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["within"] is True
    assert (found["images"], found["size"], found["seed"], found["is_trained"]) == (6, 160, 3, False)
    assert found["grey_bars"] == {"evaluation": 1.0, "training": 2.5}
    assert found["picture"] == str(tmp_path / "parity.png")
    assert {row["engine"] for row in found["comparisons"]} >= {"resident on cpu"}
    for row in found["comparisons"]:
        assert row["within"] is True
        assert 0 <= row["mean"] <= row["worst"] <= 255
        assert row["worst_image"].endswith(".jpeg")


@pytest.mark.walkthrough
def test_a_fault_is_told_after_the_table_and_exits_with_1(films, tmp_path, capfd, flipped):
    assert run("--data", films, "-o", tmp_path, *FAST) == 1
    printed = capfd.readouterr().out
    assert len([line for line in printed.splitlines() if line.endswith(" beyond")]) == 2
    assert "Beyond: resident on cpu draws the evaluation pictures" in printed
    assert run("--data", films, "-o", tmp_path, "--json", *FAST) == 1
    found = json.loads(capfd.readouterr().out)
    assert found["within"] is False
    assert len(found["beyond"]) == 2


@pytest.mark.walkthrough
def test_more_pictures_than_there_are_is_said(films, tmp_path, capfd):
    assert run("--data", films, "-o", tmp_path, *FAST, "--images", 1000) == 0
    out, err = capfd.readouterr()
    assert "12 pictures only" in " ".join(err.split())
    assert out.startswith("12 pictures")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--data", "no/such/folder"], 1, "There is no file or folder no/such/folder"),
        (["--number", "0"], 2, "0 pictures leave nothing to compare"),
        (["--model", "no-such-run"], 1, "no-such-run is no run folder"),
        (["--augment", "radiogramm"], 2, "Did you mean radiograph?"),
    ],
)
def test_mistakes_are_one_sentence(films, tmp_path, monkeypatch, capfd, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    assert run("--data", films, *FAST, *arguments) == code
    assert sentence in " ".join(capfd.readouterr().err.split())
    assert not list(tmp_path.glob("*.png"))
