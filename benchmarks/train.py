"""Training speed: whole trainings against the same step without loading, and against plain fp32.

    python -m benchmarks.train --data FOLDER --json benchmarks/results/train.json

A training is ``xraycls.train`` on a run folder; its first epoch warms up and fills the cache of decoded pictures, and
validation isn't counted. The ceiling is
the same step (network, loss, optimiser, number format, memory format, batch size) on one synthetic batch that stays
on the device. "fp32" is the same torchvision network as most scripts train it: fp32, eager, contiguous, Adam,
cross-entropy, on a synthetic batch. In every round each training runs right after its ceiling.

Beside other work the share by the clock says little. The share in processor time compares the pictures a processor
second of the ceiling with those of a training between the first and the last batch of an epoch, its loader included.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

import xraycls
from benchmarks.common import in_sentences, median_ratio, options, rate, show, show_not_measured, write_json
from benchmarks.sources import linked_folder, original_files, prepared_table
from benchmarks.steps import ceiling_step, eager_step
from xraycls.errors import UsageError, XrayclsError
from xraycls.models.zoo import Architecture, find
from xraycls.training.config import TrainConfig, parse_config
from xraycls.training.memory import freed_memory_kept
from xraycls.training.precision import choose_device
from xraycls.training.reporter import Silent, StepReport

SOURCES = ("jpeg", "prepared")
EPOCH = 5300  # images of the ancestor's data set
GPU_NETS = "resnet18,resnet50,vgg16,inception"


@dataclass
class Row:
    """A training of the table and its figures, one a round."""

    net: str
    source: str
    asked: str
    compiled: bool
    engine: str = ""  # that was taken
    rates: list[float] = field(default_factory=list)
    ceilings: list[float] = field(default_factory=list)
    processor_rates: list[float] = field(default_factory=list)
    processor_ceilings: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.net} from {self.source} with {self.asked}{', compiled' if self.compiled else ''}"


def main() -> None:
    """Run, print a table and write JSON."""
    given = parsed()
    device = choose_device(given.device)
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(given, device, Path(folder))
        for net in given.nets:
            benchmark.measure(net)
            # After every network, so that a run that is cut short leaves what it measured.
            write_json(given.json, benchmark.result())
    report(benchmark.result())


def parsed() -> argparse.Namespace:
    """The command line, with defaults that fit the device."""
    parser = options(__doc__)
    parser.add_argument("--nets", type=_names, help=f"default: {GPU_NETS} on a GPU, resnet18 elsewhere")
    parser.add_argument("--sources", type=_names, default=list(SOURCES))
    parser.add_argument("--engines", type=_names, default=["auto"])
    parser.add_argument("--images", type=int, help="an epoch, by repeating the files; default: 5300 on a GPU, else 256")
    parser.add_argument("--batch-size", type=int, help="default: 128 on a GPU, else 32")
    parser.add_argument("--epochs", type=int, default=2, help="measured ones, after the first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, help="of a measurement on a synthetic batch; default: 1 or 4")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="also every row with torch.compile")
    given = parser.parse_args()
    on_gpu = choose_device(given.device).type == "cuda"
    given.nets = given.nets or _names(GPU_NETS if on_gpu else "resnet18")
    given.batch_size = given.batch_size or (128 if on_gpu else 32)
    given.seconds = given.seconds if given.seconds is not None else (1.0 if on_gpu else 4.0)
    # Whole batches: what fills the last one up would be computed and not counted.
    given.images = -(-(given.images or (EPOCH if on_gpu else 256)) // given.batch_size) * given.batch_size
    return given


def _names(text: str) -> list[str]:
    return text.split(",")


class Benchmark:
    """All measurements of one call.

    Args:
        given: the command line.
        device: that trains.
        work: a folder for data and runs.
    """

    def __init__(self, given: argparse.Namespace, device: torch.device, work: Path) -> None:
        self.given = given
        self.device = device
        self.work = work
        self.rows: list[Row] = []
        self.eager: dict[str, list[float]] = defaultdict(list)
        self.missing: dict[str, str] = {}
        _, table = original_files(given.data, work)
        self.files = linked_folder(table, work / "linked", given.images)
        self.prepared = cache(lambda size: prepared_table(self.files, work, size).root)
        self.runs = 0

    def measure(self, net: str) -> None:
        """Every training of one network, and plain fp32, in turns."""
        architecture, given = find(net), self.given
        if architecture.library != "torchvision":
            raise UsageError(f"--nets {net} is not one of torchvision's, so there is no plain fp32 to compare with")
        rows = [
            Row(net, source, engine, compiled)
            for source in given.sources
            for engine in given.engines
            for compiled in ([False, True] if given.compile else [False])
        ]
        for _ in range(given.rounds):
            for row in rows:
                if str(row) not in self.missing:
                    self._round(row, architecture)
            self.eager[net].append(self._rate(lambda: eager_step(architecture, given.batch_size, self.device))[0])
        self.rows += [row for row in rows if str(row) not in self.missing]

    def _round(self, row: Row, architecture: Architecture) -> None:
        """One measurement of a row: its ceiling, then the training itself."""
        try:
            config = self._config(row, architecture)
            with freed_memory_kept():
                ceiling = self._rate(lambda: ceiling_step(config, self.device))
            row.engine, epochs, processor_rate = self._train(config)
        except XrayclsError as error:
            self.missing[str(row)] = str(error)
            return
        row.ceilings.append(ceiling[0])
        row.processor_ceilings.append(ceiling[1])
        row.processor_rates.append(processor_rate)
        row.rates.append(statistics.harmonic_mean([epoch.images_per_second for epoch in epochs]))
        row.waiting.append(statistics.mean(epoch.data_time for epoch in epochs))

    def _config(self, row: Row, architecture: Architecture) -> TrainConfig:
        given = self.given
        prepared_size = round(architecture.input_size * 10 / 7)  # as the library advises
        return parse_config(
            {
                "data": self.prepared(prepared_size) if row.source == "prepared" else self.files,
                "base_model": row.net,
                "weights": "none",
                "test_fraction": 0.0,
                "loader": row.asked,
                "threads": given.threads,
                "epochs": 1 + given.epochs,
                "patience": 1 + given.epochs,
                "batch_size": given.batch_size,
                "device": given.device,
                "compile": row.compiled,
            }
        )

    def _train(self, config: TrainConfig) -> tuple[str, list[StepReport], float]:
        """Train; gives the engine, the last report of every epoch but the first, and images a processor second."""
        self.runs += 1
        ends = EpochEnds()
        result = xraycls.train(output=self.work / f"run-{self.runs}", reporter=ends, **config.model_dump())
        shutil.rmtree(result.run.path / "checkpoints")  # of a large network, a gigabyte a run
        epochs = list(ends.reports.values())[1:]
        measured = [ends.measured[epoch.epoch] for epoch in epochs]
        steps, seconds = (sum(column) for column in zip(*measured, strict=True))
        processor_rate = steps * config.batch_size / seconds if steps else float("nan")  # too few reports on a GPU
        return result.run.read_environment().engine, epochs, processor_rate

    def _rate(self, build: Callable[[], Callable[[], int]]) -> tuple[float, float]:
        """Images a second, by the clock and of processor time, of a step that is built for this measurement only, so
        that it leaves no memory behind.
        """
        torch.compiler.reset()
        step, images = build(), 0

        def counted() -> int:
            nonlocal images
            done = step()
            images += done
            return done

        before = time.process_time()
        by_clock = rate(counted, self.given.seconds)
        of_processor = images / (time.process_time() - before)
        torch.compiler.reset()
        return by_clock, of_processor

    def result(self) -> dict[str, Any]:
        """The figures so far."""
        given = self.given
        return {
            "device": str(self.device),
            "images": given.images,
            "batch_size": given.batch_size,
            "rounds": given.rounds,
            "epochs": given.epochs,
            "rows": [figures(row, self.eager[row.net]) for row in self.rows],
            "fp32": {net: statistics.median(rates) for net, rates in self.eager.items()},
            "not_measured": self.missing,
        }


class EpochEnds(Silent):
    """Keeps the last report of every epoch: of the training part alone, and whole.

    Attributes:
        reports: of every epoch.
        measured: steps and processor seconds of every epoch, from its first report to its last.
    """

    def __init__(self) -> None:
        self.reports: dict[int, StepReport] = {}
        self.measured: dict[int, tuple[int, float]] = {}
        self._began = 0, 0.0

    def step(self, report: StepReport) -> None:
        """Replace the epoch's report."""
        now = time.process_time()
        if report.epoch not in self.reports:
            self._began = report.step, now
        self.reports[report.epoch] = report
        self.measured[report.epoch] = report.step - self._began[0], now - self._began[1]


