"""What cross-validation costs beside as many trainings of one run each: CPU seconds, in turns.

    python -m benchmarks.folds --json folds.json

Draws films of noise with a bright corner as JPEG files (or takes ``--data``), trains all folds by `train_folds`, which
reads, decodes and recognises the pictures once and tests every one, and by one `train` a fold, which tests none; then
`test` of each of these runs on its fold, which is what it takes to have the same predictions. The order changes from
round to round. CPU seconds count all threads of this process. A short training and its test come first, so that neither
way pays for imports: as commands, single trainings would pay for them once each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import xraycls
from benchmarks.common import in_sentences, show, write_json
from xraycls.training.run_folder import RunFolder


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="image folder or CSV; drawn films when omitted")
    parser.add_argument("--count", type=int, default=100, help="films that are drawn")
    parser.add_argument("--side", type=int, default=1024, help="of a drawn film, pixels")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings: dict[str, Any] = {
        "base_model": "ResNet18",
        "weights": "none",
        "size": given.size,
        "epochs": given.epochs,
        "batch_size": 16,
        "device": "cpu",
        "folds": given.folds,
    }
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        settings["data"] = given.data or draw(root / "films", given.count, given.side)
        xraycls.test(one_run(root / "warm-up", {**settings, "epochs": 1}, 0).path, device="cpu")
        rounds = [turn(root / str(number), settings, number % 2 == 1) for number in range(given.rounds)]
    seconds = {name: [each[name] for each in rounds] for name in ("folds", "runs", "tests")}
    ratios = [each["folds"] / each["runs"] for each in rounds]
    with_tests = [each["folds"] / (each["runs"] + each["tests"]) for each in rounds]
    rows = [
        (f"train_folds(folds={given.folds}), every image tested", f"{statistics.median(seconds['folds']):.1f}", "1"),
        (
            f"{given.folds} times train(fold=k), without any test",
            f"{statistics.median(seconds['runs']):.1f}",
            f"{statistics.median(ratios):.3f}",
        ),
        (
            "the same and test(RUN) of each",
            f"{statistics.median(map(sum, zip(seconds['runs'], seconds['tests'], strict=True))):.1f}",
            f"{statistics.median(with_tests):.3f}",
        ),
    ]
    show(f"{given.epochs} epochs at {given.size} pixels", ("what", "CPU seconds", "folds beside it"), rows)
    figures = {
        "settings": {**settings, "data": str(given.data or f"{given.count} drawn films of {given.side} pixels")},
        "seconds": seconds,
        "ratios": ratios,
        "ratios_with_tests": with_tests,
    }
    write_json(given.json, figures)


def turn(root: Path, settings: dict[str, Any], folds_first: bool) -> dict[str, float]:
    """Train both ways, and test the single runs; returns the CPU seconds of each."""
    seconds: dict[str, float] = {}
    runs: list[RunFolder] = []

    def single() -> None:
        runs.extend(one_run(root / f"run-{fold}", settings, fold) for fold in range(settings["folds"]))

    ways: dict[str, Callable[[], object]] = {
        "runs": single,
        "folds": lambda: xraycls.train_folds(output=root / "folds", **settings),
    }
    for name in sorted(ways, reverse=not folds_first):
        seconds[name] = cost_of(ways[name])
    seconds["tests"] = cost_of(lambda: [xraycls.test(run.path, device="cpu") for run in runs])
    return seconds


def cost_of(action: Callable[[], object]) -> float:
    """The CPU seconds of all threads of this process while something is done."""
    started = cpu_seconds()
    action()
    return cpu_seconds() - started


def one_run(folder: Path, settings: dict[str, Any], fold: int) -> RunFolder:
    """Train one fold as a run of its own."""
    return xraycls.train(output=folder, fold=fold, **settings).run


def draw(folder: Path, count: int, side: int) -> Path:
    """Write films of two classes, as many of each."""
    rng = np.random.default_rng(0)
    for number in range(count):
        positive = number % 2
        path = folder / ("PNEUMONIA" if positive else "NORMAL") / f"{number}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        film = cv2.resize(rng.integers(20, 120, (32, 32), dtype=np.uint8), (side, side))
        film[: side // 3, : side // 3] += np.uint8(80 * positive)
        cv2.imwrite(str(path), film)
    return folder


def cpu_seconds() -> float:
    """Of all threads of this process so far."""
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    in_sentences(main)
