"""What a data set looks like: a contact sheet of some of its pictures, with labels and boxes."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from xraycls.data.depth import one_depth
from xraycls.data.files import require_other
from xraycls.data.folder import IMAGE_SUFFIXES, image_files, images_of
from xraycls.data.formats import detect_format
from xraycls.data.open import open_image
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.sheet import Pixels, Tile, contact_sheet
from xraycls.data.source import read_source
from xraycls.data.split import shuffling_key, split_named
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, unknown
from xraycls.types import Sample

logger = logging.getLogger(__name__)

TILE = 308
"""Side of a tile, pixels: room for the file names of public data sets."""


def shown_table(
    path: Path | None,
    *,
    images: Path | None = None,
    split: str | None = None,
    label: str | None = None,
    options: ReadOptions = AS_IT_IS,
) -> SampleTable:
    """The samples that are to be looked at.

    Args:
        path: any data source, a single picture, or a folder of pictures without classes; None for the phantom.
        images: the folder that a CSV's paths start from.
        split: only those of this split.
        label: only those of this class, by its name in any case.
        options: what the user knows better than the source.

    Raises:
        DataError: the source can't be read, or nothing of it is wanted.
        UsageError: an unknown split or class.
    """
    bare = [] if path is None or images is not None else _bare_pictures(path)
    table = (
        SampleTable(one_depth(bare, bare[0].path.parent, options.bits), (), bare[0].path.parent, "files")
        if bare
        else read_source(path, images=images, options=options)
    )
    samples = list(table)
    wanted = []
    if split is not None:
        if not table.splits:
            raise DataError(f"{table.root} has no splits", table.root, "Leave out --split")
        name = split_named(split)
        if name not in table.splits:
            raise unknown("split", split, table.splits, "--split")
        samples = [s for s in samples if s.split == name]
        wanted.append(f"in {name}")
    if label is not None:
        if not table.classes:
            raise DataError(f"{table.root} has no classes", table.root, "Leave out --class")
        named = {name.lower(): index for index, name in enumerate(table.classes)}
        if label.lower() not in named:
            raise unknown("class", label, table.classes, "--class")
        samples = [s for s in samples if s.label == named[label.lower()]]
        wanted.insert(0, f"of class {table.classes[named[label.lower()]]}")
    if not samples:
        raise DataError(f"{table.root} has no image {' '.join(wanted)}".rstrip(), table.root)
    return table.with_samples(samples)


def _bare_pictures(path: Path) -> list[Sample]:
    """A picture, or the pictures of a folder that has neither class folders nor labels; none for anything else."""
    if path.is_file():
        return [Sample(path)] if path.suffix.lower() in IMAGE_SUFFIXES else []
    pictures = images_of(path) if path.is_dir() else []
    is_bare = bool(pictures) and detect_format(path) is None and list(image_files(path)) == pictures
    return [Sample(picture) for picture in pictures] if is_bare else []


def require_no_picture(table: SampleTable, output: Path) -> None:
    """Raise UsageError where what is to be written would replace a picture of the table."""
    for sample in table:
        if sample.path.name == output.name:
            require_other(output, sample.path)


def sample_sheet(table: SampleTable, *, n: int = 16, seed: int = 0) -> Pixels:
    """A contact sheet of so many pictures, as many of each class, drawn by the seed; RGB uint8 [H, W, 3].

    The draw doesn't depend on the order of the table. A picture that can't be read is left out with a warning, and
    another one takes its place.

    Raises:
        DataError: none can be read.
    """
    tiles: list[tuple[int, Tile]] = []
    for sample in _in_turn(table, seed):
        try:
            tile = tile_of(sample, _caption(table, sample))
            tiles.append((-1 if sample.label is None else sample.label, tile))
        except DataError as error:
            logger.warning("%s; it is left out.", error.message)
        if len(tiles) == n:
            break
    if not tiles:
        raise DataError(f"No image of {table.root} could be read", table.root)
    tiles.sort(key=lambda tile: tile[0])
    title = f"{table.root.name or table.root}: {len(tiles):,} of {len(table):,} images"
    return contact_sheet([tile for _, tile in tiles], columns=math.ceil(math.sqrt(len(tiles))), side=TILE, title=title)


def _in_turn(table: SampleTable, seed: int) -> Iterator[Sample]:
    """One sample of every class after another, each class shuffled."""
    classes: dict[int | None, list[Sample]] = defaultdict(list)
    for sample in table:
        classes[sample.label].append(sample)
    shuffled = [
        sorted(samples, key=lambda s: shuffling_key(f"{seed}/{table.name_of(s)}")) for samples in classes.values()
    ]
    for turn in zip_longest(*shuffled):
        yield from (sample for sample in turn if sample is not None)


def tile_of(sample: Sample, caption: str) -> Tile:
    """A sample with its boxes for a contact sheet, decoded no larger than needed; raises DataError."""
    image = open_image(sample)
    reduce = max((scale for scale in image.scales if max(image.width, image.height) >= scale * TILE), default=1)
    return Tile(image.decode(reduce), caption, sample.boxes, (image.width, image.height))


def _caption(table: SampleTable, sample: Sample) -> str:
    known = [] if sample.label is None else [table.classes[sample.label]]
    known += [] if sample.split is None else [sample.split]
    return "\n".join(line for line in (" · ".join(known), table.name_of(sample)) if line)
