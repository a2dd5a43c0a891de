"""What the benchmark scripts share: the machine in words, interleaved timing, tables and JSON."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def machine() -> dict[str, Any]:
    """Processor, cores, GPU and versions, as a figure's context."""
    import torch

    from xraycls.loaders.choose import available_processors

    cpu = next(
        (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    packages = ("torch", "torchvision", "opencv-python-headless", "pillow", "numpy")
    return {
        "cpu": cpu,
        "cores": available_processors(),
        "gpu": gpu,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def interleaved(runs: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Items a second of every run in every round; all runs take turns, so a change of the machine hits all alike.

    Args:
        runs: name → a function that does its work once and gives the number of items.
        rounds: after one warm-up round that doesn't count.
    """
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            items = run()
            if number:
                rates[name].append(items / (time.perf_counter() - started))
    return rates


def median_ratio(rates: Sequence[float], base: Sequence[float]) -> float:
    """The median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(rates, base, strict=True))


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=120).print(table)


def write_json(path: Path | None, result: Mapping[str, Any]) -> None:
    """Write a benchmark's result with its machine; nothing without a path."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
        print(f"Wrote {path}")
