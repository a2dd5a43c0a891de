"""Decoded pictures, kept: a file that was decoded once is not decoded again.

A picture is kept as grey uint8 at the working size of its recipe, in memory while it fits and in a folder on disk
beyond. Every view that the working size serves is drawn from it, in the first epoch too, so what a run sees doesn't
depend on what happens to be kept. Closer views come from the file.

On disk each picture is a file of its own, named by a hash of where it comes from, its size and time there, and the
working size: a source that changes leads to another name. Files appear whole, by renaming, and carry a checksum; so
several processes and runs may share a folder, and a killed one leaves nothing that is taken for a picture.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.cache import cache_folder, size_in_bytes
from xraycls.data.files import make_private, make_usual
from xraycls.data.image import GreyImage, Image
from xraycls.data.open import open_image
from xraycls.data.processors import available_memory
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.loaders.render import grids_of
from xraycls.loaders.views import Canvas, Views
from xraycls.types import Sample

logger = logging.getLogger(__name__)

_DENSITY = 10 / 7  # pixels that are kept a pixel of the canvas: 320 for 224, as in prepared data
_SLACK = 1.15  # times as many pixels as the decoder's scale gives, for which it isn't decoded at twice the size
_AVERAGED = 2.4  # decoded pixels a kept pixel, above which they are averaged: below, bilinear is within a grey level
_COARSEST = 0.6  # kept pixels an output pixel, below which a view is drawn from the file
_MEMORY = 0.4  # of what programs may still take
_DISK = 20 * 2**30  # bytes on disk by default
_ROOM = 2**30  # bytes that always stay free there
DECODED = ("prepared", "medmnist")  # sources of pictures that need no decoding
_VERSION = 3
_LOCKS = 64
_HEADER = struct.Struct("<4s5I")  # mark, width and height of the source, of the picture, and a checksum of its pixels
_MARK = b"xrc1"


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Where decoded pictures are kept.

    Attributes:
        memory: most bytes in memory.
        folder: on disk; None for memory alone.
        size: most bytes on disk.
        all_on_disk: whether pictures that fit in memory are written, too, for later runs.
    """

    memory: int
    folder: Path | None
    size: int = _DISK
    all_on_disk: bool = False


