"""The scripts that start programs of their own run to their end and write their figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import startup
from benchmarks.crowded import TRAININGS
from xraycls.errors import UsageError

ROOT = Path(__file__).parents[1]


def figures(module, path, *arguments):
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--rounds", "1", "--json", str(path)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return json.loads(path.read_text())


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_start_is_measured_in_this_checkout_and_in_an_older_one(tmp_path):
    found = figures("startup", tmp_path / "startup.json", "--before", "HEAD")
    assert {(each["program"].split(",")[0], each["checkout"]) for each in found["programs"]} == {
        (program, checkout)
        for program in ("import torch", "xraycls predict", "xraycls detector detect")
        for checkout in ("before", "now")
    }
    assert all(len(each["cpu_seconds"]) == 1 and each["cpu_seconds"][0] > 0 for each in found["programs"])


@pytest.mark.exhaustive
@pytest.mark.slow
def test_every_training_has_an_epoch_with_and_without_neighbours(tmp_path):
    found = figures("crowded", tmp_path / "crowded.json", "--images", "32", "--neighbours", "1", "--threads", "1")
    expected = [(name, busy) for name in TRAININGS for busy in (False, True)]
    assert [(each["training"], each["neighbours"]) for each in found["epochs"]] == expected
    assert all(each["seconds"][0] > 0 for each in found["epochs"])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the history of a checkout")
def test_the_older_revision_is_unpacked_and_an_unknown_one_is_refused(tmp_path):
    checkouts = startup._checkouts(tmp_path / "before", "HEAD")
    assert list(checkouts) == ["before", "now"]
    assert (checkouts["before"] / "xraycls" / "__main__.py").is_file()
    with pytest.raises(UsageError, match="git can't give the files of no-such-revision"):
        startup._checkouts(tmp_path / "other", "no-such-revision")
