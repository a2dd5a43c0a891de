"""Prepare data: decode every file once, so that no epoch has to."""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from xraycls.data.describe import described_store
from xraycls.data.files import atomic_write, remove_leftovers, require_regular
from xraycls.data.headers import of_each
from xraycls.data.image import GreyImage, Image
from xraycls.data.lock import sole_writer
from xraycls.data.open import open_file, open_image
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.partial_store import JOURNAL, PARTIAL, PartialStore, Row
from xraycls.data.plain import to_plain
from xraycls.data.processors import available_processors, limited_to, one_thread_a_picture
from xraycls.data.remote import local_copy
from xraycls.data.shards import OpenShard, Shard, ShardDone, Shards, open_shard
from xraycls.data.source import read_source
from xraycls.data.square import central_region, prepared_picture
from xraycls.data.store import (
    STORE,
    FileFacts,
    Settings,
    StoreFile,
    facts_of,
    is_store,
    read_with_facts,
    still_same,
    store_file,
    stored_pixels,
)
from xraycls.data.table import SampleTable
from xraycls.data.verify import Progress, drop_unreadable, find_unreadable
from xraycls.errors import DataError, UsageError, XrayclsError
from xraycls.types import PIXELS, Sample

__all__ = ["COMMAND", "Prepared", "prepare", "prepared_picture", "shard_prepare"]

COMMAND = "prepare"

logger = logging.getLogger(__name__)

_OURS = {STORE, PIXELS, PARTIAL, JOURNAL}
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Prepared:
    """A store that is complete.

    Attributes:
        folder: where it lies.
        pictures: how many it holds.
        size: side of each, pixels.
        decoded: pictures that this run decoded; the others were there.
        is_new: whether anything was written; False where all was there already.
        left_out: name of a source → why it could not be read.
        bytes: on disk.
    """

    folder: Path
    pictures: int
    size: int
    decoded: int
    is_new: bool
    left_out: dict[str, str]
    bytes: int


def prepare(
    source: Path,
    folder: Path,
    *,
    size: int = 320,
    central_crop: float | None = None,
    images: Path | None = None,
    threads: int | None = None,
    strict: bool = False,
    verify: bool = False,
    merged: Shards | None = None,
    progress: Progress | None = None,
    options: ReadOptions = AS_IT_IS,
) -> Prepared:
    """Write the pictures of a data source into a prepared store, or bring a store of it up to date.

    A run that was stopped goes on where it stopped, and pictures of unchanged files are not decoded again. In the
    end, what lies on disk is read back and compared with its checksums.

    Args:
        source: an image folder, a CSV or a MedMNIST ``.npz``.
        folder: the store; absent, empty, or prepared from the same source with the same settings.
        size: side of the square pictures, pixels.
        central_crop: keep this fraction of width and height, from the middle, 0–1.
        images: the folder that a CSV's paths start from.
        threads: that decode; None takes one for every processor.
        strict: raise for a file that can't be read instead of leaving it out.
        verify: tell unchanged source files by their content, instead of trusting sizes and times.
        merged: shards that have decoded the pictures already; None decodes them.
        progress: told of (files done, files).
        options: what the user knows better than the source.

    Raises:
        UsageError: a setting out of range, or ``images`` without a CSV.
        DataError: the source can't be read, or the folder holds something else.
        LockedError: another process prepares data there.
        XrayclsError: the folder can't be written.

    Example:
        >>> import xraycls
        >>> from pathlib import Path
        >>> store = xraycls.prepare(Path("phantom"), Path("phantom-64"), size=64)
        >>> store.pictures, store.decoded, store.left_out
        (24, 24, {})
    """
    source = local_copy(source, alone=images is not None, progress=progress)
    _require_sensible(source, folder, size, central_crop)
    with sole_writer(folder, "name another folder"), limited_to(threads):
        remove_leftovers(folder)
        table = read_source(source, images=images, strict=strict, progress=progress, options=options)
        _require_utf8(table)
        if count := sum(bool(box.outline) for sample in table for box in sample.boxes):
            logger.warning("Of %d objects with an outline, a store keeps the box alone.", count)
        if strict:
            drop_unreadable(table, strict=True, progress=progress)
        unreadable = {} if strict else find_unreadable(table, progress)
        work = _Work(table, folder, _settings(table, source, images, size, central_crop), unreadable, verify, merged)
        try:
            with one_thread_a_picture():
                return work.run(threads or available_processors(), strict, progress)
        except OSError as error:
            raise XrayclsError(
                f"{folder} could not be written: {error.strerror or error}",
                "When that is mended, the same command goes on where it stopped",
            ) from error


