"""The program where something around it is missing: its folder, a reader, a locale, a home, shared memory.

Most of it is tried with commands that don't import torch, as each is a process of its own.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.data.prepare import prepare
from xraycls.errors import LockedError

ROOT = Path(__file__).parents[2]
NOWHERE = "/dev/null/nowhere"  # no folder there can be written to, not even by root
BARE = {"HOME": NOWHERE, "TMPDIR": NOWHERE, "XDG_CACHE_HOME": "", "LC_ALL": "C", "PYTHONUTF8": "0"}
PRIVATE = ["unshare", "--mount"]  # a file system of its own, in which shared memory can be taken away

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names folders of Linux")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Eight films in two classes, one of which ASCII can't write."""
    folder = tmp_path_factory.mktemp("films")
    draw = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for name in ("gesund", "Ger\u00e4usch"):
            below = folder / split / name
            below.mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(below / f"{number}.png"), draw.integers(0, 255, (24, 24), dtype=np.uint8))
    return folder


def xraycls(*arguments, before=(), more=None, **options):
    """A command as a process of its own, which imports this checkout wherever it stands."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | (more or {})
    if environment.get("XDG_CACHE_HOME") == "":
        environment.pop("XRAYCLS_CACHE", None)
    command = [*before, sys.executable, "-m", "xraycls", *map(str, arguments)]
    options = {"capture_output": True, "text": True, "cwd": ROOT} | options
    return subprocess.run(command, env=environment, check=False, **options)


def leave(folder):
    """Go into a new folder and remove it."""
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()


def test_a_working_folder_that_is_gone_is_one_sentence(films, tmp_path):
    made = xraycls("data", "prepare", films, "store", preexec_fn=lambda: leave(tmp_path / "gone"), cwd=None)
    assert made.returncode == 1
    assert made.stderr == "Error: The working folder is gone. Change to one that exists.\n"


def test_a_reader_that_leaves_stops_no_work(films, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)  # as head does after its lines
    with os.fdopen(writing, "w") as pipe:
        streams = {"capture_output": False, "stdout": pipe, "stderr": subprocess.PIPE}
        made = xraycls("data", "convert", films, tmp_path / "made", "--to", "csv", **streams)
    assert (made.returncode, made.stderr) == (0, "")
    assert len(list((tmp_path / "made").rglob("*.png"))) == 8


def test_names_are_printed_where_there_is_no_home_and_no_locale(films):
    listed = xraycls("data", "list", films, more=BARE)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert r"Ger\xc3\xa4usch" in listed.stdout


def test_two_that_prepare_one_folder_leave_one_whole_store(films, tmp_path):
    prepare(films, tmp_path / "alone", size=16, threads=1)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "alone").iterdir()}
    fork = multiprocessing.get_context("fork")
    for number in range(8):
        folder = tmp_path / str(number)
        start, outcomes = fork.Barrier(2), fork.SimpleQueue()
        both = [fork.Process(target=_prepared, args=(films, folder, start, outcomes)) for _ in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join()
        found = sorted(outcomes.get() for _ in both)
        assert found in (["done", "done"], ["done", "locked"])
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected


def _prepared(source, folder, start, outcomes):
    start.wait()
    try:
        prepare(source, folder, size=16, threads=1)
    except LockedError:
        outcomes.put("locked")
    except BaseException as error:
        outcomes.put(repr(error))
    else:
        outcomes.put("done")


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(("loader", "processes"), [("torch", 1), ("torch", 2), ("dali", 1)])
def test_a_training_needs_no_home_no_locale_and_no_shared_memory(films, tmp_path, loader, processes):
    if not shutil.which("unshare") or subprocess.run([*PRIVATE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to a mount namespace")
    if loader == "dali":
        pytest.importorskip("nvidia.dali")
    settings = "--base-model timm:test_resnet --weights none --size 32 --epochs 1 --device cpu".split()
    without = [*PRIVATE, "sh", "-c", 'umount /dev/shm && exec "$@"', "sh"]
    settings += ["--loader", loader, "--gpus", str(processes), "--batch-size", str(4 // processes)]
    here = BARE | {"PYTHONUTF8": "1"}  # as Python has it by default, or the class names couldn't be written
    done = xraycls("train", films, "-o", tmp_path / "run", *settings, before=without, more=here)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").is_file()
