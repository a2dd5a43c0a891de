"""Pictures that a table names by an identifier: the file of that name without its suffix, in whatever folder."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from xraycls.data.folder import image_files
from xraycls.data.formats.format import first_few
from xraycls.data.records import Record, header_of, plain
from xraycls.errors import DataError

logger = logging.getLogger(__name__)


def pictures_by_id(table: Path, ids: Collection[str], folder: Path, *, strict: bool = False) -> dict[str, Path]:
    """The file of every identifier that has one anywhere below ``folder``.

    Identifiers without a file, and files without an identifier, are left out; a warning counts them and names the
    first five.

    Args:
        table: the file that holds the identifiers, for messages.
        ids: such as ``00000001_000``; a picture of any format goes by its name without suffix.
        folder: of the pictures.
        strict: raise where a file is missing.

    Raises:
        DataError: no such folder, two files of one identifier, or no file at all.
    """
    if not folder.is_dir():
        raise DataError(f"The folder of images {folder} does not exist", folder)
    wanted = set(ids)
    found: dict[str, Path] = {}
    strangers = []
    for file in image_files(folder):
        if file.stem not in wanted:
            strangers.append(file.name)
        elif found.setdefault(file.stem, file) is not file:
            raise DataError(
                f"{file.stem} of {table} is both {found[file.stem]} and {file}", table, "Name one folder with --images"
            )
    missing = [name for name in ids if name not in found]
    if missing:
        message = f"{len(missing):,} of {len(ids):,} images that {table} names are missing below {folder}"
        if strict or not found:
            raise DataError(f"{message}: {first_few(missing)}", table, "Give the folder that holds them with --images")
        logger.warning("%s and left out: %s", message, first_few(missing))
    if strangers:
        logger.warning("%d images below %s are not in %s: %s", len(strangers), folder, table, first_few(strangers))
    return found


def table_beside(path: Path, names: Sequence[str]) -> Path:
    """The table meant by a path: itself, or in a folder the first of these names that is there.

    Raises:
        DataError: there is no such file.
    """
    if not path.is_dir():
        if not path.is_file():
            raise DataError(f"There is no file {path}", path)
        return path
    found = [path / name for name in names if (path / name).is_file()]
    if not found:
        raise DataError(f"{path} has no {' and no '.join(names)}", path)
    return found[0]


def folder_of_pictures(table: Path, name: str, images: Path | None) -> Path:
    """``images`` where it is given, else the folder ``name`` beside the table, else the table's own."""
    if images is not None:
        return images
    usual = table.parent / name
    return usual if usual.is_dir() else table.parent


def has_columns(path: Path, names: Iterable[str]) -> bool:
    """Whether a file is a CSV whose first line has all these columns."""
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        return False
    try:
        header = {plain(name) for name in header_of(path)}
    except DataError:
        return False
    return header.issuperset(map(plain, names))


def coordinate(record: Record, role: str, path: Path) -> float:
    """The number in a cell; raises DataError where it is none, or not finite."""
    try:
        value = float(record[role])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"Line {record.line} of {path} has the {role} {record[role]!r}, which is no number", path)
    return value