def shard_prepare(
    source: Path,
    folder: Path,
    shard: Shard,
    *,
    size: int = 320,
    central_crop: float | None = None,
    images: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    options: ReadOptions = AS_IT_IS,
) -> ShardDone:
    """Decode the pictures of one shard, for ``xraycls data merge``; arguments as of :func:`prepare`."""
    _require_sensible(source, folder, size, central_crop)
    with limited_to(threads), one_thread_a_picture():
        table = read_source(source, images=images, progress=progress, options=options)
        _require_utf8(table)
        work = _Work(table, folder, _settings(table, source, images, size, central_crop), {}, False)
        given = {
            "source": str(source.resolve()),
            "images": None if images is None else str(images.resolve()),
            "size": size,
            "central_crop": central_crop,
            "options": to_plain(options),
        }
        with open_shard(folder, shard, COMMAND, given, work.names) as part:
            work.decode_shard(part, threads or available_processors(), progress)
    return ShardDone(folder, shard, len(part.indices), len(table))


class _Work:
    """What a run of :func:`prepare` has to do; samples go by their index in the table."""

    def __init__(
        self,
        table: SampleTable,
        folder: Path,
        settings: Settings,
        unreadable: dict[Path, str],
        verify: bool,
        merged: Shards | None = None,
    ) -> None:
        self.table = table
        self.names = [table.name_of(sample) for sample in table]
        self.folder = folder
        self.settings = settings
        self.left_out = {i: unreadable[s.path] for i, s in enumerate(table) if s.path in unreadable}
        self.verify = verify
        self.merged = merged
        if merged:
            merged.require(self.names)
        # An archive holds many pictures: it is read and hashed once.
        self.facts_of = lru_cache(maxsize=8)(facts_of)
        self.still_same = lru_cache(maxsize=8)(still_same)

    def run(self, threads: int, strict: bool, progress: Progress | None) -> Prepared:
        earlier = self._earlier()
        at_hand = self._at_hand(earlier) if earlier else {}
        with PartialStore(self.folder, self._plan(), len(self.table), self.settings.size, self._is_same) as partial:
            missing = [
                i for i in range(len(self.table)) if not (i in self.left_out or i in at_hand or i in partial.rows)
            ]
            resumed = len(partial.rows)
            self._decode(missing, partial, threads, strict, progress)
            decoded = len(partial.rows) - resumed
            kept = [i for i in range(len(self.table)) if i not in self.left_out]
            if not kept:
                raise DataError(f"No image of {self.table.root} could be read", self.table.root)
            rows = at_hand | partial.rows
            if not (earlier and not partial.rows and [self.names[i] for i in kept] == earlier.pictures.name):
                if earlier:
                    self._copy(earlier, [i for i in kept if i not in partial.rows], rows, partial)
                partial.finish(kept)
            described = described_store(self.settings, self.table, [(i, rows[i]) for i in kept])
            is_new = described != earlier or not is_store(self.folder)
            if is_new:
                with atomic_write(self.folder / STORE) as temporary:
                    temporary.write_text(described.model_dump_json(), encoding="utf-8")
            partial.discard()
        on_disk = sum((self.folder / name).stat().st_size for name in (PIXELS, STORE))
        left_out = {self.names[i]: reason for i, reason in sorted(self.left_out.items())}
        _log_left_out(left_out, self.table)
        return Prepared(self.folder, len(kept), self.settings.size, decoded, is_new, left_out, on_disk)

    def _plan(self) -> dict[str, Any]:
        """What a partial store must agree in to be gone on with."""
        names = hashlib.sha256("\n".join(self.names).encode()).hexdigest()
        return {"format": 1, **self.settings.model_dump(), "names": names}

    def _earlier(self) -> StoreFile | None:
        """What the store that is there says; None where there is none, or a damaged one."""
        if not is_store(self.folder):
            return None
        try:
            earlier = store_file(self.folder)
        except DataError as error:
            logger.warning("%s; all of it is prepared again.", error.message)
            return None
        if earlier.settings != self.settings:
            before = earlier.settings
            crop = f" and --central-crop {before.central_crop}" if before.central_crop else ""
            raise DataError(
                f"{self.folder} holds other prepared data: {before.source} with --size {before.size}{crop}",
                self.folder,
                "Choose another folder, or remove this one first",
            )
        return earlier

    def _at_hand(self, earlier: StoreFile) -> dict[int, Row]:
        """The samples whose pictures the earlier store has, undamaged and from files that are still the same."""
        p, facts, pixels = earlier.pictures, earlier.sources.facts(), stored_pixels(self.folder / PIXELS)
        row_of = {name: row for row, name in enumerate(p.name)}
        found = {}
        for index, name in enumerate(self.names):
            row = row_of.get(name)
            if row is None or index in self.left_out:
                continue
            file = self._same(self.table[index], facts[p.source[row]])
            if file and zlib.crc32(pixels[row].tobytes()) == p.crc32[row]:
                found[index] = Row(p.left[row], p.top[row], p.width[row], p.height[row], p.crc32[row], file)
        return found

    def _same(self, sample: Sample, facts: FileFacts) -> FileFacts | None:
        try:
            return self.still_same(sample.path, facts, by_hash=self.verify)
        except OSError:
            return None

    def _is_same(self, index: int, row: Row) -> bool:
        return self._same(self.table[index], row.file) is not None

    def _decode(
        self, missing: Sequence[int], partial: PartialStore, threads: int, strict: bool, progress: Progress | None
    ) -> None:
        """Put the missing pictures into the partial store, and note those that can't be read."""
        total = len(self.table)
        with ThreadPoolExecutor(threads, thread_name_prefix="xraycls-prepare") as pool:
            upcoming = ((index, pool.submit(self._picture, index)) for index in missing)
            # A few ahead, so that threads never wait and memory holds few pictures.
            waiting: deque[tuple[int, Future[tuple[Row, GreyImage]]]] = deque(islice(upcoming, 4 * threads))
            for done in range(total - len(missing) + 1, total + 1):
                index, future = waiting.popleft()
                waiting.extend(islice(upcoming, 1))
                try:
                    partial.put(index, *future.result())
                except DataError as error:
                    if strict:
                        raise
                    self.left_out[index] = error.message.removeprefix(f"{self.table[index].path} ")
                if progress:
                    progress(done, total)

    def decode_shard(self, part: OpenShard, threads: int, progress: Progress | None) -> None:
        """Decode the pictures of a shard into its files."""
        pixels = part.pixels(self.settings.size)
        samples = [self.table[index] for index in part.indices]
        for row, made in enumerate(of_each(self._decoded, samples, progress, threads)):
            if isinstance(made, DataError):
                part.results.append(made.message)
            else:
                part.results.append(astuple(made[0]))
                pixels[row] = made[1]

    def _picture(self, index: int) -> tuple[Row, GreyImage]:
        """A picture and how it was made: decoded now, or by a shard."""
        if self.merged is None:
            return self._decoded(self.table[index])
        result = self.merged.result(index)
        if isinstance(result, str):
            raise DataError(result, self.table[index].path)
        left, top, width, height, crc32, file = result
        return Row(left, top, width, height, crc32, FileFacts(*file)), self.merged.pixels(index)

    def _decoded(self, sample: Sample) -> tuple[Row, GreyImage]:
        image, facts = self._opened(sample)
        picture = prepared_picture(image, self.settings.size, self.settings.central_crop)
        region = central_region(image.width, image.height, self.settings.central_crop)
        return Row(*region, zlib.crc32(picture.data), facts), picture

    def _opened(self, sample: Sample) -> tuple[Image, FileFacts]:
        """A picture with what tells whether its file is still the same."""
        try:
            if sample.member is None:
                require_regular(sample.path)
                content, facts = read_with_facts(sample.path)
                return open_file(sample, content), facts
            return open_image(sample), self.facts_of(sample.path)
        except OSError as error:
            raise DataError(f"{sample.path} could not be read: {error.strerror}", sample.path) from error

    def _copy(self, earlier: StoreFile, indices: Sequence[int], rows: dict[int, Row], partial: PartialStore) -> None:
        """Put pictures of the earlier store into the partial."""
        pixels = stored_pixels(self.folder / PIXELS)
        row_of = {name: row for row, name in enumerate(earlier.pictures.name)}
        for index in indices:
            partial.put(index, rows[index], pixels[row_of[self.names[index]]])


