"""The rows of a table of text, whatever separates them and whatever its columns are called."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xraycls.data.files import require_regular
from xraycls.errors import DataError

_DELIMITERS = ",;\t"
_HEAD = 1 << 16  # bytes, more than any first line has


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a table.

    Attributes:
        line: of the file, from 1, for messages.
        cells: the text of each column that was asked for, by role, without blanks around it; "" where a row is short.
        others: the cells of the remaining columns that aren't empty, as (column, text).
    """

    line: int
    cells: dict[str, str]
    others: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, role: str) -> str:
        """The text of a role; "" where the table has no such column."""
        return self.cells.get(role, "")


def read_records(path: Path, columns: Mapping[str, Sequence[str]], required: Collection[str]) -> list[Record]:
    """The rows of a CSV that aren't empty.

    The text is UTF-8, with or without a byte-order mark, separated by commas, semicolons or tabs, cells quoted or not.

    Args:
        path: the CSV.
        columns: what the column of each role may be called, the usual name first; case, blanks and punctuation
            don't matter.
        required: the roles without which the table is of no use.

    Raises:
        DataError: unreadable text, no CSV, or a required column is missing.
    """
    text = read_text(path)
    # The delimiter is the one that cuts the header into the most columns.
    headers = {mark: next(_split(path, text, mark))[1] for mark in _DELIMITERS}
    delimiter = max(headers, key=lambda mark: len(headers[mark]))
    header = headers[delimiter]
    positions = _positions(path, header, columns, required)
    taken = set(positions.values())
    records = []
    for line, cells in list(_split(path, text, delimiter))[1:]:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            named = {role: stripped[at] if at < len(stripped) else "" for role, at in positions.items()}
            named_elsewhere = zip(header, stripped, strict=False)
            others = tuple((n.strip(), c) for i, (n, c) in enumerate(named_elsewhere) if c and i not in taken)
            records.append(Record(line, named, others))
    return records


def read_text(path: Path) -> str:
    """The text of a UTF-8 file without its byte-order mark.

    Raises:
        DataError: the file can't be read, isn't UTF-8 or is empty.
    """
    require_regular(path)
    try:
        encoded = path.read_bytes()
        text = encoded.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}", path) from error
    except UnicodeDecodeError as error:
        line = encoded.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} is not UTF-8 text (line {line})", path, "Save it as CSV UTF-8") from error
    if not text.strip():
        raise DataError(f"{path} is empty", path)
    return text


def header_of(path: Path) -> list[str]:
    """The names on the first line of a CSV, to tell what kind of table it is.

    Only the start of the file is read, whatever comes after; raises DataError where that holds no text.
    """
    require_regular(path)
    try:
        with path.open("rb") as handle:
            lines = handle.read(_HEAD).decode("utf-8-sig", "replace").split("\n")
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}", path) from error
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise DataError(f"{path} is empty", path)
    return max((next(_split(path, first, mark))[1] for mark in _DELIMITERS), key=len)


def plain(name: str) -> str:
    """A column's name as it is compared: small letters and digits alone."""
    return re.sub(r"[\W_]", "", name).lower()


def _split(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of every record, with the number of its last line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"Line {reader.line_num} of {path} is not CSV: {error}", path) from error


def _positions(
    path: Path, header: Sequence[str], columns: Mapping[str, Sequence[str]], required: Collection[str]
) -> dict[str, int]:
    """The position of every role that has a column."""
    names = [plain(name) for name in header]
    positions = {}
    for role, aliases in columns.items():
        position = next((names.index(plain(alias)) for alias in aliases if plain(alias) in names), None)
        if position is not None:
            positions[role] = position
        elif role in required:
            found = ", ".join(name for name in header if name.strip()) or "no names on its first line"
            raise DataError(
                f"{path} has no column for the {role}; it has: {found}", path, f"Name one of: {', '.join(aliases)}"
            )
    return positions
