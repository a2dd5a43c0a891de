"""How much a prediction's start costs: CPU seconds of a new process that imports what `xraycls predict` needs.

Beside it, in the same run and in turn, what it cost when torchvision was imported on the way. Run it with
``python -m benchmarks.startup``.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

ROUNDS = 3
WAYS = {
    "torch alone": "import torch",
    "xraycls predict": "import xraycls.workflows.predict",
    "the same with torchvision, as it was": "import torchvision, xraycls.workflows.predict",
    "xraycls detector detect": "import xraycls.workflows.detection.inference",
}


def seconds(code: str) -> float:
    """CPU seconds, user and system, of a new process that runs some code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the median of some rounds, in which the ways take turns."""
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, code in WAYS.items():
            spent[way].append(seconds(code))
    for way, each in spent.items():
        print(f"{way:40} {statistics.median(each):6.2f} CPU s")


if __name__ == "__main__":
    main()
