"""Two processes are one training: the same weights as one process with the same global batch."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xraycls.training.run_folder import RunFolder

# No batch statistics and no dropout, so that halves of a batch add up to the whole.
SETTINGS = (
    "--base-model timm:convnext_atto --weights none --size 32 --epochs 2 --optimizer sgd --learning-rate 0.02 "
    "--schedule constant --warmup-epochs 0 --precision fp32 --device cpu --threads 1 --accumulate 2"
).split()


def train(data: Path, run: Path, *more: str) -> RunFolder:
    command = [sys.executable, "-m", "xraycls", "train", "--data", str(data), "-o", str(run), *SETTINGS, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return RunFolder(run)


@pytest.mark.exhaustive
def test_two_gloo_processes_train_what_one_does(tiny, tmp_path):
    one = train(tiny, tmp_path / "one", "--batch-size", "10")  # 24 images: the last batch is padded
    two = train(tiny, tmp_path / "two", "--batch-size", "5", "--gpus", "2")
    a, b = load_file(one.last), load_file(two.last)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    for first, second in zip(one.read_metrics(), two.read_metrics(), strict=True):
        assert abs(first["val_loss"] - second["val_loss"]) < 1e-4
        assert abs(first["train_loss"] - second["train_loss"]) < 1e-4
    assert one.read_metrics()[1]["train_loss"] != one.read_metrics()[0]["train_loss"]


@pytest.mark.walkthrough
@pytest.mark.exhaustive
def test_a_distributed_run_interrupted_by_ctrl_c_goes_on(tiny, tmp_path):
    """torchrun's agent passes SIGTERM on; both processes stop at the same step, and the run ends as a whole one."""
    whole = train(tiny, tmp_path / "whole", "--batch-size", "2", "--gpus", "2", "--epochs", "6")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "xraycls", "train", "--data", str(tiny), "-o", str(run), *SETTINGS]
    command += ["--batch-size", "2", "--gpus", "2", "--epochs", "6"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not RunFolder(run).metrics.is_file():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert 1 <= len(RunFolder(run).read_metrics()) < 6
    resumed = train(tiny, run, "--batch-size", "2", "--gpus", "2", "--epochs", "6", "--resume", "auto")
    a, b = load_file(resumed.last), load_file(whole.last)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    for first, second in zip(resumed.read_metrics(), whole.read_metrics(), strict=True):
        assert abs(first["train_loss"] - second["train_loss"]) < 1e-4
