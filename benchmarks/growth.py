"""How time and memory grow with a data set, from a thousand rows to a million.

    python -m benchmarks.growth --json benchmarks/results/growth.json --picture docs/images/growth.png
    python -m benchmarks.growth --steps list split --sizes 1000 10000 --limit 600

Every step runs at every size in a fresh process, once on a handful of rows before anything is counted, so that imports
don't. Time is that of the processors, all threads together; memory is what the process takes at its peak beyond what it
took before. The slope is that of the time between the two largest sizes on logarithmic axes: 1 is straight, 2 is
quadratic. A size whose time, drawn on straight from the size before, would pass ``--limit`` is left out and named.

Pictures are JPEGs of 96 pixels in memory (``/dev/shm``) where there is such a folder: drawn radiographs that are
turned, shifted and mottled, no two alike, but for one in a hundred that is a copy and one that is the same film
compressed again. Listing alone doesn't look at more than headers, and lists links to a handful of files.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xraycls.data.phantom import write_phantom
from xraycls.evaluation import style
from xraycls.types import Detections, Prediction, Sample

Work = Callable[[], object]

SIZES = (1_000, 10_000, 100_000, 1_000_000)
_RESAMPLES = 100
_FEW = 40  # rows of the run before the one that counts
_SIDE = 96
_LINKED = 10_000  # names a file: file systems allow some ten thousand
_BASES = 48
_MOST = 1.1  # slope of what grows straight
_SPLITS = ("train", "train", "train", "val", "test")


def table_of_names(folder: Path, rows: int) -> Any:
    """A table of rows that no file stands behind, two a patient."""
    from xraycls.data.table import SampleTable

    samples = (Sample(folder / f"p{row // 2:07d}_{row % 2}.jpeg", row // 2 % 2, f"p{row // 2}") for row in range(rows))
    return SampleTable(tuple(samples), ("NORMAL", "PNEUMONIA"), folder, source="csv")


def list_folder(folder: Path, rows: int) -> Work:
    """What ``data list`` does with a folder of files."""
    from xraycls.data.source import read_table

    return lambda: read_table(folder / "links").counts()


def list_csv(folder: Path, rows: int) -> Work:
    """What ``data list`` does with a table of paths, labels, patients and splits."""
    from xraycls.data.source import read_table

    paths = sorted((folder / "links").rglob("*.jpeg"))
    lines = (f"{path},{path.parent.name},p{row // 2},{path.parent.parent.name}" for row, path in enumerate(paths))
    table = folder / "table.csv"
    table.write_text("path,label,patient,split\n" + "\n".join(lines) + "\n")
    return lambda: read_table(table).counts()


def split(folder: Path, rows: int) -> Work:
    """What ``data split`` does once the data is listed."""
    from xraycls.data.assign import split_table, write_new

    table = table_of_names(folder, rows)
    return lambda: write_new({folder / "split.csv": split_table(table)}, overwrite=True)


def audit(folder: Path, rows: int) -> Work:
    """What ``data audit`` does, the report included."""
    from xraycls.data.audit import audit, write_report
    from xraycls.data.source import read_source

    return lambda: write_report(audit(read_source(folder / "pictures")), folder / "audit")


def prepare(folder: Path, rows: int) -> Work:
    """What ``data prepare --size 64`` does."""
    from xraycls.data.prepare import prepare

    store = folder / f"store-{rows}"
    return lambda: (prepare(folder / "pictures", store, size=64), shutil.rmtree(store))


def test(folder: Path, rows: int) -> Work:
    """What ``test`` does with probabilities: every figure with its interval, and the report."""
    from xraycls.evaluation.report import evaluate
    from xraycls.evaluation.write import write_report

    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=rows)
    positive = 1 / (1 + np.exp(-rng.normal(size=rows) - 1.5 * (labels - 0.5)))
    probabilities = np.stack([1 - positive, positive], axis=1)
    predictions = [
        Prediction(f"{row}.jpeg", (1 - p, p), int(p > 0.5), label)
        for row, (p, label) in enumerate(zip(positive.tolist(), labels.tolist(), strict=True))
    ]

    def work() -> object:
        report = evaluate(labels, probabilities, ("NORMAL", "PNEUMONIA"), threshold=0.4, resamples=_RESAMPLES)
        return write_report(report, predictions, folder / "test")

    return work


def average_precision(folder: Path, rows: int) -> Work:
    """AP, FROC and COCO's figures with their intervals for pictures with a box and three detections each."""
    from xraycls.evaluation.detection.cases import ImageBoxes
    from xraycls.evaluation.detection.table import detection_report

    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (rows, 3, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.uniform(40, 90, (rows, 3, 2)).astype(np.float32)], axis=2)
    scores = -np.sort(-rng.random((rows, 3)).astype(np.float32))
    labels = np.zeros(3, np.int64)
    truths = [ImageBoxes.of(each[:1] + shift, [0]) for each, shift in zip(boxes, rng.normal(0, 9, rows), strict=True)]
    found = [Detections(each, labels, score) for each, score in zip(boxes, scores, strict=True)]
    return lambda: detection_report(truths, found, ("opacity",), resamples=_RESAMPLES)


