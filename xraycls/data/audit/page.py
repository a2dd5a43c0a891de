"""The page of an audit: every finding with its advice and a contact sheet."""

from __future__ import annotations

import cv2
import numpy as np

from xraycls.data.audit.finding import Audit, Finding
from xraycls.data.open import open_image
from xraycls.data.sheet import Tile, contact_sheet
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.page import render

_SIDE = 250  # of a picture on a sheet, pixels
_COLUMNS = 4
_SINGLE, _FEW, _MANY = 12, 8, 6  # groups that are shown, of one picture, of a row at most, and larger ones
_QUALITY = 88  # of the JPEG


def audit_page(audit: Audit) -> str:
    """A page that needs nothing else; pictures are inside."""
    data = audit.table
    return render(
        "audit.html",
        name=data.root.name or data.root,
        root=data.root,
        pictures=f"{len(data):,}",
        depth="headers only" if audit.quick else "every picture decoded",
        counts=_counts(data),
        findings=[(finding, *_sheets(data, finding)) for finding in audit.findings],
    )


def _counts(data: SampleTable) -> list[list[str]]:
    rows = [["split", *data.classes]]
    rows += [[split, *(f"{n:,}" for n in data.split(split).counts().values())] for split in data.splits]
    rows += [] if data.splits else [["all", *(f"{n:,}" for n in data.counts().values())]]
    return rows


def _sheets(data: SampleTable, finding: Finding) -> tuple[list[tuple[str, bytes]], int]:
    """The pictures of a finding: single ones on a sheet, copies side by side, of large groups a row each.

    Returns:
        A note, "" for none, and a JPEG of every sheet; and how many groups are not shown.
    """
    groups = [group for group in finding.groups if group.samples]
    single = [group for group in groups if len(group.samples) == 1][:_SINGLE]
    few = [group for group in groups if 1 < len(group.samples) <= _COLUMNS][:_FEW]
    many = [group for group in groups if len(group.samples) > _COLUMNS][:_MANY]
    sheets = []
    if single:
        sheets.append(("", _sheet([_tile(data, group.samples[0], group.note) for group in single], _COLUMNS)))
    for size in range(2, _COLUMNS + 1):
        tiles = [_tile(data, row, g.note) for g in few if len(g.samples) == size for row in g.samples]
        if tiles:
            sheets.append(("", _sheet(tiles, size)))
    for group in many:
        spread = [group.samples[at] for at in np.linspace(0, len(group.samples) - 1, _COLUMNS).astype(int)]
        sheets.append((group.note, _sheet([_tile(data, row) for row in spread], _COLUMNS)))
    return sheets, len(groups) - len(single) - len(few) - len(many)


def _sheet(tiles: list[Tile], columns: int) -> bytes:
    """A JPEG of some pictures."""
    sheet = contact_sheet(tiles, columns=columns, side=_SIDE)
    _, encoded = cv2.imencode(".jpg", sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes()


def _tile(data: SampleTable, row: int, note: str = "") -> Tile:
    """A picture with its split, label and what is the matter; a grey field where it can't be read."""
    sample = data[row]
    label = "" if sample.label is None else data.classes[sample.label]
    about = " · ".join(part for part in (sample.split or "", label, note) if part)
    caption = f"{data.name_of(sample)}\n{about}"
    try:
        image = open_image(sample)
        longer = max(image.width, image.height)
        pixels = image.decode(max((scale for scale in image.scales if longer >= scale * _SIDE), default=1))
    except DataError:
        return Tile(np.full((_SIDE, _SIDE), 60, np.uint8), caption)
    return Tile(pixels, caption, sample.boxes, (image.width, image.height))
