"""What the benchmark scripts share: the machine in words, interleaved timing, tables and JSON."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from xraycls.data.processors import available_processors
from xraycls.errors import XrayclsError
from xraycls.training.run_folder import installed

_PACKAGES = ("torch", "torchvision", "timm", "opencv-python-headless", "pillow", "numpy", "nvidia-dali-cuda120")


def machine() -> dict[str, Any]:
    """Processor, cores, GPU and versions, as a figure's context."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": available_processors(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": installed(_PACKAGES),
    }


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with what all speed benchmarks take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder or CSV of image files; 120 phantoms when omitted")
    parser.add_argument("--threads", type=int, help="decoding threads and worker processes")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser


def in_sentences(main: Callable[[], None]) -> None:
    """Run a script; what the user can mend ends it with one sentence."""
    try:
        main()
    except XrayclsError as error:
        raise SystemExit(str(error)) from None


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
"""Seconds of the wall's clock, or of all threads of this process: of a shared machine's neighbours those know less."""


def rate(run: Callable[[], int], at_least: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Items a second of ``run``, which is repeated until ``at_least`` seconds have passed, once or more."""
    _finish_device()
    started, items = clock(), 0
    while not items or clock() - started < at_least:
        items += run()
    _finish_device()
    return items / (clock() - started)


def interleaved(
    runs: Mapping[str, Callable[[], int]],
    rounds: int,
    at_least: float = 0.3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Items a second of every run in every round; all runs take turns, so a change of the machine hits all alike.

    Args:
        runs: name → a function that does its work once and gives the number of items.
        rounds: after one warm-up round that doesn't count.
        at_least: seconds of a measurement; short work is done several times.
        clock: that tells the seconds, of ``CLOCKS``.
    """
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            rates[name].append(rate(run, at_least, clock))
    return rates


def _finish_device() -> None:
    """Wait for the GPU: what was only handed to it is not done."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def median_ratio(rates: Sequence[float], base: Sequence[float]) -> float:
    """The median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(rates, base, strict=True))


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=120).print(table)


def show_not_measured(reasons: Mapping[str, str]) -> None:
    """Print why rows are missing from a table, one sentence a reason."""
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name, why in reasons.items() if why == reason]
        print(f"Not measured: {', '.join(names)}. {reason}")


def write_json(path: Path | None, result: Mapping[str, Any]) -> None:
    """Write a benchmark's result with its machine; nothing without a path."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
        print(f"Wrote {path}")