def _settings(table: SampleTable, source: Path, images: Path | None, size: int, central_crop: float | None) -> Settings:
    return Settings(
        source=str(source.resolve()),
        images=None if images is None else str(images.resolve()),
        root=str(table.root.resolve()),
        size=size,
        central_crop=None if central_crop == 1 else central_crop,
    )


def _require_sensible(source: Path, folder: Path, size: int, central_crop: float | None) -> None:
    """Raise for settings out of range, a source that can't be prepared, and a folder that isn't ours."""
    if size < 8:
        raise UsageError(f"--size {size} is too small", "Radiographs need at least 8 pixels a side, usually 320")
    if central_crop is not None and not 0 < central_crop <= 1:
        raise UsageError(f"--central-crop {central_crop} is no fraction", "Give one above 0 and up to 1, such as 0.9")
    if not source.exists():
        raise DataError(
            f"There is no file or folder {source}", source, "Give a folder of images, a CSV or a MedMNIST archive"
        )
    if is_store(source):
        raise DataError(f"{source} is prepared data itself", source, "Prepare from the original files")
    _require_ours(folder, source)


def _require_ours(folder: Path, source: Path) -> None:
    """Raise DataError when the folder holds what we didn't write, or would become a part of its own source."""
    hint = "Name a new folder for the prepared data"
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file", folder, hint)
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    strangers = [name for name in found if name not in _OURS and not name.startswith(".")]
    if strangers:
        raise DataError(f"{folder} holds something else, such as {strangers[0]}", folder, hint)
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{folder} lies inside {source}", folder, f"{hint} outside it")


def _require_utf8(table: SampleTable) -> None:
    for sample in table:
        name = table.name_of(sample)
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"{name!r} in {table.root} has a name that is not UTF-8", sample.path, "Rename the file")


def _log_left_out(left_out: dict[str, str], table: SampleTable) -> None:
    if left_out:
        named = ", ".join(f"{name} ({reason})" for name, reason in list(left_out.items())[:_NAMED])
        logger.warning(
            "%s of %s images could not be read and are left out: %s%s",
            f"{len(left_out):,}",
            f"{len(table):,}",
            named,
            ", …" if len(left_out) > _NAMED else "",
        )
