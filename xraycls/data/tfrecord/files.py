"""TFRecord files: records one after the other, each with its length and two checksums.

A record is its length (uint64, little endian), the masked CRC-32C of those 8 bytes, the data, and the masked CRC-32C
of the data (TensorFlow, ``core/lib/io/record_writer.h``). There is no header and no end mark.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from xraycls.data.files import atomic_write, is_special, require_regular
from xraycls.errors import DataError, MissingExtra

_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_HEADER = _LENGTH.size + _CHECKSUM.size
_MASK = 0xA282EAD8

AROUND = _HEADER + _CHECKSUM.size
"""Bytes of a file that a record takes besides its data."""


def write_tfrecord(path: Path, records: Iterable[bytes]) -> int:
    """Write records to a file, atomically.

    Returns:
        The number of records.

    Raises:
        XrayclsError: the file can't be written.
        MissingExtra: the package for checksums isn't installed.
    """
    checksum, count = _masked_crc32c(), 0
    with atomic_write(path) as temporary, temporary.open("wb") as handle:
        for record in records:
            length = _LENGTH.pack(len(record))
            handle.write(length + _CHECKSUM.pack(checksum(length)) + record + _CHECKSUM.pack(checksum(record)))
            count += 1
    return count


def read_tfrecord(path: Path) -> Iterator[bytes]:
    """The records of a file, in order.

    Raises:
        DataError: the file can't be read, is cut short or doesn't fit its checksums; names the record, from 1.
        MissingExtra: the package for checksums isn't installed.
    """
    with _opened(path) as handle:
        left, number = handle.seek(0, 2), 0
        handle.seek(0)
        while left:
            number += 1
            record = _record(handle, path, f"record {number}", left)
            left -= AROUND + len(record)
            yield record


def read_record(path: Path, offset: int) -> bytes:
    """The record that begins at an offset, in bytes; raises as :func:`read_tfrecord`."""
    with _opened(path) as handle:
        left = handle.seek(0, 2) - offset
        handle.seek(offset)
        return _record(handle, path, f"the record at byte {offset}", left)


def is_tfrecord(path: Path) -> bool:
    """Whether a file starts with a record: the checksum of its length tells. Never raises."""
    if is_special(path):
        return False
    try:
        with path.open("rb") as handle:
            header = handle.read(_HEADER)
        length, given = header[: _LENGTH.size], header[_LENGTH.size :]
        return len(header) == _HEADER and _CHECKSUM.unpack(given)[0] == _masked_crc32c()(length)
    except (OSError, MissingExtra):
        return False


def write_index(path: Path) -> Path:
    """Write the index that DALI's reader takes, ``idx-<name>`` beside the file: a line "offset size" a record.

    Raises:
        DataError: as :func:`read_tfrecord`.
        XrayclsError: the index can't be written.
    """
    offset, lines = 0, []
    for record in read_tfrecord(path):
        size = AROUND + len(record)
        lines.append(f"{offset} {size}\n")
        offset += size
    index = path.with_name(f"idx-{path.name}")
    with atomic_write(index) as temporary:
        temporary.write_text("".join(lines), encoding="ascii", newline="\n")
    return index


def _opened(path: Path) -> BinaryIO:
    require_regular(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}", path) from error


def _record(handle: BinaryIO, path: Path, name: str, left: int) -> bytes:
    """The next record, which ``name`` stands for in messages; ``left`` bytes of the file come before its end."""
    checksum = _masked_crc32c()
    header = handle.read(_HEADER)
    if len(header) < _HEADER:
        raise DataError(f"{path} is cut short in {name}", path, "Copy or convert it again")
    length, given = header[: _LENGTH.size], header[_LENGTH.size :]
    if _CHECKSUM.unpack(given)[0] != checksum(length):
        if handle.tell() == _HEADER:
            raise DataError(f"{path} is no TFRecord file, or damaged from its first record on", path)
        raise DataError(f"{_begun(name)} of {path} is damaged: the checksum of its length doesn't fit", path)
    size = int(_LENGTH.unpack(length)[0])
    if AROUND + size > left:
        raise DataError(f"{path} is cut short in {name}", path, "Copy or convert it again")
    record = handle.read(size)
    if _CHECKSUM.unpack(handle.read(_CHECKSUM.size))[0] != checksum(record):
        raise DataError(f"{_begun(name)} of {path} is damaged: its checksum doesn't fit", path)
    return record


def _begun(name: str) -> str:
    return name[0].upper() + name[1:]


def _masked_crc32c() -> Callable[[bytes], int]:
    """CRC-32C (Castagnoli), turned and shifted so that data that holds checksums keeps its own meaningful."""
    try:
        from google_crc32c import value
    except ImportError as error:
        raise MissingExtra("google-crc32c", "tao") from error

    def masked(data: bytes) -> int:
        crc: int = value(data)
        return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF

    return masked
