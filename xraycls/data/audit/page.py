"""The page of an audit: every finding with its advice and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import cv2
import numpy as np

from xraycls.data.audit.finding import Audit, Finding
from xraycls.data.open import open_image
from xraycls.data.sheet import Tile, contact_sheet
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.page import figure, page, table

_SIDE = 250  # of a picture on a sheet, pixels
_COLUMNS = 4
_SINGLE, _FEW, _MANY = 12, 8, 6  # groups that are shown, of one picture, of a row at most, and larger ones
_QUALITY = 88  # of the JPEG


def audit_page(audit: Audit) -> str:
    """A page that needs nothing else; pictures are inside."""
    data = audit.table
    what = "headers only" if audit.quick else "every picture decoded"
    parts = [f'<p class="quiet">{escape(str(data.root))} · {len(data):,} pictures · {what}</p>', _counts(data)]
    if not audit.findings:
        parts.append("<h2>Nothing found</h2>")
    for finding in audit.findings:
        parts += [
            f"<h2>{escape(finding.severity.capitalize())}: {escape(finding.title)}</h2>",
            f"<p>{escape(finding.advice)}</p>",
            *_sheets(data, finding),
        ]
    return page(f"Audit of {data.root.name or data.root}", parts)


def _counts(data: SampleTable) -> str:
    rows = [["split", *data.classes]]
    rows += [[split, *(f"{n:,}" for n in data.split(split).counts().values())] for split in data.splits]
    rows += [] if data.splits else [["all", *(f"{n:,}" for n in data.counts().values())]]
    return table(rows)


def _sheets(data: SampleTable, finding: Finding) -> Iterator[str]:
    """The pictures of a finding: single ones on a sheet, copies side by side, of large groups a row each."""
    groups = [group for group in finding.groups if group.samples]
    single = [group for group in groups if len(group.samples) == 1]
    few = [group for group in groups if 1 < len(group.samples) <= _COLUMNS]
    many = [group for group in groups if len(group.samples) > _COLUMNS]
    if single:
        yield _sheet([_tile(data, group.samples[0], group.note) for group in single[:_SINGLE]], _COLUMNS, finding.title)
    for size in range(2, _COLUMNS + 1):
        alike = [group for group in few[:_FEW] if len(group.samples) == size]
        if alike:
            tiles = [_tile(data, row, group.note) for group in alike for row in group.samples]
            yield _sheet(tiles, size, finding.title)
    for group in many[:_MANY]:
        spread = [group.samples[at] for at in np.linspace(0, len(group.samples) - 1, _COLUMNS).astype(int)]
        yield f"<p>{escape(group.note)}</p>" + _sheet([_tile(data, row) for row in spread], _COLUMNS, finding.title)
    rest = len(groups) - len(single[:_SINGLE]) - len(few[:_FEW]) - len(many[:_MANY])
    if rest:
        yield f'<p class="quiet">{rest:,} more in findings.csv</p>'


def _sheet(tiles: list[Tile], columns: int, title: str) -> str:
    sheet = contact_sheet(tiles, columns=columns, side=_SIDE)
    _, encoded = cv2.imencode(".jpg", sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return figure(encoded.tobytes(), title, "jpeg")


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
