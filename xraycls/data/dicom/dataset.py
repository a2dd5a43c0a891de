"""A DICOM file as pydicom's dataset, or one sentence that says why not."""

from __future__ import annotations

import copy
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from xraycls.data.dicom.sniff import could_be_dicom
from xraycls.errors import DataError, XrayclsError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

T = TypeVar("T")

MOST_INFLATED = 512 << 20
"""Bytes that a deflated file may unpack to: four times a film of 8,192 × 8,192 pixels of 16 bits."""

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_BEGIN = 1 << 16


def read_dataset(path: Path, encoded: bytes) -> Dataset:
    """All elements of a file that was read; those without a preamble or a transfer syntax are understood as well.

    Raises:
        DataError: empty, not DICOM, or damaged before the first element.
    """
    from pydicom import dcmread

    if not encoded:
        raise DataError(f"{path} is empty (0 bytes)", path)
    if not could_be_dicom(encoded):
        raise DataError(f"{path} is not a DICOM file", path)
    with header_of(path):
        _refuse_bomb(io.BytesIO(encoded), path)
        dataset = dcmread(io.BytesIO(encoded), force=True)
        _name_transfer_syntax(dataset)
        return dataset


def read_elements(path: Path, keywords: Sequence[str]) -> Dataset:
    """Some elements of a file's header, without reading its pixels; raises DataError as :func:`read_dataset`."""
    from pydicom import dcmread

    try:
        with path.open("rb") as handle, header_of(path):
            if not could_be_dicom(handle.read(132)):
                what = "is not a DICOM file" if handle.tell() else "is empty (0 bytes)"
                raise DataError(f"{path} {what}", path)
            _refuse_bomb(handle, path)
            return dcmread(handle, stop_before_pixels=True, force=True, specific_tags=list(keywords))
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror or 'it ends too early'}", path) from None


def _refuse_bomb(handle: BinaryIO, path: Path) -> None:
    """Raise DataError for a deflated file that unpacks beyond ``MOST_INFLATED``; pydicom would unpack all of it."""
    handle.seek(0)
    begin = handle.read(_BEGIN)
    handle.seek(0)
    # Few files are deflated, and those name the syntax at their beginning; where that is strange, all of it is read.
    if _DEFLATED not in begin and int.from_bytes(begin[140:144], "little") < _BEGIN and begin[132:136] == b"\2\0\0\0":
        return
    from pydicom.filereader import _read_file_meta_info, read_preamble

    read_preamble(handle, force=True)
    meta = _read_file_meta_info(handle)
    if meta.get("TransferSyntaxUID") == _DEFLATED.decode():
        unpacker, left = zlib.decompressobj(-zlib.MAX_WBITS), MOST_INFLATED
        while not unpacker.eof and (packed := unpacker.unconsumed_tail or handle.read(_BEGIN)):
            left -= len(unpacker.decompress(packed, _BEGIN))
            if left < 0:
                raise DataError(f"{path} unpacks to more than {MOST_INFLATED >> 20:,} MB, and was refused", path)
    handle.seek(0)


def value_of(dataset: Dataset, keyword: str, convert: Callable[[Any], T | None]) -> T | None:
    """What ``convert`` makes of the first value of an element; None where there is none, or none that it takes."""
    return values_of(dataset, keyword, lambda values: convert(values[0]))


def values_of(dataset: Dataset, keyword: str, convert: Callable[[Sequence[Any]], T | None]) -> T | None:
    """What ``convert`` makes of all values of an element; None where there are none, or none that it takes."""
    try:
        value = dataset.get(keyword)
        several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return None if value is None or value == "" else convert(value if several else [value])
    except Exception:  # pydicom converts values when they are asked for, and raises errors of many kinds
        return None


def name_of(uid: UID) -> str | None:
    """What the standard calls a UID; None for others, which in a damaged file may be anything."""
    return str(uid.name) if uid.name != str(uid) else None


@contextmanager
def header_of(path: Path) -> Iterator[None]:
    """Turn what pydicom raises into one sentence, without its words and its cause: they quote values of the file."""
    try:
        yield
    except (XrayclsError, ImportError):  # a length without end in a damaged file is a MemoryError
        raise
    except Exception as error:
        raise DataError(f"The DICOM header of {path} is damaged ({type(error).__name__})", path) from None


def transferable(dataset: Dataset) -> Dataset:
    """A dataset that was built or read elsewhere, with a transfer syntax; the given one is left as it is."""
    from pydicom.dataset import FileMetaDataset

    own = copy.copy(dataset)
    own.file_meta = FileMetaDataset(getattr(dataset, "file_meta", None) or {})
    _name_transfer_syntax(own)
    return own


def _name_transfer_syntax(dataset: Dataset) -> None:
    """Files without a meta header are uncompressed; how they are written has been seen when reading them."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if dataset.file_meta.get("TransferSyntaxUID"):
        return
    implicit, little = dataset.original_encoding  # both None where it was never read
    explicit = ExplicitVRBigEndian if little is False else ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
