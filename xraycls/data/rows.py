"""Writing tables of text: the counterpart of :mod:`xraycls.data.records`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from xraycls.data.files import atomic_write
from xraycls.types import Box


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A comma-separated table, quoted where it must be."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a comma-separated table in UTF-8, atomically; raises XrayclsError where it can't be written."""
    with atomic_write(path) as temporary:
        temporary.write_text(csv_text(header, rows), encoding="utf-8", newline="")


def written_number(value: float) -> str:
    """A coordinate as short as 12 digits allow: 3.0 becomes 3."""
    return f"{value:.12g}"


def written_box(box: Box) -> tuple[str, str, str, str]:
    """Left, top, width and height, each as :func:`written_number`."""
    x, y, width, height = map(written_number, (box.left, box.top, box.right - box.left, box.bottom - box.top))
    return x, y, width, height
