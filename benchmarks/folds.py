"""What cross-validation costs beside as many trainings of one run each: CPU seconds, in turns.

    python -m benchmarks.folds --json folds.json

Draws films of noise with a bright corner as JPEG files (or takes ``--data``), trains all folds by `train_folds`, which
reads, decodes and recognises the pictures once and tests every one, and by one `train` a fold, which tests none. The
order changes from round to round. CPU seconds count all threads of this process.
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


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="image folder or CSV; drawn films when omitted")
    parser.add_argument("--count", type=int, default=100, help="films that are drawn")
    parser.add_argument("--side", type=int, default=1024, help="of a drawn film, pixels")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
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
        one_run(root / "warm-up", {**settings, "epochs": 1}, 0)
        ways: dict[str, Callable[[Path], object]] = {
            "folds": lambda folder: xraycls.train_folds(output=folder, **settings),
            "runs": lambda folder: [one_run(folder / str(n), settings, n) for n in range(given.folds)],
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(given.rounds):
            for name in sorted(ways, reverse=number % 2 == 1):
                started = cpu_seconds()
                ways[name](root / f"{name}-{number}")
                seconds[name].append(cpu_seconds() - started)
    ratios = [ours / theirs for ours, theirs in zip(seconds["folds"], seconds["runs"], strict=True)]
    rows = [
        (f"train_folds(folds={given.folds}), with the pooled test", f"{statistics.median(seconds['folds']):.1f}"),
        (f"{given.folds} times train(fold=k)", f"{statistics.median(seconds['runs']):.1f}"),
        ("ratio", f"{statistics.median(ratios):.3f}"),
    ]
    show(f"{given.epochs} epochs at {given.size} pixels", ("what", "CPU seconds"), rows)
    figures = {"settings": {**settings, "data": str(given.data or "drawn")}, "seconds": seconds, "ratios": ratios}
    write_json(given.json, figures)


def one_run(folder: Path, settings: dict[str, Any], fold: int) -> object:
    """Train one fold as a run of its own."""
    return xraycls.train(output=folder, fold=fold, **settings)


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
