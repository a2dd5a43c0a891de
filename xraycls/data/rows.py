"""Writing tables of text: the counterpart of :mod:`xraycls.data.records`.

A spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@``. Such a cell is written with an apostrophe
before it, which spreadsheets take for "this is text" and :func:`cell_text` takes away again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from xraycls.data.files import atomic_write
from xraycls.types import Box

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|nan)")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A comma-separated table, quoted where it must be and without formulas.

    Example:
        >>> csv_text(["name", "score"], [["=HYPERLINK(A1)", -1.5]])
        "name,score\\n'=HYPERLINK(A1),-1.5\\n"
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([_without_formula(cell) for cell in row])
    return text.getvalue()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table that :func:`write_rows` wrote, by the names of its columns.

    Raises:
        ValueError: the file can't be read, or a row has another number of cells than the header.
    """
    try:
        text = path.read_text(encoding="utf-8")
        header, *rows = [[cell_text(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline=""))] or [[]]
    except (OSError, csv.Error) as error:
        raise ValueError(str(error)) from error
    return [dict(zip(header, row, strict=True)) for row in rows]


def cell_text(cell: str) -> str:
    """The text of a cell as it was before :func:`csv_text` wrote it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _without_formula(cell: object) -> object:
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


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
