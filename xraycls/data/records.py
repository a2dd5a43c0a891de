"""The rows of a table of text, whatever separates them and whatever its columns are called."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xraycls.data.files import require_regular
from xraycls.data.rows import cell_text
from xraycls.errors import DataError

_DELIMITERS = ",;\t"
_SEPARATOR = re.compile(r"\s*[\"']?sep=(.)[\"']?[ \t]*(?:\r\n|\n|\r)", re.IGNORECASE)
_PICTURE = re.compile(r"\.(?:png|jpe?g|bmp|tiff?|dcm|dicom|webp|jp2)$", re.IGNORECASE)
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


@dataclass(frozen=True, slots=True)
class Records:
    """A table.

    Attributes:
        header: the names of all columns, as written.
        columns: the column of each role that has one, as written.
        rows: those that aren't empty.
    """

    header: tuple[str, ...]
    columns: dict[str, str]
    rows: list[Record]


def read_records(path: Path, columns: Mapping[str, Sequence[str]], required: Collection[str]) -> list[Record]:
    """The rows of :func:`read_table_records`; arguments and errors are its own."""
    return read_table_records(path, columns, required).rows


def read_table_records(
    path: Path,
    columns: Mapping[str, Sequence[str]],
    required: Collection[str],
    named: Mapping[str, str] | None = None,
) -> Records:
    """The rows of a CSV that aren't empty.

    The text is UTF-8, with or without a byte-order mark, or UTF-16 with one, separated by commas, semicolons or tabs,
    cells quoted or not. Excel's first line ``sep=;`` tells the separator.

    Args:
        path: the CSV.
        columns: what the column of each role may be called, the usual name first; case, blanks and punctuation
            don't matter.
        required: the roles without which the table is of no use.
        named: the column of a role, where the user names it.

    Raises:
        DataError: unreadable text, no CSV, or a required or named column is missing.
    """
    text = read_text(path)
    skipped = 0
    marks: Sequence[str] = _DELIMITERS
    if separator := _SEPARATOR.match(text):
        text, skipped, marks = text[separator.end() :], 1, (separator[1],)
    # The delimiter is the one that cuts the header into the most columns.
    headers = {mark: next(_split(path, text, mark), (0, []))[1] for mark in marks}
    delimiter = max(headers, key=lambda mark: len(headers[mark]))
    header = headers[delimiter]
    positions = _positions(path, header, columns, required, named or {})
    taken = set(positions.values())
    records = []
    for line, cells in list(_split(path, text, delimiter))[1:]:
        stripped = [cell_text(cell.strip()) for cell in cells]
        if any(stripped):
            by_role = {role: stripped[at] if at < len(stripped) else "" for role, at in positions.items()}
            named_elsewhere = zip(header, stripped, strict=False)
            others = tuple((n.strip(), c) for i, (n, c) in enumerate(named_elsewhere) if c and i not in taken)
            records.append(Record(line + skipped, by_role, others))
    return Records(
        tuple(n.strip() for n in header), {role: header[at].strip() for role, at in positions.items()}, records
    )


def read_listing(path: Path) -> Records | None:
    """Lines of words, "path class" or "patient path class [source]", as ImageNet's and COVIDx' lists; None for others.

    The path is the word with a picture's suffix; a class of several words can't be told.
    """
    lines = [
        (number, line.split()) for number, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()
    ]
    at = next((at for at, word in enumerate(lines[0][1][:2]) if _PICTURE.search(word)), None)
    if at is None or any(len(words) <= at + 1 or not _PICTURE.search(words[at]) for _, words in lines):
        return None
    columns = {"path": "path", "label": "label"} | ({"patient": "patient"} if at else {})
    rows = []
    for number, words in lines:
        cells = {"path": words[at], "label": words[at + 1]} | ({"patient": words[0]} if at else {})
        rows.append(Record(number, cells, (("source", words[at + 2]),) if len(words) > at + 2 else ()))
    return Records(("patient", "path", "label", "source"), columns, rows)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, or one of UTF-16 with a byte-order mark, without that mark.

    Raises:
        DataError: the file can't be read, isn't UTF-8 or is empty.
    """
    require_regular(path)
    try:
        encoded = path.read_bytes()
        wide = encoded.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = encoded.decode("utf-16" if wide else "utf-8-sig")
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
    path: Path,
    header: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    required: Collection[str],
    named: Mapping[str, str],
) -> dict[str, int]:
    """The position of every role that has a column."""
    names = [plain(name) for name in header]
    found = ", ".join(name for name in header if name.strip()) or "no names on its first line"
    positions = {}
    for role, column in named.items():
        if column in header or plain(column) in names:
            positions[role] = header.index(column) if column in header else names.index(plain(column))
        else:
            raise DataError(
                f"{path} has no column {column!r}; it has: {found}", path, f"--{role}-column names one of them"
            )
    taken = set(positions.values())
    for role, aliases in columns.items():
        if role in positions:
            continue
        known = [names.index(plain(alias)) for alias in aliases if plain(alias) in names]
        position = next((at for at in known if at not in taken), None)
        if position is not None:
            positions[role] = position
        elif role in required:
            raise DataError(
                f"{path} has no column for the {role}; it has: {found}",
                path,
                f"Name one of: {', '.join(aliases)}; or say which one it is with --{role}-column",
            )
    return positions