STEPS: dict[str, Callable[[Path, int], Work]] = {
    "list": list_folder,
    "list-csv": list_csv,
    "split": split,
    "audit": audit,
    "prepare": prepare,
    "test": test,
    "ap": average_precision,
}
_READ = {"list": "links", "list-csv": "links", "audit": "pictures", "prepare": "pictures"}


def draw_pictures(folder: Path, rows: int) -> None:
    """Small radiographs, no two alike but for 2 % copies, in folders of splits and classes, two a patient."""
    with tempfile.TemporaryDirectory() as drawn:
        files = sorted(write_phantom(Path(drawn), images=_BASES, size=_SIDE).root.rglob("*.jp*g"))
        bases = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    previous, encoded = bases[0], b""
    for row in range(rows):
        if row % 100 != 2:  # where it is, the file before is written again
            picture = _other(bases[row % len(bases)], row) if row % 100 != 1 else previous
            quality = 95 if row % 100 != 1 else 80
            encoded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
            previous = picture
        _place(folder, row).write_bytes(encoded)


def link_pictures(folder: Path, rows: int) -> None:
    """As many names for a handful of small radiographs."""
    first = folder
    for row in range(rows):
        path = _place(folder, row)
        if row % _LINKED == 0:
            picture = np.random.default_rng(row).integers(256, size=(_SIDE, _SIDE), dtype=np.uint8)
            first = path
            path.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
        else:
            path.hardlink_to(first)


