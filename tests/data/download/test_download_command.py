"""`xraycls data download` as a whole."""

import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

import xraycls
from tests.data.download.kaggle_stand_in import CORONAHACK, FILES, RSNA, archive_of, noise
from xraycls.cli import main
from xraycls.cli.app import app
from xraycls.data.download import CATALOGUE

RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs begin with Ctrl-C ignored
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv[1]
from xraycls.cli import main
main(sys.argv[2:])
"""


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["data", "download", *arguments])
    told = capsys.readouterr()
    return ended.value.code or 0, told.out, told.err


@pytest.mark.usefixtures("signed_in", "waits")
class TestSignedIn:
    def test_it_says_what_it_did_and_what_is_next(self, stand_in, tmp_path, capsys):
        folder = tmp_path / "my set"
        code, out, _ = run(capsys, "coronahack", "--dest", str(folder))
        assert code == 0
        assert f"Downloaded 3 files (0.5 MB) to {folder}." in out
        assert "Licence: CC BY 4.0" in out
        assert f"Next: xraycls data arrange coronahack '{folder}'" in out
        code, out, _ = run(capsys, "CoronaHack", "--dest", str(folder))
        assert (code, f"{folder} is already there: 3 files" in out) == (0, True)

    def test_the_folder_is_named_after_the_set(self, stand_in, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert run(capsys, "coronahack", "--keep_archive")[0] == 0
        assert set(FILES) | {"download.json", f"{CORONAHACK}.zip"} == set(contents(tmp_path / "coronahack"))

    def test_as_json(self, stand_in, tmp_path, capsys):
        _, out, _ = run(capsys, "rsna", "--dest", str(tmp_path / "set"), "--no-unpack", "--json")
        told = json.loads(out)
        assert told["archive"] == str(tmp_path / "set" / f"{RSNA}.zip")
        assert (told["name"], told["files"], told["is_new"]) == ("rsna", 0, True)

    def test_single_files(self, stand_in, tmp_path, capsys):
        stand_in.files |= {f"{RSNA}/a.csv": b"1", f"{RSNA}/b.csv": b"22"}
        code, out, _ = run(capsys, "rsna", "--dest", str(tmp_path / "set"), "--files", "a.csv", "--files", "b.csv")
        assert (code, "Downloaded 2 files" in out) == (0, True)
        assert contents(tmp_path / "set").keys() == {"a.csv", "b.csv", "download.json"}

    def test_a_refusal_is_one_line(self, stand_in, tmp_path, capsys):
        stand_in.refusals.append((403, {}, {"code": 403, "message": "You must accept this competition's rules"}))
        code, out, err = run(capsys, "rsna", "--dest", str(tmp_path / "set"))
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert f"https://www.kaggle.com/competitions/{RSNA}/rules" in err

    def test_the_token_is_in_no_line_log_or_file(self, stand_in, tmp_path, capsys, caplog):
        caplog.set_level(logging.DEBUG)
        stand_in.refusals.append((403, {}, {"code": 403, "message": "no, not for KGAT"}))
        told = [*run(capsys, "rsna", "--dest", str(tmp_path / "set")), caplog.text]
        told += [*run(capsys, "rsna", "--dest", str(tmp_path / "set")), caplog.text]
        assert (told[0], told[4]) == (1, 0)
        assert "secret" not in "".join(map(str, told))
        assert not [name for name, content in contents(tmp_path).items() if b"secret" in content]

    def test_flags_that_do_not_go_together(self, stand_in, tmp_path, capsys):
        code, _, err = run(capsys, "rsna", "--dest", str(tmp_path / "set"), "--files", "a.csv", "--no-unpack")
        assert (code, "--files fetches no archive" in err) == (2, True)


def test_a_name_that_does_not_exist(home, capsys):
    code, _, err = run(capsys, "kermanny")
    assert (code, "Did you mean kermany?" in err) == (2, True)


@pytest.mark.walkthrough
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_download_goes_on(stand_in, home, tmp_path, monkeypatch, stop):
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("needs signals")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_secret")
    files = {"big.bin": noise(3_000_000)}
    stand_in.files[CORONAHACK] = archive_of(files)
    stand_in.pause_at = 2_000_000
    folder = tmp_path / "set"
    command = [sys.executable, "-c", RUN, stand_in.address, "data", "download", "coronahack", "--dest", str(folder)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    part = folder / f"{CORONAHACK}.zip.part"
    while not (part.exists() and part.stat().st_size > 1_500_000):
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.01)
    running.send_signal(stop)
    _, err = running.communicate(timeout=30)
    stand_in.go_on.set()
    if stop == signal.SIGINT:
        assert running.returncode == 130
        assert err == "Stopped. The same command goes on from here.\n"
    came = part.stat().st_size
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert stand_in.parts == [None, f"bytes={came}-"]
    assert contents(folder).keys() == {"big.bin", "download.json"}
    assert (folder / "big.bin").read_bytes() == files["big.bin"]


def test_one_file_alone_knows_the_client_and_requests():
    package = Path(xraycls.__file__).parent
    imports = re.compile(r"^\s*(?:from|import) (?:kaggle|kagglesdk|requests|urllib3)\b", re.MULTILINE)
    found = [path.relative_to(package).as_posix() for path in package.rglob("*.py") if imports.search(path.read_text())]
    assert found == ["data/download/kaggle.py"]


def test_help_and_the_library_import_neither_client_nor_requests():
    code = (
        "import sys\nimport xraycls.data.download\nfrom xraycls.cli import main\n"
        "try:\n    main(['data', 'download', '--help'])\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'kaggle', 'kagglesdk', 'requests', 'torch', 'cv2'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_client_the_command_that_installs_it_is_told(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglesdk", None)
    code, _, err = run(capsys, "coronahack", "--dest", str(tmp_path / "set"))
    assert (code, "pip install 'kaggle>=" in err) == (1, True)


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_is_next_is_a_command_that_exists(name, tmp_path):
    words = shlex.split(CATALOGUE[name].next_command(tmp_path / "my set"))
    assert words.pop(0) == "xraycls"
    command = typer.main.get_command(app)
    while hasattr(command, "get_command"):
        command = command.get_command(None, words.pop(0))
    parsed = command.make_context("verb", words)
    assert any("my set" in str(value) for value in parsed.params.values())


def test_the_catalogue_is_complete():
    assert set(CATALOGUE) == {"coronahack", "kermany", "rsna", "siim"}
    assert CATALOGUE["kermany"].page == "https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia"
    assert CATALOGUE["siim"].page == "https://www.kaggle.com/competitions/siim-covid19-detection"