def figures(row: Row, eager: list[float]) -> dict[str, Any]:
    """A row's medians over the rounds."""
    images_per_second = statistics.median(row.rates)
    return {
        "net": row.net,
        "source": row.source,
        "engine": row.engine,
        "compiled": row.compiled,
        "images_per_second": images_per_second,
        "ceiling": statistics.median(row.ceilings),
        "share_of_ceiling": median_ratio(row.rates, row.ceilings),
        "share_of_ceiling_in_processor_time": median_ratio(row.processor_rates, row.processor_ceilings),
        "times_fp32": median_ratio(row.rates, eager),
        "waiting": statistics.median(row.waiting),
        "seconds_an_epoch": EPOCH / images_per_second,
    }


def report(result: Mapping[str, Any]) -> None:
    """Print the table."""
    show(
        f"Training on {result['device']}, batches of {result['batch_size']}, {result['rounds']} rounds, medians",
        (
            "training",
            "images/s",
            "ceiling",
            "share",
            "in processor time",
            "× fp32",
            "waiting",
            f"s for {EPOCH:,} images",
        ),
        [
            (
                f"{row['net']}, {row['source']}, {row['engine']}{', compiled' if row['compiled'] else ''}",
                f"{row['images_per_second']:,.1f}",
                f"{row['ceiling']:,.1f}",
                f"{row['share_of_ceiling']:.1%}",
                f"{row['share_of_ceiling_in_processor_time']:.1%}",
                f"{row['times_fp32']:.2f}",
                f"{row['waiting']:.1%}",
                f"{row['seconds_an_epoch']:,.2f}",
            )
            for row in result["rows"]
        ],
    )
    show_not_measured(result["not_measured"])


if __name__ == "__main__":
    logging.getLogger("xraycls.data").setLevel(logging.ERROR)  # it warns of the small validation split, which is meant
    in_sentences(main)
