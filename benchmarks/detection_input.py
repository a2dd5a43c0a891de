"""Input pipelines for detection: our engines and torchvision's reference pipeline on the same pictures with boxes."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import interleaved, median_ratio
from benchmarks.detection_peers import Backend, ssd_transform, torchvision_epoch
from benchmarks.engines import combinations, decoding_alone, one_epoch, training_engine
from benchmarks.loader import FILES, PREPARED, Reasons, Row, Runs
from benchmarks.sources import original_files, png_copies, prepared_table, repeated
from xraycls.data.image import Image
from xraycls.data.table import SampleTable
from xraycls.errors import UsageError, XrayclsError
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.views import Canvas, View

PNG = "PNG copies"
PEER, FLOOR = "torchvision", "decoding alone (floor)"
BACKENDS: tuple[Backend, ...] = ("PIL", "tensor")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures with boxes from several sources, and how they are drawn.

    Attributes:
        sources: name → table; every picture has a box.
        classes: labels of the boxes.
        recipe: with the ranges of torchvision's augmentation "ssd".
    """

    sources: Mapping[str, SampleTable]
    classes: tuple[str, ...]
    recipe: SSDRecipe

    @classmethod
    def of(cls, data: Path | None, size: int, work: Path) -> Pictures:
        """The original files, PNG copies unless they are PNGs, and a prepared store of 10/7 of the size."""
        data, files = original_files(data, work)
        files = with_boxes(files)
        if not len(files):
            raise UsageError(f"--data {data} has no picture with boxes", "Give one of the formats that have boxes")
        sources = {FILES: files}
        if any(sample.path.suffix.lower() != ".png" for sample in files):
            sources[PNG] = png_copies(files, work / "png")
        sources[PREPARED] = with_boxes(prepared_table(data, work, round(size * 10 / 7)))
        classes = tuple(sorted({box.label for sample in files for box in sample.boxes}))
        recipe = SSDRecipe(Canvas(size, size, fill=117), brightness=32.0, contrast=0.5)
        return cls(sources, classes, recipe)

    def objects(self, table: SampleTable) -> ObjectTable:
        """What is to be found in a table's pictures."""
        return ObjectTable(table, self.classes)


def input_pipelines(given: argparse.Namespace, places: Sequence[torch.device], work: Path) -> dict[str, Any]:
    """All figures of the input pipelines, as they are written to JSON."""
    missing: Reasons = {}
    pictures = Pictures.of(given.data, given.size, work)
    images = -(-given.images // given.batch_size) * given.batch_size
    runs: Runs = {
        **peers(pictures, places[-1], given),
        **floors(pictures, given.threads),
        **ours(pictures, images, places, given, missing),
    }
    rates = interleaved(runs, given.rounds)
    return {
        "files": {name: _facts(table) for name, table in pictures.sources.items() if name != PREPARED},
        "size": given.size,
        "images": images,
        "batch_size": given.batch_size,
        "threads": given.threads,
        "rounds": given.rounds,
        "rows": [figures(row, rates) for row in runs],
        "not_measured": missing,
    }


def peers(pictures: Pictures, place: torch.device, given: argparse.Namespace) -> Runs:
    """torchvision's pipeline with both backends; an epoch gives every worker two batches, which takes seconds."""
    count = 2 * max(given.threads, 1) * given.batch_size
    options = {"batch_size": given.batch_size, "workers": given.threads, "place": place}
    return {
        Row(f"{PEER}, {backend}", name, "cpu"): torchvision_epoch(
            repeated(table, count), ssd_transform(given.size, backend), **options
        )
        for name, table in pictures.sources.items()
        if name != PREPARED
        for backend in BACKENDS
    }


def floors(pictures: Pictures, threads: int) -> Runs:
    """Decoding alone of every source of files."""
    return {
        Row(FLOOR, name, "cpu"): decoding_alone(
            table, _view_of(pictures.recipe, pictures.objects(table)), max(threads, 1)
        )
        for name, table in pictures.sources.items()
        if name != PREPARED
    }


def ours(
    pictures: Pictures, images: int, places: Sequence[torch.device], given: argparse.Namespace, missing: Reasons
) -> Runs:
    """Every engine that works here; the others go to ``missing`` with the reason."""
    runs: Runs = {}
    epochs = {name: table.with_samples(repeated(table, images)) for name, table in pictures.sources.items()}
    for engine, source, place in combinations(epochs, list(places)):
        row, table = Row(f"xraycls {engine}", source, place.type), epochs[source]
        try:
            loader = training_engine(
                engine, table, pictures.recipe, place, given.batch_size, given.threads, pictures.objects(table)
            )
        except XrayclsError as error:
            missing[str(row)] = str(error)
            continue
        runs[row] = partial(one_epoch, loader, place)
    return runs


def figures(row: Row, rates: Mapping[Row, list[float]]) -> dict[str, Any]:
    """A row's medians: against torchvision's default from the same files, and as a share of their decoding alone."""
    files = FILES if row.source == PREPARED else row.source
    decodes = row.source != PREPARED and row.device == "cpu"
    return {
        **row._asdict(),
        "images_per_second": statistics.median(rates[row]),
        "times_torchvision": median_ratio(rates[row], rates[Row(f"{PEER}, {BACKENDS[0]}", files, "cpu")]),
        "share_of_floor": median_ratio(rates[row], rates[Row(FLOOR, files, "cpu")]) if decodes else None,
    }


def with_boxes(table: SampleTable) -> SampleTable:
    """The samples that have a box."""
    return table.with_samples(sample for sample in table if sample.boxes)


def _view_of(recipe: SSDRecipe, objects: ObjectTable) -> Callable[[int, Image], View]:
    """Training views, each at a position of its own."""

    def view(index: int, image: Image) -> View:
        return recipe.training_views(0, 0, index, (image.width, image.height), [objects.boxes[index]])[0]

    return view


def _facts(table: SampleTable) -> dict[str, Any]:
    """How many files, their kinds and their mean size."""
    return {
        "count": len(table),
        "kinds": sorted({sample.path.suffix.lower() for sample in table}),
        "mean_bytes": int(np.mean([sample.path.stat().st_size for sample in table])),
    }
