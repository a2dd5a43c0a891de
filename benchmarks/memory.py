"""Memory of the engines over ten epochs: does it grow?

    python -m benchmarks.memory --data FOLDER --json benchmarks/results/memory.json

Each engine runs in a process of its own and draws training views, as for a training. After every batch the memory of
the process (resident set) and what is taken of the GPU's memory, by whomever, are read; the largest of an epoch
counts. Memory grows when a straight line through the epochs from the third on rises by more than 2 % and 8 MiB;
allocators take about a thousand pictures to come to their size.
The exit code is 1 when any does.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.common import in_sentences, options, show, show_not_measured, write_json
from benchmarks.engines import combinations, devices, training_engine
from benchmarks.sources import original_files, prepared_table, repeated
from xraycls.data.table import SampleTable
from xraycls.errors import XrayclsError
from xraycls.loaders.choose import choose_engine
from xraycls.loaders.recipes.classification import find_recipe

MIB = 2**20
_STATUS = Path("/proc/self/status")
_SETTLED = 2  # epochs in which buffers, pools and mapped files come to their size


class Peak(NamedTuple):
    """The most memory in use during an epoch, bytes."""

    host: int
    device: int


def main() -> None:
    """Run, print a table and write JSON."""
    parser = options(__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=480, help="an epoch, by repeating the files")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto for both where there is a GPU")
    parser.add_argument("--batch-size", type=int, default=30)
    parser.set_defaults(threads=2)
    given = parser.parse_args()
    if given.epochs < _SETTLED + 2:
        parser.error(f"--epochs must be {_SETTLED + 2} or more")
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        data, files = original_files(given.data, Path(folder))
        sources = {"original files": files, "prepared": prepared_table(data, Path(folder))}
        for engine, source, place in combinations(sources, devices(given.device)):
            table = sources[source].with_samples(repeated(sources[source], given.images))
            work = (engine, table, str(place), given.epochs, given.batch_size, given.threads)
            try:
                choose_engine(engine, table, place)  # a missing package is told from here, without a process
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    peaks = pool.submit(peaks_of, *work).result()
            except (XrayclsError, BrokenProcessPool) as error:
                missing[f"{engine} from {source} on {place}"] = str(error)
                continue
            rows.append({"engine": engine, "source": source, "device": place.type, **figures(peaks)})
            # After every engine, so that a run that is cut short leaves what it measured.
            facts = {"epochs": given.epochs, "images": given.images, "rows": rows, "not_measured": missing}
            write_json(given.json, facts)
    report(rows, f"{given.epochs} epochs of {given.images} images")
    show_not_measured(missing)
    if any(row["grows"] for row in rows):
        sys.exit(1)


def peaks_of(engine: str, table: SampleTable, place: str, epochs: int, batch_size: int, threads: int) -> list[Peak]:
    """The peak of every epoch of an engine; for a process that does nothing else."""
    device = torch.device(place)
    loader = training_engine(engine, table, find_recipe("classic2021", 224), device, batch_size, threads)
    peaks = []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        host = on_device = 0
        for batch in loader:
            batch.to(device)
            host, on_device = max(host, host_memory()), max(on_device, device_memory(device))
        peaks.append(Peak(host, on_device))
    return peaks


def host_memory() -> int:
    """Bytes of this process that lie in memory; where the system doesn't tell, the most there ever were."""
    if _STATUS.is_file():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_memory(device: torch.device) -> int:
    """Bytes in use on a GPU, DALI's included; 0 for a CPU."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def growth(values: Sequence[int]) -> float:
    """How much a straight line through the settled epochs rises from the first of them to the last, bytes."""
    settled = values[_SETTLED:]
    epochs = range(len(settled))
    return statistics.linear_regression(epochs, settled).slope * epochs[-1]


def grows(values: Sequence[int]) -> bool:
    """Whether the rise is more than what allocators and the system do by themselves."""
    return growth(values) > max(0.02 * values[_SETTLED], 8 * MIB)


def figures(peaks: Sequence[Peak]) -> dict[str, Any]:
    """First, last and largest peak of host and device, bytes, and whether either grows."""
    columns = {"host": [peak.host for peak in peaks], "device_memory": [peak.device for peak in peaks]}
    return {
        **{
            name: {
                "first": values[0],
                "last": values[-1],
                "largest": max(values),
                "growth": growth(values),
                "epochs": values,
            }
            for name, values in columns.items()
        },
        "grows": any(map(grows, columns.values())),
    }


def report(rows: Sequence[Mapping[str, Any]], epochs: str) -> None:
    """Print the table."""

    def three(memory: Mapping[str, Any]) -> str:
        return " / ".join(f"{memory[key] / MIB:,.0f}" for key in ("first", "last", "largest"))

    show(
        f"Peak memory an epoch over {epochs}, MiB: first / last / largest",
        ("engine", "source", "device", "host", "GPU", "grows"),
        [
            (
                row["engine"],
                row["source"],
                row["device"],
                three(row["host"]),
                three(row["device_memory"]) if row["device"] == "cuda" else "",
                "YES" if row["grows"] else "no",
            )
            for row in rows
        ],
    )


if __name__ == "__main__":
    in_sentences(main)
