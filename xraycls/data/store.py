"""A prepared store: the pictures of a data set, decoded once, as one array that is mapped into memory.

A store is a folder of two files. ``pixels.npy`` is uint8 [n, S, S], for anyone to ``np.load(path, mmap_mode="r")``.
``store.json`` tells what each row shows and which file it was made from, column by column. It is written last, so
where it stands, the store is complete.
"""

from __future__ import annotations

import hashlib
import shlex
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from xraycls.data.documents import DAMAGED_ARRAY
from xraycls.data.files import name_problem, read_whole
from xraycls.data.image import Image
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import PIXELS, Box, Sample, Split

STORE = "store.json"
_ABSURD = 1 << 31  # pixels
_NAMED = 3


class Settings(BaseModel):
    """What a store is prepared from, and how; paths are absolute.

    Attributes:
        source: as given to ``xraycls data prepare``.
        images: the folder that a CSV's paths start from; None without one.
        root: the folder or archive that names start from.
        size: side of the pictures, pixels.
        central_crop: fraction of width and height that is kept; None for all.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    images: str | None
    root: str
    size: int
    central_crop: float | None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What tells whether a file is still the same: bytes, time of the last change, and hash."""

    size: int
    mtime_ns: int
    sha256: str


class Sources(BaseModel):
    """The files that pictures were made from, a list a column.

    Attributes:
        name: below the root, with slashes; "." for the root itself, an archive.
        size: bytes.
        mtime_ns: time of the last change.
        sha256: of the content, hexadecimal.
    """

    model_config = ConfigDict(frozen=True)

    name: list[str]
    size: list[int]
    mtime_ns: list[int]
    sha256: list[str]

    def facts(self) -> list[FileFacts]:
        """What tells whether each file is still the same."""
        return list(map(FileFacts, self.size, self.mtime_ns, self.sha256))


class Pictures(BaseModel):
    """What the rows of ``pixels.npy`` show, a list a column.

    Attributes:
        name: as :meth:`SampleTable.name_of` of the source.
        source: row of :class:`Sources`.
        label: index into the classes; None when unknown.
        patient: None when unknown.
        split: None when the source has none.
        boxes: name, left, top, right and bottom each, in pixels of the region that the row shows.
        left: where that region begins in the upright source, pixels; 0 without a central crop.
        top: likewise.
        width: of that region, pixels.
        height: likewise.
        crc32: of the row's pixels.
        findings: a value for each finding: 1, 0, 0.5 for uncertain, None for unknown; empty without findings.
    """

    model_config = ConfigDict(frozen=True)

    name: list[str]
    source: list[int]
    label: list[int | None]
    patient: list[str | None]
    split: list[Split | None]
    boxes: list[list[tuple[str, float, float, float, float]]]
    left: list[int]
    top: list[int]
    width: list[int]
    height: list[int]
    crc32: list[int]
    findings: list[list[float | None]] = []


