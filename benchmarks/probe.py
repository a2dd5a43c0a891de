"""What an epoch costs when a frozen backbone's features are computed once: CPU seconds beside training all of it.

    python -m benchmarks.probe --json benchmarks/results/probe.json

Both train the same network on the same phantoms and at the same size, in turns; an epoch is that of a run, from its
first batch to its last with validation and saving. The pass that computes the features is counted apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xraycls
from benchmarks.common import in_sentences, machine, show, write_json
from xraycls.data.phantom import write_phantom
from xraycls.training.reporter import Silent

WAYS: dict[str, dict[str, Any]] = {"all of it": {"freeze": "none"}, "the head": {"freeze": "backbone"}}


class Stopwatch(Silent):
    """CPU seconds of all threads between the ends of epochs; the first is what comes before the first epoch's end."""

    def __init__(self) -> None:
        self.marks = [time.process_time()]

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Note the end of an epoch."""
        self.marks.append(time.process_time())

    @property
    def epochs(self) -> list[float]:
        """CPU seconds of each epoch but the first, which includes what is done once."""
        return [after - before for before, after in zip(self.marks[1:], self.marks[2:], strict=False)]


def main() -> None:
    """Run, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=120, help="phantoms, of all splits")
    parser.add_argument("--base-model", default="resnet18")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3, help="of each run, the first of which isn't counted")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    first: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantom(folder / "data", images=given.pictures, size=256)
        for number in range(given.rounds):
            for way, settings in WAYS.items():
                watch = Stopwatch()
                xraycls.train(
                    data=folder / "data",
                    output=folder / f"{way}-{number}",
                    base_model=given.base_model,
                    weights="none",
                    epochs=given.epochs,
                    batch_size=16,
                    patience=given.epochs,
                    device="cpu",
                    reporter=watch,
                    **settings,
                )
                spent[way] += watch.epochs
                first[way].append(watch.marks[1] - watch.marks[0])
    middle = {way: statistics.median(values) for way, values in spent.items()}
    rows = [[way, f"{statistics.median(first[way]):.1f}", f"{middle[way]:.2f}"] for way in WAYS]
    show("CPU seconds, median", ["trained", "until the first epoch's end", "a later epoch"], rows)
    ratio = middle["all of it"] / middle["the head"]
    print(f"An epoch of the head alone is {ratio:.0f} times as fast.")
    figures = {"machine": machine(), "first": first, "epochs": spent, "ratio": ratio}
    write_json(given.json, figures | {"base_model": given.base_model, "pictures": given.pictures})


if __name__ == "__main__":
    in_sentences(main)