def _place(folder: Path, row: int) -> Path:
    patient = row // 2
    below = folder / _SPLITS[patient % len(_SPLITS)] / ("NORMAL", "PNEUMONIA")[patient // len(_SPLITS) % 2]
    if row < 4 * len(_SPLITS):
        below.mkdir(parents=True, exist_ok=True)
    return below / f"person{patient}_virus_{row}.jpeg"


def _other(base: Any, row: int) -> Any:
    """A radiograph turned, scaled and shifted, with a mottle and a tone of its own."""
    rng = np.random.default_rng(row)
    turn = cv2.getRotationMatrix2D((_SIDE / 2, _SIDE / 2), rng.uniform(-15, 15), rng.uniform(0.85, 1.25))
    turn[:, 2] += rng.uniform(-9, 9, 2)
    size = base.shape[::-1]
    moved = cv2.warpAffine(base, turn, size, borderMode=cv2.BORDER_REFLECT).astype(np.float32)
    mottle = cv2.resize(rng.normal(0, 22, (14, 14)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    return np.clip(moved * rng.uniform(0.7, 1.1) + mottle, 0, 255).astype(np.uint8)


def measured(step: str, folder: Path, rows: int) -> dict[str, float]:
    """CPU seconds and bytes of a step; runs in a process of its own.

    Args:
        step: of ``STEPS``.
        folder: holds ``few`` and ``all``, each with the files that the step reads.
        rows: of ``all``.
    """
    STEPS[step](folder / "few", _FEW)()
    work = STEPS[step](folder / "all", rows)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, began = _memory("VmRSS"), _seconds()
    work()
    return {"cpu_seconds": _seconds() - began, "bytes": float(max(_memory("VmHWM") - before, 0))}


def _seconds() -> float:
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in times)


def _memory(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def grown(step: str, sizes: Sequence[int], limit: float, ram: Path | None) -> dict[str, Any]:
    """The figures of a step at every size that stays within the limit."""
    points: list[dict[str, float]] = []
    left_out: list[int] = []
    for rows in sizes:
        if left_out or (points and points[-1]["cpu_seconds"] * rows / points[-1]["rows"] > limit):
            left_out.append(rows)
            continue
        with tempfile.TemporaryDirectory(dir=ram, prefix="growth-") as folder:
            if kind := _READ.get(step):
                write = draw_pictures if kind == "pictures" else link_pictures
                write(Path(folder) / "few" / kind, _FEW)
                write(Path(folder) / "all" / kind, rows)
            (Path(folder) / "few").mkdir(exist_ok=True)
            (Path(folder) / "all").mkdir(exist_ok=True)
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                points.append({"rows": rows, **pool.submit(measured, step, Path(folder), rows).result()})
        print(f"{step}, {rows:,} rows: {points[-1]['cpu_seconds']:.2f} CPU s", flush=True)
    return {"step": step, "points": points, "left_out": left_out, **slopes(points)}


def slopes(points: Sequence[dict[str, float]]) -> dict[str, float | None]:
    """The slope of the time and the bytes a further row between the last two sizes; None for a single size.

    >>> slopes([{"rows": 10, "cpu_seconds": 1, "bytes": 50}, {"rows": 100, "cpu_seconds": 100, "bytes": 1400}])
    {'slope': 2.0, 'bytes_a_row': 15.0}
    """
    if len(points) < 2:
        return {"slope": None, "bytes_a_row": None}
    one, other = points[-2:]
    times = math.log10(other["cpu_seconds"] / one["cpu_seconds"])
    return {
        "slope": times / math.log10(other["rows"] / one["rows"]),
        "bytes_a_row": (other["bytes"] - one["bytes"]) / (other["rows"] - one["rows"]),
    }


def report(steps: Sequence[dict[str, Any]]) -> None:
    """Print what was measured, and what was left out."""
    from benchmarks.common import show

    sizes = sorted({int(point["rows"]) for step in steps for point in step["points"]})
    rows = []
    for step in steps:
        shown = {point["rows"]: f"{point['cpu_seconds']:.2f} s" for point in step["points"]}
        slope, memory = step["slope"], step["bytes_a_row"]
        told = ("", "") if slope is None else (f"{slope:.2f}", f"{memory / 1000:.1f} kB")
        rows.append((step["step"], *(shown.get(size, "") for size in sizes), *told))
    header = ("step", *(f"{size:,}" for size in sizes), "slope", "memory a row")
    show(f"CPU seconds by rows; {_RESAMPLES} resamples", header, rows)
    for step in steps:
        if step["left_out"]:
            sizes_left = ", ".join(f"{size:,}" for size in step["left_out"])
            print(f"Left out, as it would take too long: {step['step']} at {sizes_left}")
    steep = [step["step"] for step in steps if (step["slope"] or 0) > _MOST]
    print(f"Slopes above {_MOST}: {', '.join(steep) or 'none'}")


def draw(steps: Sequence[dict[str, Any]], path: Path) -> None:
    """Time and memory of every step on logarithmic axes."""
    figure = style.new_figure(9, 4.6, "Growth with the number of rows", "All threads together; dotted: straight growth")
    axes = figure.subplots(1, 2)
    sides = (("cpu_seconds", 1, 1e-4, "CPU seconds"), ("bytes", 1e6, 1e-3, "MB at the peak"))
    for axis, (figure_of, unit, a_row, label) in zip(axes, sides, strict=True):
        for number, step in enumerate(steps):
            points = [(point["rows"], point[figure_of] / unit) for point in step["points"] if point[figure_of] > 0]
            axis.loglog(
                *zip(*points, strict=True), color=style.SERIES[number], marker="o", markersize=4, label=step["step"]
            )
        ends = np.array(axis.get_xlim())
        axis.loglog(ends, ends * a_row, color=style.GREY, linestyle=":", linewidth=1)
        style.quiet(axis, "rows", label)
        axis.minorticks_off()
        axis.xaxis.set_major_formatter(lambda rows, _: f"{rows:,.0f}")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    style.save(figure, path)


def main() -> None:
    """Measure, print and draw."""
    from benchmarks.common import write_json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="rows, rising")
    parser.add_argument("--limit", type=float, default=600.0, help="CPU seconds that a step may be expected to take")
    parser.add_argument("--json", type=Path, help="write the figures here; steps of an earlier run there are kept")
    parser.add_argument("--picture", type=Path, help="draw them here")
    given = parser.parse_args()
    ram = Path("/dev/shm")
    place = ram if ram.is_dir() and os.access(ram, os.W_OK) else None
    steps = _earlier(given.json)
    for name in given.steps:
        steps[name] = grown(name, given.sizes, given.limit, place)
        # After every step, so that a run that is cut short leaves what it measured.
        write_json(given.json, {"resamples": _RESAMPLES, "steps": [steps[each] for each in STEPS if each in steps]})
    ordered = [steps[each] for each in STEPS if each in steps]
    report(ordered)
    if given.picture:
        draw(ordered, given.picture)


def _earlier(path: Path | None) -> dict[str, Any]:
    """The steps of an earlier run, by name."""
    if path is None or not path.is_file():
        return {}
    return {step["step"]: step for step in json.loads(path.read_text())["steps"]}


if __name__ == "__main__":
    main()
