"""Writing what was planned: pictures linked, copied or cropped, and those set apart as a table and a contact sheet."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from xraycls.data.arrange.plan import Placed
from xraycls.data.files import atomic_write, share_file
from xraycls.data.formats.table import write_table_csv
from xraycls.data.lettering import write_picture
from xraycls.data.open import open_image
from xraycls.data.processors import available_processors, one_thread_a_picture
from xraycls.data.sheet import Tile, contact_sheet
from xraycls.data.show import tile_of
from xraycls.data.square import central_region
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample

Progress = Callable[[int, int], None]

REJECTED, REJECTED_SHEET = "rejected.csv", "rejected.png"
_SHOWN = 100  # pictures on the sheet; the table lists all
_COLUMNS = 10
_MISSING = np.zeros((1, 1), np.uint8)  # in place of a picture that can't be read


def write_pictures(
    placed: Sequence[Placed], folder: Path, *, crop: float | None, copy: bool, progress: Progress | None
) -> int:
    """Write what isn't there yet, each file atomically; returns how many that were.

    Args:
        placed: what goes where.
        folder: that the places are in.
        crop: fraction of width and height to keep; None for the files as they are.
        copy: of such files; otherwise a hard link where the file system has them.
        progress: told of (pictures done, pictures).

    Raises:
        DataError: a picture can't be decoded any more.
        XrayclsError: a file can't be written.
    """
    write = partial(_write, folder=folder, crop=crop, copy=copy)
    new = 0
    with one_thread_a_picture(), ThreadPoolExecutor(available_processors()) as pool:
        try:
            for done, is_new in enumerate(pool.map(write, placed), start=1):
                new += is_new
                if progress:
                    progress(done, len(placed))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C isn't to wait for thousands of pictures
            raise
    return new


def _write(placed: Placed, *, folder: Path, crop: float | None, copy: bool) -> bool:
    """Write one picture; False where it is there already."""
    source, target = placed.sample.path, folder / placed.name
    if target.exists():
        before, now = source.stat(), target.stat()
        if now.st_mtime_ns >= before.st_mtime_ns and (crop is not None or now.st_size == before.st_size):
            return False
    if crop is not None:
        _write_cropped(placed.sample, target, crop)
    elif copy:
        with atomic_write(target) as temporary:
            shutil.copyfile(source, temporary)
    else:
        share_file(source, target)
    return True


def _write_cropped(sample: Sample, target: Path, crop: float) -> None:
    """The middle of a picture, as PNG: lossless, since the source has been compressed once."""
    image = open_image(sample)
    left, top, width, height = central_region(image.width, image.height, crop)
    encoded = cv2.imencode(".png", image.decode(1)[top : top + height, left : left + width])[1]
    with atomic_write(target) as temporary:
        temporary.write_bytes(encoded.tobytes())


def write_rejected(table: SampleTable, rejected: Sequence[Placed], folder: Path) -> None:
    """Write ``rejected.csv`` and ``rejected.png``; without rejected pictures remove those of an earlier run.

    Args:
        table: of the source.
        rejected: of its pictures.
        folder: where to write.
    """
    if not rejected:
        for name in (REJECTED, REJECTED_SHEET):
            (folder / name).unlink(missing_ok=True)
        return
    samples = (
        replace(p.sample, attributes=(*p.sample.attributes, ("reasons", ", ".join(p.reasons)))) for p in rejected
    )
    write_table_csv(table.with_samples(samples), folder / REJECTED)
    by_reason = sorted(rejected, key=lambda p: p.reasons)
    tiles = [_tile(p) for p in by_reason[:_SHOWN]]
    columns = min(_COLUMNS, math.ceil(math.sqrt(len(tiles))))
    shown = f", the first {_SHOWN} by reason" if len(rejected) > _SHOWN else ""
    title = f"{len(rejected):,} of {len(table):,} pictures rejected{shown}"
    write_picture(contact_sheet(tiles, columns=columns, side=200, title=title), folder / REJECTED_SHEET)


def _tile(placed: Placed) -> Tile:
    caption = f"{', '.join(placed.reasons)}\n{placed.sample.path.name}"
    try:
        return tile_of(placed.sample, caption)
    except DataError:
        return Tile(_MISSING, caption)
