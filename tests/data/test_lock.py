"""One run folder, one writer."""

import errno
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import xraycls
from xraycls.data.arrange import arrange
from xraycls.data.formats.convert import convert
from xraycls.data.lock import LOCK, sole_writer, sole_writer_of
from xraycls.data.prepare import prepare
from xraycls.data.source import read_source
from xraycls.errors import LockedError, XrayclsError
from xraycls.workflows.detection.inference import infer

HOLDER = """
import sys, time
from pathlib import Path
from xraycls.data.lock import sole_writer
with sole_writer(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of a folder."""
    command = [sys.executable, "-c", HOLDER, "train", str(tmp_path / "run"), "--key", "secret"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_process_that_holds_a_folder_is_named(holder, tmp_path):
    with pytest.raises(
        LockedError, match=rf"run is being written to by process {holder.pid} .* train .*since"
    ) as error:
        xraycls.train(data=tmp_path / "no such data", output=tmp_path / "run")
    assert "secret" not in str(error.value)
    assert "another folder with output" in str(error.value)


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK).is_file()
    with sole_writer(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run" / LOCK).read_text()
    assert not (tmp_path / "run" / LOCK).exists()


@pytest.mark.parametrize("missing", ["fcntl", "locks"])
def test_without_locks_of_the_system_the_holder_counts_while_it_lives(holder, tmp_path, monkeypatch, missing):
    def refuse(handle: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if missing == "fcntl":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    else:
        monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(LockedError, match=str(holder.pid)), sole_writer(tmp_path / "run"):
        pass
    holder.kill()
    holder.wait()
    with sole_writer(tmp_path / "run"):
        pass


def test_of_many_at_once_one_writes(tmp_path):
    writing, most, refused = 0, 0, 0
    counting = threading.Lock()

    def write(_: int) -> None:
        nonlocal writing, most, refused
        try:
            with sole_writer(tmp_path / "a" / "b"):
                with counting:
                    writing += 1
                    most = max(most, writing)
                with counting:
                    writing -= 1
        except LockedError:
            refused += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))
    assert most == 1
    assert refused < 400


def test_a_folder_stays_if_something_was_written_there(tmp_path):
    with sole_writer(tmp_path / "a" / "b"):
        (tmp_path / "a" / "kept").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["kept"]
    (tmp_path / "mine").mkdir()
    with sole_writer(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").touch()
    with (
        pytest.raises(XrayclsError, match="run is a file and not a folder"),
        sole_writer(tmp_path / "run"),
    ):
        pass


def test_no_folder_can_be_made_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(XrayclsError, match="run could not be written: Not a directory"):
        xraycls.train(data=tmp_path / "no such data", output=tmp_path / "file" / "run")


COMMANDS = {
    "train": lambda data, out: xraycls.train(data=data, output=out),
    "train a detector": lambda data, out: xraycls.train_detector(
        detector={"network": "ssd", "backbone": "resnet10", "width": 64, "height": 64}, data=str(data), output=out
    ),
    "prepare": lambda data, out: prepare(data, out, size=8),
    "convert": lambda data, out: convert(data, out, to="csv"),
    "arrange": lambda data, out: arrange(read_source(data), out, keep_bad=True),
    "infer": lambda data, out: infer(Path("no such model"), data, labels=out),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_fills_a_folder_keeps_out(name, tiny, tmp_path):
    lock = sole_writer_of if name == "convert" else sole_writer
    out = tmp_path / "out"
    args = (out, "choose another") if name == "convert" else (out,)
    with lock(*args), pytest.raises(LockedError, match="out is being written to by process"):
        COMMANDS[name](tiny, out)
    assert not out.exists()


def test_a_folder_with_a_lock_left_behind_is_as_good_as_empty(tiny, tmp_path):
    for name in ("prepare", "arrange"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK).write_text("cut short")
        COMMANDS[name](tiny, tmp_path / name)
        assert not (tmp_path / name / LOCK).exists()
