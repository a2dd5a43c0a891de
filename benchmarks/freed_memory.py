"""What a training step costs when freed memory goes back to the system, and when it serves the next step.

    python -m benchmarks.freed_memory --json benchmarks/results/freed_memory.json

The same step in fresh processes, one after the other in every round: with the C library as it is, and within
``xraycls.training.memory.freed_memory_kept``, as every training of ``xraycls`` runs. Milliseconds are the clock's; the
system's share of the processors' time is mostly that of clearing pages.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import in_sentences, machine, show, write_json
from benchmarks.steps import Step, ceiling_step, detector_step, synthetic_objects
from xraycls.models.detection.yolo_v4 import YOLOv4Config, YOLOv4Detector
from xraycls.training.config import parse_config
from xraycls.training.memory import freed_memory_kept

_WARM_UP = 4


def resnet18() -> Step:
    """A classifier of 224 pixels, 16 pictures."""
    config = parse_config({"data": "none", "base_model": "resnet18", "batch_size": 16, "precision": "fp32"})
    return ceiling_step(config, torch.device("cpu"))


def yolo_v4() -> Step:
    """A YOLOv4 on ResNet18 of 64 pixels, 8 pictures, as in ``examples/yolo_v4.sh``."""
    detector = YOLOv4Detector(YOLOv4Config(backbone="resnet18", classes=("plate",), height=64, width=64))
    return detector_step(detector, synthetic_objects(8, 64), "fp32", torch.device("cpu"))


STEPS: dict[str, Callable[[], Step]] = {"resnet18": resnet18, "yolo_v4": yolo_v4}


def measured(name: str, keeping: bool, steps: int) -> dict[str, float]:
    """Milliseconds, the system's share of CPU time and cleared pages of a step; for a process of its own."""
    torch.manual_seed(0)
    step = STEPS[name]()
    with freed_memory_kept() if keeping else nullcontext():
        for _ in range(_WARM_UP):
            step()
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        for _ in range(steps):
            step()
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    system, user = after.ru_stime - before.ru_stime, after.ru_utime - before.ru_utime
    return {
        "milliseconds": 1000 * took / steps,
        "system_share": system / (system + user),
        "pages": (after.ru_minflt - before.ru_minflt) / steps,
        "peak_mb": after.ru_maxrss / 1024,
    }


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result: dict[str, Any] = {}
    rows = []
    for name in STEPS:
        runs: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        for _ in range(given.rounds):
            for keeping, found in runs.items():
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    found.append(pool.submit(measured, name, keeping, given.steps).result())
        pairs = zip(runs[False], runs[True], strict=True)
        faster = statistics.median(one["milliseconds"] / other["milliseconds"] for one, other in pairs)
        result[name] = {"returned": runs[False], "kept": runs[True], "faster": faster}
        for keeping, label in ((False, "returned to the system"), (True, "kept")):
            middle = {key: statistics.median(run[key] for run in runs[keeping]) for key in runs[keeping][0]}
            times = f"{faster:.2f} ×" if keeping else "1.00 ×"
            share, pages = f"{middle['system_share']:.0%}", f"{middle['pages']:,.0f}"
            rows.append(
                (name, label, f"{middle['milliseconds']:.0f}", share, pages, f"{middle['peak_mb']:,.0f}", times)
            )
    show("A training step by what becomes of freed memory", HEADER, rows)
    write_json(given.json, {"machine": machine(), "steps": given.steps, "rounds": given.rounds, "networks": result})


HEADER = ("step", "freed memory", "ms", "of it the system's", "pages cleared", "MB at the peak", "speed")


if __name__ == "__main__":
    in_sentences(main)
