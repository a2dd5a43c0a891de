"""What ``xraycls data prepare`` costs beyond decoding and shrinking, in CPU seconds.

    python -m benchmarks.prepare --data FOLDER --json benchmarks/results/prepare.json

Beside it runs the least that gives the same pictures: every file read, decoded whole in grey by OpenCV and shrunk by
the mean of areas, all of them written as one array. What comes on top reads the folder and looks for masks among the
films, hashes every file, keeps a journal that a killed run goes on from, and reads the store back from the disk. Both
take one thread, in turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common import in_sentences, median_ratio, options, show, write_json
from benchmarks.sources import PREPARED_SIZE, original_files
from xraycls.data.prepare import prepare


def main() -> None:
    """Run, print the table and write JSON."""
    parser = options(__doc__)
    parser.add_argument("--size", type=int, default=PREPARED_SIZE)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data, table = original_files(given.data, work)
        paths, numbers = [sample.path for sample in table], count()
        runs = {
            "decoding and shrinking alone": lambda: plain(paths, given.size, work / "plain.npy"),
            "xraycls data prepare": lambda: prepare(data, work / f"{next(numbers)}", size=given.size, threads=1),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(given.rounds):
            for name, run in runs.items():
                seconds[name].append(cpu_seconds(run))
    alone = seconds["decoding and shrinking alone"]
    result = {
        "files": len(paths),
        "size": given.size,
        "rounds": given.rounds,
        "rows": [
            {"run": name, "cpu_seconds": statistics.median(values), "times_plain": median_ratio(values, alone)}
            for name, values in seconds.items()
        ],
    }
    show(
        f"{len(paths)} files to {given.size} pixels, one thread, {given.rounds} rounds, medians",
        ("run", "CPU seconds", "× decoding and shrinking alone"),
        [(row["run"], f"{row['cpu_seconds']:.2f}", f"{row['times_plain']:.2f}") for row in result["rows"]],
    )
    write_json(given.json, result)


def plain(paths: Sequence[Path], size: int, target: Path) -> None:
    """Decode every file, shrink it and write all of them as one array."""
    pictures = np.empty((len(paths), size, size), np.uint8)
    for picture, path in zip(pictures, paths, strict=True):
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        cv2.resize(pixels, (size, size), dst=picture, interpolation=cv2.INTER_AREA)
    np.save(target, pictures)


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU time of a run, of all threads."""
    before = time.process_time()
    run()
    return time.process_time() - before


if __name__ == "__main__":
    in_sentences(main)
