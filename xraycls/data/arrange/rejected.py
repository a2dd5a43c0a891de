"""The pictures that were set apart: a table with reasons, and a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from xraycls.data.arrange.plan import Placed
from xraycls.data.formats.table import write_table_csv
from xraycls.data.lettering import write_picture
from xraycls.data.sheet import Tile, contact_sheet
from xraycls.data.show import tile_of
from xraycls.data.table import SampleTable
from xraycls.errors import DataError

REJECTED, REJECTED_SHEET = "rejected.csv", "rejected.png"
_SHOWN = 100  # pictures on the sheet; the table lists all
_COLUMNS = 10
_MISSING = np.zeros((1, 1), np.uint8)  # in place of a picture that can't be read


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
    told = (replace(p.sample, attributes=(*p.sample.attributes, ("reasons", ", ".join(p.reasons)))) for p in rejected)
    write_table_csv(table.with_samples(told), folder / REJECTED)
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