def cache_settings(value: str) -> CacheSettings | None:
    """What ``--cache`` means.

    Args:
        value: "auto" keeps pictures in memory while they fit and in the user's cache beyond; "off" keeps none; a size
            such as "50GB" is "auto" with that much disk; anything else is a folder, which later runs share.

    Raises:
        UsageError: a size of 0, or a folder that is a file.
    """
    if value == "off":
        return None
    memory = int(_MEMORY * available_memory() / int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    own = cache_folder() / "pictures"
    if value == "auto":
        return CacheSettings(memory, own)
    if (size := size_in_bytes(value)) is not None:
        if size == 0:
            raise UsageError(f"--cache {value} leaves no room", "Write --cache off to keep no pictures")
        return CacheSettings(memory, own, size)
    folder = Path(value).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--cache {value} is a file", "Name a folder, a size such as 50GB, auto or off")
    return CacheSettings(memory, folder, all_on_disk=True)


def picture_cache(value: str, table: SampleTable, canvas: Canvas) -> PictureCache | None:
    """A cache of the pictures that a run goes through again and again.

    None for ``--cache off``, and for pictures that are decoded already: those of a prepared store or an archive.

    Args:
        value: of ``--cache``; see :func:`cache_settings`.
        table: of all samples; :meth:`PictureCache.of` serves parts of it.
        canvas: that their pictures are drawn on.

    Raises:
        UsageError: as :func:`cache_settings`.
    """
    settings = cache_settings(value)
    return None if settings is None or table.source in DECODED else PictureCache(table, canvas, settings)


def is_decoded(table: SampleTable, cache: PictureCache | None) -> bool:
    """Whether every picture of a table is there to be drawn, without any decoding."""
    return table.source in DECODED or (cache is not None and cache.is_complete)


_Key = tuple[Path, str | None, int | None]


class _Memory:
    """Pictures in memory, by the file and what is meant within it, up to so many bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.pictures: dict[_Key, Image] = {}
        self.bytes = 0
        self.decoded = 0
        self.counting = threading.Lock()
        self.opening = [threading.Lock() for _ in range(_LOCKS)]

    def keep(self, key: _Key, image: Image, size: int) -> bool:
        """Keep a picture of so many bytes; False where it doesn't fit."""
        with self.counting:
            fits = self.bytes + size <= self.most
            if fits and key not in self.pictures:
                self.bytes += size
                self.pictures[key] = image
            return fits


class PictureCache:
    """The decoded pictures of a table.

    Args:
        table: the samples.
        canvas: that recipes draw them on.
        settings: where they are kept.
    """

    def __init__(self, table: SampleTable, canvas: Canvas, settings: CacheSettings) -> None:
        self.table = table
        self.width, self.height = (round(side * _DENSITY) for side in (canvas.width, canvas.height))
        self.settings = settings
        self.disk = None if settings.folder is None else _Disk(settings.folder, settings.size)
        self._memory = _Memory(settings.memory)
        self._complete = False

    @property
    def decoded(self) -> int:
        """Pictures that were decoded so far, for all tables."""
        return self._memory.decoded

    def of(self, table: SampleTable) -> PictureCache:
        """Returns a cache of another table on the same canvas: a picture of both is decoded once and kept once."""
        other = copy.copy(self)
        other.table, other._complete = table, False
        return other

    def open(self, index: int) -> Image:
        """A sample's picture at the working size; of its own size where that is smaller. Any thread may call it.

        Raises:
            DataError: the file can't be read.
        """
        sample = self.table[index]
        key, memory = _key(sample), self._memory
        if (kept := memory.pictures.get(key)) is not None:
            return kept
        with memory.opening[hash(key) % _LOCKS]:  # a sample may be in a batch twice, to fill it up
            return memory.pictures.get(key) or self._opened(sample, key)

    @property
    def is_complete(self) -> bool:
        """Whether every picture of the table is in memory, where pictures stay."""
        if not self._complete and len(self._memory.pictures) >= len(self.table):
            self._complete = all(_key(sample) in self._memory.pictures for sample in self.table)
        return self._complete

    def _opened(self, sample: Sample, key: _Key) -> Image:
        """A picture that isn't in memory: from disk, or from its file."""
        name = None if self.disk is None else _name(sample, self.width, self.height)
        found = self.disk.read(name) if self.disk and name else None
        image = found or self._working(sample)
        self._keep(key, image, name if found is None else None)
        return image

    def close_enough(
        self, indices: Sequence[int], images: Sequence[Image | DataError], views: Views
    ) -> list[Image | DataError]:
        """Pictures of the cache, with the files of those that don't hold enough pixels for their view."""
        chosen: list[Image | DataError] = list(images)
        for number in np.flatnonzero(~self.serves(images, views)).tolist():
            try:
                chosen[number] = open_image(self.table[indices[number]])
            except DataError as error:
                chosen[number] = error
        return chosen

    @staticmethod
    def serves(images: Sequence[Image | DataError], views: Views) -> npt.NDArray[np.bool_]:
        """Whether pictures of the cache hold enough pixels for their views, bool [n]; errors serve as they are."""
        grids = grids_of(images)
        return np.asarray((grids == 1.0).all(axis=1) | (views.on_grid(*grids.T).scales >= _COARSEST))

    def _working(self, sample: Sample) -> Image:
        """A picture decoded at the smallest scale that about holds the working size, and brought down to it."""
        image = open_image(sample)
        room = _SLACK * min(image.width / self.width, image.height / self.height)
        pixels = image.decode(max((scale for scale in image.scales if scale <= room), default=1))
        size = min(pixels.shape[1], self.width), min(pixels.shape[0], self.height)
        if pixels.shape != size[::-1]:
            averaged = max(pixels.shape[1] / size[0], pixels.shape[0] / size[1]) > _AVERAGED
            way = cv2.INTER_AREA if averaged else cv2.INTER_LINEAR
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)
        with self._memory.counting:
            self._memory.decoded += 1
        return _image(image.width, image.height, pixels)

    def _keep(self, key: _Key, image: Image, name: str | None) -> None:
        pixels = image.decode(1)
        fits = self._memory.keep(key, image, pixels.nbytes)
        if self.disk and name and (self.settings.all_on_disk or not fits):
            self.disk.write(name, image, pixels)


