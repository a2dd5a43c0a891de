"""The last table of gpu.sh: how each step ended, and the GPU's figures beside their bars.

    python -m benchmarks.gpu_table FOLDER

The folder holds ``steps.tsv`` (name, exit code or "-", seconds) and the JSON that the steps wrote. The exit code is
1 when a step failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import show

_ENDS = {"0": "done", "-": "not run: no CUDA GPU", "124": "FAILED: out of time"}

Line = tuple[str, str, str]


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1])
    steps = [line.split("\t") for line in (folder / "steps.tsv").read_text().splitlines()]
    lines = [
        (name, _ENDS.get(status, f"FAILED: exit code {status}"), f"{seconds} s") for name, status, seconds in steps
    ]
    for read, file in _READERS:
        path = folder / f"{file}.json"
        if path.is_file():
            lines += read(json.loads(path.read_text()))
    show("GPU suite and benchmarks", ("", "result", "seconds, or bar"), lines)
    sys.exit(any(end.startswith("FAILED") for _, end, _ in lines))


def of_loader(result: dict[str, Any]) -> Iterator[Line]:
    """Images a second of the rows on the GPU; DALI's from files against both of the ancestor's pipelines."""
    rows = [row for row in result["rows"] if row["device"] == "cuda"]
    graphs = [row for row in rows if row["pipeline"] == "ancestor, DALI graph"]
    for row in rows:
        rate = row["images_per_second"]
        beside = [
            f"{rate / graph['images_per_second']:.1f} × ancestor's DALI graph"
            for graph in graphs
            if row["source"] == graph["source"] and row is not graph
        ]
        figures = ", ".join([f"{rate:,.0f} images/s", f"{row['times_ancestor']:.1f} × ancestor", *beside])
        has_bar = row["pipeline"] == "xraycls dali" and beside
        yield f"{row['pipeline']}, {row['source']}", figures, "≥ 26 ×, ≥ 3 × its DALI graph" if has_bar else ""


def of_train(result: dict[str, Any]) -> Iterator[Line]:
    """The share of the ceiling, and how long the ancestor's epoch takes."""
    for row in result["rows"]:
        name = f"{row['net']}, {row['source']}, {row['engine']}{', compiled' if row['compiled'] else ''}"
        figures = f"{row['images_per_second']:,.0f} images/s, {row['share_of_ceiling']:.1%} of the ceiling"
        bars = ["≥ 95 %"] if row["source"] == "prepared" else []
        if row["net"] == "resnet18":
            figures += f", {row['seconds_an_epoch']:.2f} s for 5,300 images"
            bars += ["< 1 s"] if bars else []
        yield name, figures, ", ".join(bars)


def of_memory(result: dict[str, Any]) -> Iterator[Line]:
    """Whether any engine's memory grows."""
    growing = [f"{row['engine']} from {row['source']} on {row['device']}" for row in result["rows"] if row["grows"]]
    yield "memory grows", ", ".join(growing) or f"none of {len(result['rows'])} engines", "none"


def of_engines(result: dict[str, Any]) -> Iterator[Line]:
    """What TensorRT's engines compute, and how fast; nothing where there is no trtexec."""
    for row in result["engines"]:
        name = f"TensorRT {result['trtexec']}, {row['model']}, {row['form']}, {row['precision']}"
        figures = f"{row['result']}, {row['milliseconds']} ms" if row["milliseconds"] else row["result"]
        yield name, figures, "agrees with torch"


def of_inference(result: list[dict[str, Any]]) -> Iterator[Line]:
    """Pictures a second by runtime, and how far the answers are from torch's."""
    for row in result:
        name = f"{row['runtime']}, {row['precision']}, batch {row['batch']}"
        yield name, f"{row['images_per_second']:,.0f} images/s, {row['apart']:.1e} from torch", ""


_READERS: tuple[tuple[Callable[[Any], Iterator[Line]], str], ...] = (
    (of_loader, "loader"),
    (of_train, "train"),
    (of_train, "train-compile"),
    (of_memory, "memory"),
    (of_engines, "tensorrt"),
    (of_inference, "inference"),
)


if __name__ == "__main__":
    main()
