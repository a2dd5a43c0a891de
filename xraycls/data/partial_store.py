"""A prepared store in the making: pixels in a partial file, and a journal of the rows that are done.

A kill at any instant costs the row in work. The next run reads the journal, checks each row's pixels against its
checksum and goes on. Nothing looks like a store before all of it lies on disk and was read back.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from xraycls.data.documents import parse_json
from xraycls.data.files import atomic_write, make_private, make_usual
from xraycls.data.image import GreyImage
from xraycls.data.store import STORE, FileFacts
from xraycls.errors import DataError
from xraycls.types import PIXELS

PARTIAL = "pixels.partial"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Row:
    """One picture that is done.

    Attributes:
        left: where the region that it shows begins in the upright source, pixels.
        top: likewise.
        width: of that region, pixels.
        height: likewise.
        crc32: of its pixels.
        file: the source file.
    """

    left: int
    top: int
    width: int
    height: int
    crc32: int
    file: FileFacts


class PartialStore:
    """Rows of a store in any order, until :meth:`finish` makes them ``pixels.npy``. A context manager.

    Args:
        folder: the store's.
        plan: settings and names of all rows; a partial store of another plan is begun anew.
        count: rows.
        size: side of a picture, pixels.
        is_valid: whether an earlier row, by its number, is still what its source gives.

    Attributes:
        rows: what is done.
    """

    def __init__(
        self, folder: Path, plan: dict[str, Any], count: int, size: int, is_valid: Callable[[int, Row], bool]
    ) -> None:
        self.folder = folder
        self.size = size
        self.rows: dict[int, Row] = {}
        folder.mkdir(parents=True, exist_ok=True)
        partial, journal = folder / PARTIAL, folder / JOURNAL
        done = _read_journal(journal, plan)
        if done and not (folder / STORE).exists() and not partial.exists() and (folder / PIXELS).exists():
            (folder / PIXELS).rename(partial)  # the kill came just before the end
        mode = "r+b" if done and partial.exists() else "w+b"
        make_private(partial)
        self._pixels: IO[bytes] = partial.open(mode)
        self._offset = self._write_header(count)
        self._pixels.truncate(self._offset + count * size * size)
        self.rows = {i: row for i, row in done.items() if self._checksum(i) == row.crc32 and is_valid(i, row)}
        with atomic_write(journal) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in self._journal_lines(plan)), encoding="utf-8")
        make_private(journal)
        self._journal = journal.open("a", encoding="utf-8")

    def __enter__(self) -> PartialStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pixels.close()
        self._journal.close()

    def put(self, index: int, row: Row, picture: GreyImage) -> None:
        """Write a picture, uint8 [size, size], and note that it is done."""
        self._write(index, np.ascontiguousarray(picture).data)
        self._pixels.flush()
        self._journal.write(f"{_line(index, row)}\n")
        self._journal.flush()
        self.rows[index] = row

    def finish(self, kept: Sequence[int]) -> None:
        """Close the gaps between the rows to keep, in their order, read all back, and give them their final name.

        Raises:
            DataError: the disk doesn't give back what was written.
        """
        for position, index in enumerate(kept):
            if position != index:
                self._write(position, self._read(index))
        self._pixels.truncate(self._offset + len(kept) * self.size**2)
        self._write_header(len(kept))
        self._pixels.flush()
        os.fsync(self._pixels.fileno())
        if hasattr(os, "posix_fadvise"):  # forget what memory holds of the file, so that the disk is read
            os.posix_fadvise(self._pixels.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        wrong = sum(self._checksum(position) != self.rows[index].crc32 for position, index in enumerate(kept))
        if wrong:
            raise DataError(
                f"{wrong:,} of {len(kept):,} pictures in {self.folder} read back other than they were written",
                self.folder,
                "Run the same command again; if it repeats, the disk is failing",
            )
        make_usual(self.folder / PARTIAL)
        (self.folder / STORE).unlink(missing_ok=True)  # an earlier one would not fit the new pixels
        (self.folder / PARTIAL).replace(self.folder / PIXELS)

    def discard(self) -> None:
        """Remove what is left of the partial, once the store is complete."""
        for name in (PARTIAL, JOURNAL):
            (self.folder / name).unlink(missing_ok=True)

    def _write_header(self, count: int) -> int:
        """The header of a ``.npy`` and its length, which NumPy keeps the same for any number of rows."""
        self._pixels.seek(0)
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, self.size, self.size)}
        np.lib.format.write_array_header_1_0(self._pixels, header)
        return self._pixels.tell()

    def _write(self, index: int, pixels: bytes | memoryview) -> None:
        self._pixels.seek(self._offset + index * self.size**2)
        self._pixels.write(pixels)

    def _read(self, index: int) -> bytes:
        self._pixels.seek(self._offset + index * self.size**2)
        return self._pixels.read(self.size**2)

    def _checksum(self, index: int) -> int:
        return zlib.crc32(self._read(index))

    def _journal_lines(self, plan: dict[str, Any]) -> Iterator[str]:
        yield json.dumps(plan)
        yield from (_line(index, row) for index, row in self.rows.items())


def _line(index: int, row: Row) -> str:
    file = row.file  # written out: astuple would take as long as the checksums
    facts = file.size, file.mtime_ns, file.sha256
    return json.dumps([index, row.left, row.top, row.width, row.height, row.crc32, facts])


def _read_journal(path: Path, plan: dict[str, Any]) -> dict[int, Row]:
    """The rows of an earlier run with the same plan; the line that a kill cut short is passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        if parse_json(lines[0]) != plan:
            return {}
    except (OSError, ValueError, IndexError):
        return {}
    rows = {}
    for line in lines[1:]:
        try:
            index, left, top, width, height, crc32, file = parse_json(line)
            rows[index] = Row(left, top, width, height, crc32, FileFacts(*file))
        except (ValueError, TypeError):
            continue
    return rows
