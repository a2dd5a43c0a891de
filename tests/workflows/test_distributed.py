"""Two processes are one training: the same weights as one process with the same global batch."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from xraycls.models.files import read_metadata
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


def draw_findings(folder: Path) -> Path:
    """18 training, 9 validation and, drawn of the former, 3 test films of findings that hardly any of them tells.

    One training film shows Hernia, so that in every batch one process at most has it, and validation has none; of
    Fracture nothing is known but what is uncertain. Most other labels are unknown.
    """
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["path,split,Edema,Mass,Hernia,Fracture"]
    for number in range(30):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (36, 36), dtype=np.uint8))
        cells = [str(number % 2), "1" if number % 3 else "", str(int(number == 5)), "-1" if number == 8 else ""]
        if number % 4 == 3:
            cells = ["", "0", "", ""]
        lines.append(f"{number}.png,{'train' if number < 21 else 'val'},{','.join(cells)}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


@pytest.mark.exhaustive
def test_two_processes_train_findings_that_one_of_them_does_not_see(tmp_path):
    told = ["--labels", "Edema,Mass,Hernia,Fracture", "--class-weights", "balanced", "--uncertain", "smooth"]
    data = draw_findings(tmp_path / "films")
    one = train(data, tmp_path / "one", *told, "--batch-size", "4")
    two = train(data, tmp_path / "two", *told, "--batch-size", "2", "--gpus", "2")
    a, b = load_file(one.last), load_file(two.last)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    for first, second in zip(one.read_metrics(), two.read_metrics(), strict=True):
        figures = [name for name in first if name not in ("seconds", "waiting")]
        assert [second[name] for name in figures] == pytest.approx(
            [first[name] for name in figures], abs=1e-4, nan_ok=True
        )
        assert np.isnan([first["val_auroc_Hernia"], first["val_auroc_Fracture"]]).all()
        assert np.isfinite([first["val_auroc_Edema"], first["val_loss"], first["train_loss"]]).all()
    for run in (one, two):
        assert sorted(json.loads((read_metadata(run.best) or {})["thresholds"])) == ["Edema", "Mass"]


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


def workers_of(agent: subprocess.Popen) -> list[int]:
    """The processes that an agent of torchrun has started and that train."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == agent.pid and b"xraycls" in (stat.parent / "cmdline").read_bytes():
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
@pytest.mark.exhaustive
def test_two_nodes_of_torchrun_are_one_training_and_a_lost_process_is_replaced(tiny, tmp_path):
    """Two agents that meet on 127.0.0.1 as two nodes; a killed process restarts both, and they go on with the run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    run = RunFolder(tmp_path / "run")
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, "--max-restarts", "9", "-m", "xraycls", "train"]
    command += ["--data", str(tiny), "-o", str(run.path), *SETTINGS, "--batch-size", "2", "--epochs", "6"]
    # Else the processes of a restart find the addresses that those before them left (pytorch issue 135712).
    own_store = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    with (tmp_path / "printed.txt").open("wb") as printed:
        how = {"stdout": printed, "stderr": printed, "env": own_store}
        nodes = [subprocess.Popen([*command, "--resume", "auto"], **how) for _ in range(2)]
    try:
        while not run.metrics.is_file():
            assert all(node.poll() is None for node in nodes), (tmp_path / "printed.txt").read_text()
            time.sleep(0.05)
        (worker,) = workers_of(nodes[1])
        os.kill(worker, signal.SIGKILL)
        assert len(run.read_metrics()) < 6
        assert [node.wait(timeout=900) for node in nodes] == [0, 0], (tmp_path / "printed.txt").read_text()
        assert "lost the connection to another one" in (tmp_path / "printed.txt").read_text()
    finally:
        for node in nodes:
            node.kill()
    alone = train(tiny, tmp_path / "alone", "--batch-size", "4", "--epochs", "6")
    a, b = load_file(run.last), load_file(alone.last)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2, 3, 4, 5, 6]
    assert json.loads((run.path / "environment.json").read_text())["processes"] == 2
