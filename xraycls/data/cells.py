"""What the cells of a table of labels say: classes, lists of them, and splits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from xraycls.data.class_names import is_no_class, plain_class
from xraycls.data.split import split_of_folder
from xraycls.errors import DataError
from xraycls.types import Split

_LISTED = re.compile(r"\[\s*(.*?)\s*\]|\(\s*(.*?)\s*,?\s*\)")
_SEPARATORS = re.compile(r"\s*[;,&+]\s*")
_NEGATIVE = re.compile(r"-\d+(\.0*)?")
_TRUE, _FALSE = frozenset("true t yes y 1 1.0".split()), frozenset(["false", "f", "no", "n", "0", "0.0", ""])
# Columns that say yes or no to one split, by their plain names, and what a no means.
FLAGS: dict[str, tuple[Split, Split | None]] = {
    "isvalid": ("val", "train"),
    "isval": ("val", "train"),
    "isvalidation": ("val", "train"),
    "valid": ("val", "train"),
    "validation": ("val", "train"),
    "istest": ("test", "train"),
    "test": ("test", "train"),
    "istrain": ("train", None),
    "istraining": ("train", None),
    "train": ("train", None),
}


def class_cells(cells: Sequence[str], lines: Sequence[int], path: Path) -> list[str | None]:
    """The class that each cell names; None for those that name none, such as "nan" or, beside two others, "-1".

    A list of one, ``['Normal']``, is that one.

    Args:
        cells: of the label's column.
        lines: of the file, for messages.
        path: the table, for messages.

    Raises:
        DataError: a cell with several labels.
    """
    single = [_single(cell, line, path) for cell, line in zip(cells, lines, strict=True)]
    alone = {plain_class(cell) for cell in single if not is_no_class(cell)}
    parts_of = {cell: [part for part in _SEPARATORS.split(cell) if part] for cell in set(single)}
    combined = Counter(plain_class(part) for parts in parts_of.values() if len(parts) > 1 for part in set(parts))
    for cell, line in zip(single, lines, strict=True):
        parts = parts_of[cell]
        if len(parts) > 1 and any(plain_class(p) in alone or combined[plain_class(p)] > 1 for p in parts):
            raise _several(line, path, cell)
    # -1 means "uncertain" beside 0 and 1, but a class where there is only one other.
    negatives = {cell for cell in single if _NEGATIVE.fullmatch(cell)} if len(alone) < 2 else set()
    return [cell if cell in negatives or not is_no_class(cell) else None for cell in single]


def split_cells(cells: Sequence[str]) -> list[Split | None] | None:
    """The split that each cell names, None for an empty one; None where the cells are numbers of folds."""
    written = [cell for cell in cells if cell]
    if written and all(re.fullmatch(r"\d+(\.0+)?", cell) for cell in written):
        return None
    return [split_of_folder(cell) for cell in cells]


def split_flags(columns: Mapping[str, str]) -> Split | None:
    """The split that columns such as ``is_valid`` tell, by their plain names; None where they don't."""
    split: Split | None = None
    for name, cell in columns.items():
        yes, no = FLAGS[name]
        if cell.lower() in _TRUE:
            return yes
        if cell.lower() in _FALSE and no is not None:
            split = no
    return split


def is_flag(cells: Sequence[str]) -> bool:
    """Whether a column says yes and no."""
    return {cell.lower() for cell in cells} <= _TRUE | _FALSE and any(cells)


def _single(cell: str, line: int, path: Path) -> str:
    if "|" in cell:
        raise _several(line, path, cell)
    if not (match := _LISTED.fullmatch(cell)):
        return cell
    inner = match[1] if match[1] is not None else match[2]
    parts = [part.strip(" '\"") for part in inner.split(",")] if inner else [""]
    if len(parts) > 1:
        raise _several(line, path, cell)
    return parts[0] if match[1] is not None or inner[:1] in "'\"" else cell


def _several(line: int, path: Path, cell: str) -> DataError:
    return DataError(
        f"Line {line} of {path} has several labels ({cell}); a classifier needs one an image",
        path,
        "Train on several findings an image with --label-separator (such as --label-separator '|'), write one label a "
        "row, or name another column with --label-column",
    )
