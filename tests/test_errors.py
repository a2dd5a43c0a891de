"""Errors that a user reads."""

import pickle
from pathlib import Path

import pytest

from xraycls.errors import DataError, MissingExtra, UsageError, XrayclsError, unknown


@pytest.mark.parametrize(
    "error",
    [
        XrayclsError("It failed", "Try again"),
        UsageError("--size 4 is too small"),
        DataError("a.png is empty", Path("a.png"), "Remove it"),
        MissingExtra("NVIDIA DALI", "dali"),
    ],
)
def test_errors_reach_another_process_whole(error):
    revived = pickle.loads(pickle.dumps(error))
    assert type(revived) is type(error)
    assert str(revived) == str(error)
    assert revived.__dict__ == error.__dict__
    assert revived.exit_code == error.exit_code


def test_an_error_is_a_sentence_and_its_way_out():
    assert str(XrayclsError("It failed.", "Try again")) == "It failed. Try again."
    assert str(MissingExtra("NVIDIA DALI", "dali")).endswith("Install it with: pip install 'nvidia-dali-cuda120>=2.0'.")
    assert "Did you mean resnet18?" in str(unknown("network", "resnet81", ["resnet18", "vgg16"]))
