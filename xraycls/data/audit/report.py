"""An audit as files: JSON for programs, a table of the pictures concerned, and a page for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xraycls.data.audit.finding import Audit, Finding
from xraycls.data.files import atomic_write
from xraycls.data.open import open_image
from xraycls.data.rows import write_rows
from xraycls.data.sheet import Tile, contact_sheet
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.page import render

JSON_NAME, PAGE_NAME, CSV_NAME = "audit.json", "audit.html", "findings.csv"

_SIDE = 250  # of a picture on a sheet, pixels
_COLUMNS = 4
_SINGLE, _FEW, _MANY = 12, 8, 6  # groups that are shown, of one picture, of a row at most, and larger ones
_QUALITY = 88  # of the JPEG


def write_report(audit: Audit, folder: Path) -> None:
    """Write ``audit.json``, ``findings.csv`` and ``audit.html`` into a folder, which is made when missing.

    Raises:
        UsageError: the folder lies within the data.
        XrayclsError: it can't be written.
    """
    require_outside(audit.table, folder)
    with atomic_write(folder / JSON_NAME) as temporary:
        temporary.write_text(json.dumps(as_json(audit), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    rows = [row for finding in audit.findings for row in _rows(audit.table, finding)]
    write_rows(folder / CSV_NAME, ("finding", "severity", "group", "path", "split", "label", "note"), rows)
    with atomic_write(folder / PAGE_NAME) as temporary:
        temporary.write_text(audit_page(audit), encoding="utf-8")


def require_outside(table: SampleTable, folder: Path) -> None:
    """Refuse a folder for the report that lies within the data, where it would be read as part of it; UsageError."""
    if table.root.is_dir() and folder.resolve().is_relative_to(table.root.resolve()):
        raise UsageError(f"The report can't go to {folder}, which lies in the data", "Name another folder by --output")


def as_json(audit: Audit) -> dict[str, Any]:
    """The audit in plain values; pictures by their names below the root."""
    table = audit.table
    return {
        "data": str(table.root),
        "source": table.source,
        "quick": audit.quick,
        "pictures": len(table),
        "counts": {split: table.split(split).counts() for split in table.splits} or {"all": table.counts()},
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "title": finding.title,
                "advice": finding.advice,
                "figures": dict(finding.figures),
                "groups": [
                    {"note": group.note, "pictures": [table.name_of(table[row]) for row in group.samples]}
                    for group in finding.groups
                ],
            }
            for finding in audit.findings
        ],
    }


def _rows(table: SampleTable, finding: Finding) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for number, group in enumerate(finding.groups, start=1):
        for row in group.samples:
            sample = table[row]
            label = "" if sample.label is None else table.classes[sample.label]
            rows.append(
                (finding.kind, finding.severity, number, table.name_of(sample), sample.split or "", label, group.note)
            )
    return rows


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