class StoreFile(BaseModel):
    """The content of ``store.json``.

    Attributes:
        format: of the store.
        settings: what it was prepared from, and how.
        classes: names that labels are indices of.
        findings: names of findings, of which an image may show several.
        sources: the files.
        pictures: the rows.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    settings: Settings
    classes: tuple[str, ...]
    sources: Sources
    pictures: Pictures
    findings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _columns_agree(self) -> StoreFile:
        for table in (self.sources, self.pictures):
            if len({len(column) for name, column in table if name != "findings"}) != 1:
                raise ValueError("columns of different length")
        told = [len(row) for row in self.pictures.findings]
        if told != [len(self.findings)] * (len(self.pictures.name) if self.findings else 0):
            raise ValueError("findings of other pictures")
        if not set(self.pictures.source) <= set(range(len(self.sources.name))):
            raise ValueError("pictures of unknown files")
        sizes = [self.settings.size, *self.pictures.width, *self.pictures.height]
        if not all(0 < size < _ABSURD for size in sizes):
            raise ValueError("pictures without a size")
        return self


@dataclass(frozen=True, slots=True)
class _Store:
    """An open store; ``stamp`` tells whether its files are still the ones that were read."""

    stamp: tuple[int, ...]
    file: StoreFile
    pixels: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int64]


_stores: dict[str, _Store] = {}  # by path as text, which is compared ten times as fast as a Path
_lock = threading.Lock()


def is_store(path: Path) -> bool:
    """Whether a folder is a complete prepared store."""
    return (path / STORE).is_file()


def read_store(path: Path) -> SampleTable:
    """The samples of a store, with the classes, labels, patients and splits of its source.

    Where the source files still lie at their place, they are compared with what they were: by size and time, and
    by hash where those differ.

    Raises:
        DataError: a store of another version, damaged or cut short, or source files that changed since.
    """
    store = _opened(path / PIXELS)
    _require_same_sources(path, store.file)
    pixels, p = path / PIXELS, store.file.pictures
    told = p.findings or [[]] * len(p.name)
    samples = tuple(
        Sample(pixels, label, patient, split, tuple(Box(*box) for box in boxes), name, row, findings=tuple(values))
        for row, (name, label, patient, split, boxes, values) in enumerate(
            zip(p.name, p.label, p.patient, p.split, p.boxes, told, strict=True)
        )
    )
    try:
        content = hashlib.sha256(np.array(p.crc32, dtype="<u4").tobytes()).hexdigest()
    except OverflowError as error:
        raise DataError(f"{path} is damaged: a checksum in {STORE} is none", path, _again(path, store.file)) from error
    file = store.file
    return SampleTable(
        samples, file.classes, path, "prepared", content, Path(file.settings.root), findings=file.findings
    )


def open_stored(sample: Sample) -> Image:
    """A picture of a store: a view of the mapped memory, which can't be written to; takes microseconds.

    Raises:
        DataError: the store can't be opened.
    """
    store = _held(sample.path)
    pixels = store.pixels[sample.row or 0]
    width, height = store.sizes[sample.row or 0].tolist()
    size = store.file.settings.size
    return Image(width, height, lambda _: pixels, (1,), (size / width, size / height))


def stored_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """All pictures of a ``pixels.npy``, mapped read-only: uint8 [n, S, S]; mapped once until the file changes."""
    return _opened(path).pixels


def stored_sizes(path: Path) -> npt.NDArray[np.int64]:
    """Width and height of the upright, cropped sources of a ``pixels.npy``: int64 [n, 2]."""
    return _opened(path).sizes


def stored_checksums(path: Path) -> list[int]:
    """CRC-32 of every picture of a ``pixels.npy``, as it was when the store was made."""
    return _held(path).file.pictures.crc32


def store_file(folder: Path) -> StoreFile:
    """What ``store.json`` says; raises DataError as :func:`read_store`, except for changed sources."""
    return _opened(folder / PIXELS).file


def facts_of(path: Path) -> FileFacts:
    """Read and hash a file; raises OSError."""
    stat = path.stat()  # before the content, so that a change in between shows
    with path.open("rb") as handle:
        return FileFacts(stat.st_size, stat.st_mtime_ns, hashlib.file_digest(handle, "sha256").hexdigest())


def read_with_facts(path: Path) -> tuple[bytes, FileFacts]:
    """The content of a file and its facts, from one reading; raises OSError."""
    stat = path.stat()
    content = read_whole(path)
    return content, FileFacts(stat.st_size, stat.st_mtime_ns, hashlib.sha256(content).hexdigest())


def still_same(path: Path, facts: FileFacts, *, by_hash: bool = False) -> FileFacts | None:
    """The facts of a file, with its present time, if its content is the same; None if not. Raises OSError.

    Args:
        path: the file.
        facts: what it was.
        by_hash: don't trust size and time, read it.
    """
    stat = path.stat()
    if stat.st_size != facts.size:
        return None
    if stat.st_mtime_ns == facts.mtime_ns and not by_hash:
        return facts
    present = facts_of(path)
    return present if present.sha256 == facts.sha256 else None


def _held(pixels: Path) -> _Store:
    """The store of a ``pixels.npy`` as it was when it was last opened: no look at the disk for every picture."""
    return _stores.get(str(pixels)) or _opened(pixels)


def _opened(pixels: Path) -> _Store:
    """The store of a ``pixels.npy``, opened anew where its files have changed."""
    folder = pixels.parent
    with _lock:
        try:
            stats = [file.stat() for file in (folder / STORE, pixels)]
        except OSError as error:
            raise DataError(
                f"{folder} is not prepared to the end: {error.filename} could not be read ({error.strerror})",
                folder,
                _again(folder),
            ) from error
        stamp = tuple(number for stat in stats for number in (stat.st_ino, stat.st_size, stat.st_mtime_ns))
        held = _stores.get(str(pixels))
        if held is None or held.stamp != stamp:
            file = _parsed(folder)
            sizes = np.array([file.pictures.width, file.pictures.height], dtype=np.int64).T
            held = _stores[str(pixels)] = _Store(stamp, file, _mapped(folder, file), sizes)
        return held


def _parsed(folder: Path) -> StoreFile:
    path = folder / STORE
    try:
        return StoreFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}", path) from error
    except ValidationError as error:
        if any(each["loc"] == ("format",) for each in error.errors()):
            raise DataError(f"{folder} was prepared by another version of xraycls", path, _again(folder)) from error
        raise DataError(f"{path} is damaged", path, _again(folder)) from error


def _mapped(folder: Path, file: StoreFile) -> npt.NDArray[np.uint8]:
    path = folder / PIXELS
    expected = (len(file.pictures.name), file.settings.size, file.settings.size)
    try:
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED_ARRAY as error:
        raise DataError(f"{path} is cut short or damaged", path, _again(folder, file)) from error
    if pixels.dtype != np.uint8 or pixels.shape != expected or not pixels.flags.c_contiguous:
        raise DataError(
            f"{path} is {pixels.dtype} {list(pixels.shape)}, but {STORE} tells of uint8 {list(expected)}",
            path,
            _again(folder, file),
        )
    return np.asarray(pixels)  # the same memory; rows of a np.memmap take ten times as long to make


def _require_same_sources(folder: Path, file: StoreFile) -> None:
    root, columns = Path(file.settings.root), file.sources
    if name_problem(str(root)) or not root.exists():  # the store was moved to another machine
        return
    changed = []
    for name, facts in zip(columns.name, columns.facts(), strict=True):
        try:
            if still_same(root / name, facts) is None:
                changed.append(name if name != "." else root.name)
        except (OSError, ValueError):  # it is gone or can't be there, and isn't needed
            continue
    if changed:
        named = ", ".join(changed[:_NAMED]) + (", …" if len(changed) > _NAMED else "")
        raise DataError(
            f"{len(changed):,} of {len(columns.name):,} files changed since {folder} was prepared from them: {named}",
            folder,
            _again(folder, file),
        )


def _again(folder: Path, file: StoreFile | None = None) -> str:
    """The way out of every error: the command that prepares the store again."""
    command = ["SRC", shlex.quote(str(folder))]
    if file is not None:
        s = file.settings
        command = [shlex.quote(s.source), shlex.quote(str(folder)), "--size", str(s.size)]
        command += [] if s.central_crop is None else ["--central-crop", str(s.central_crop)]
        command += [] if s.images is None else ["--images", shlex.quote(s.images)]
    return f"Prepare it again with: xraycls data prepare {' '.join(command)}"