def _key(sample: Sample) -> _Key:
    return sample.path, sample.member, sample.row


class _Disk:
    """Pictures in a folder, the oldest of which go when it is full."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self._taken: int | None = None  # bytes; counted before the first picture is written
        self._began = 0.0  # time of the newest picture of earlier runs
        self._is_full = False
        self._writing = threading.Lock()

    def read(self, name: str) -> Image | None:
        """A kept picture; None where there is none, or a damaged one, which is removed."""
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            mark, width, height, across, down, checksum = _HEADER.unpack_from(content)
            pixels = np.frombuffer(content, np.uint8, offset=_HEADER.size)
            if mark == _MARK and pixels.size == across * down and zlib.crc32(content[_HEADER.size :]) == checksum:
                return _image(width, height, pixels.reshape(down, across))
        except struct.error:
            pass
        logger.warning("%s is damaged and is made again.", path)
        path.unlink(missing_ok=True)
        return None

    def write(self, name: str, image: Image, pixels: GreyImage) -> None:
        """Keep a picture, if there is room; says once if there isn't."""
        path, (down, across) = self._path(name), pixels.shape
        content = pixels.tobytes()
        header = _HEADER.pack(_MARK, image.width, image.height, across, down, zlib.crc32(content))
        with self._writing:
            if self._is_full:
                return
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists() and self._has_room(len(header) + len(content)):
                    _write(path, header + content)
            except OSError as error:
                self._stop(f"{self.folder} can't be written to ({error.strerror})")

    def _has_room(self, needed: int) -> bool:
        if self._taken is None:
            stats = [stat for _, stat in self._files()]
            self._taken = sum(stat.st_size for stat in stats)
            self._began = max((stat.st_mtime for stat in stats), default=0.0)
        self._taken += needed
        if self._taken > self.size:
            self._remove_oldest()
        if self._taken > self.size:
            self._stop(f"{self.folder} holds {self.size / 2**30:.1f} GiB, as many as --cache allows")
        elif shutil.disk_usage(self.folder).free < needed + _ROOM:
            self._stop(f"The disk of {self.folder} is almost full")
        return not self._is_full

    def _remove_oldest(self) -> None:
        """Make a tenth of the room free, but keep what this run wrote."""
        old = sorted((f for f in self._files() if f[1].st_mtime <= self._began), key=lambda f: f[1].st_mtime)
        for path, stat in old:
            if self._taken is None or self._taken <= 0.9 * self.size:
                break
            path.unlink(missing_ok=True)
            self._taken -= stat.st_size

    def _stop(self, why: str) -> None:
        self._is_full = True
        logger.warning("%s; further pictures are decoded in every epoch.", why)

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self.folder.glob("??/*"):
            try:
                found.append((path, path.stat()))
            except OSError:  # removed by another run
                continue
        return found

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name[2:]


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Nothing is flushed to disk: a checksum tells what a power cut damaged."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        make_private(temporary)
        temporary.write_bytes(content)
        make_usual(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _image(width: int, height: int, pixels: GreyImage) -> Image:
    pixels.flags.writeable = False
    down, across = pixels.shape
    return Image(width, height, lambda _: pixels, (1,), (across / width, down / height))


def picture_facts(sample: Sample) -> tuple[object, ...] | None:
    """What tells a sample's picture from others, as long as nobody writes to its file; None where there is no file."""
    try:
        stat = sample.path.stat()
    except OSError:
        return None
    return (_VERSION, str(sample.path.absolute()), stat.st_size, stat.st_mtime_ns, sample.member, sample.row)


def _name(sample: Sample, width: int, height: int) -> str | None:
    """What a sample's picture of a working size is called; None where its file isn't there."""
    facts = picture_facts(sample)
    if facts is None:
        return None
    return hashlib.blake2b(repr((*facts, width, height)).encode(), digest_size=20).hexdigest()
