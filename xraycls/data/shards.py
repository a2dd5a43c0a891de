"""Work on a large data set shared out: a shard does every n-th picture, and merging puts all results in their order.

Several processes, on any machines that see the same files, each call the same command with another ``--shard i/n``. A
command lists the whole source in any case; what it does with each picture, which takes the time, is a shard's own work.
Its results lie beside the target, in ``TARGET.shards/i-of-n``, until ``xraycls data merge TARGET`` takes them in place
of that work and does the rest of the command. So the outcome is the same, to the byte.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xraycls.data.documents import DAMAGED_ARRAY, read_json_object
from xraycls.data.files import atomic_write
from xraycls.data.lock import sole_writer
from xraycls.errors import DataError, UsageError

PICTURES = "pictures"
"""The folder of files that a shard has made."""

_DONE, _PIXELS = "shard.json", "pixels.npy"
_FOLDER = re.compile(r"(\d+)-of-(\d+)")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of the work.

    Attributes:
        number: which part, 1 to ``of``.
        of: parts in all.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Returns the shard that a text such as "2/4" names.

        Raises:
            UsageError: it names none.

        Example:
            >>> Shard.parse("2/4").indices(10)
            range(1, 10, 4)
        """
        matched = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if matched is None or not 1 <= int(matched[1]) <= int(matched[2]):
            raise UsageError(f"--shard {text} names no part", "Write 1/4, 2/4, 3/4 and 4/4 for four parts")
        return cls(int(matched[1]), int(matched[2]))

    def indices(self, count: int) -> range:
        """Returns the positions, from 0, of the shard's pictures among all."""
        return range(self.number - 1, count, self.of)

    def folder(self, target: Path) -> Path:
        """Returns where its results lie."""
        return shards_folder(target) / f"{self.number}-of-{self.of}"


@dataclass(slots=True)
class OpenShard:
    """A shard that is being done.

    Attributes:
        folder: for what doesn't go into JSON.
        indices: positions of its pictures among all.
        results: one a picture, as values of JSON.
    """

    folder: Path
    indices: range
    results: list[Any] = field(default_factory=list)

    def pixels(self, side: int) -> Pixels:
        """Returns a file in memory for one picture a row: uint8 [n, side, side]."""
        shape = (len(self.indices), side, side)
        pixels: Pixels = np.lib.format.open_memmap(self.folder / _PIXELS, mode="w+", dtype=np.uint8, shape=shape)
        return pixels


@dataclass(frozen=True, slots=True)
class ShardDone:
    """A shard whose results are complete.

    Attributes:
        target: what the shards are merged to.
        shard: which part.
        pictures: that it did.
        pictures_in_all: of all shards.
    """

    target: Path
    shard: Shard
    pictures: int
    pictures_in_all: int


@contextmanager
def open_shard(
    target: Path, shard: Shard, command: str, settings: Mapping[str, Any], names: Sequence[str]
) -> Iterator[OpenShard]:
    """Give a shard to do; when the block ends without an error, it is complete.

    Args:
        target: what the command writes.
        shard: which part.
        command: such as "prepare".
        settings: all that the command needs to be called again, as values of JSON; the same for all shards.
        names: of all pictures.

    Raises:
        LockedError: another process does the same shard.
    """
    folder = shard.folder(target)
    with sole_writer(folder, "give each process another --shard"):
        for name in (_DONE, _PIXELS):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / PICTURES, ignore_errors=True)
        opened = OpenShard(folder, shard.indices(len(names)))
        yield opened
        content = {
            "command": command,
            "settings": dict(settings),
            "names": _digest(names),
            "pictures": len(names),
            "results": opened.results,
        }
        with atomic_write(folder / _DONE) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")


class Shards:
    """All shards of a target, complete and of the same work.

    Args:
        target: what the shards are merged to.

    Attributes:
        command: that the shards are of.
        settings: of it.
        of: how many shards there are.

    Raises:
        DataError: there are none, some are missing, or they don't belong together.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self._shards = _complete(target)
        self.of = len(self._shards)
        self._contents = [_read(shard.folder(target)) for shard in self._shards]
        first = self._contents[0]
        for shard, content in zip(self._shards, self._contents, strict=True):
            if any(content[name] != first[name] for name in ("command", "settings", "names", "pictures")):
                raise DataError(
                    f"Shard {shard.number} of {target} is of other data or settings than shard 1",
                    shard.folder(target),
                    "Make all of them by the same command, while nothing changes in the data",
                )
        self.command: str = first["command"]
        self.settings: dict[str, Any] = first["settings"]
        self._pixels: dict[int, Pixels] = {}

    def require(self, names: Sequence[str]) -> None:
        """Raise DataError where the pictures are no longer those that the shards were made of."""
        if self._contents[0]["names"] != _digest(names):
            raise DataError(
                f"The data has changed since the shards of {self.target} were made", self.target, "Make them anew"
            )

    def result(self, index: int) -> Any:
        """Returns the result of the picture at a position among all."""
        try:
            return self._contents[index % self.of]["results"][index // self.of]
        except IndexError as error:
            raise _damaged(self._folder(index), error) from error

    def pixels(self, index: int) -> Pixels:
        """Returns the pixels of the picture at a position among all: uint8 [side, side]."""
        part = index % self.of
        try:
            if part not in self._pixels:
                self._pixels[part] = np.load(self._folder(index) / _PIXELS, mmap_mode="r", allow_pickle=False)
            picture: Pixels = self._pixels[part][index // self.of]
        except (*DAMAGED_ARRAY, IndexError) as error:
            raise _damaged(self._folder(index), error) from error
        return picture

    def pictures(self, index: int) -> Path:
        """Returns the folder of the files that the shard of a picture has made."""
        return self._folder(index) / PICTURES

    def discard(self) -> None:
        """Remove the shards, once the target is complete."""
        shutil.rmtree(shards_folder(self.target), ignore_errors=True)

    def _folder(self, index: int) -> Path:
        return self._shards[index % self.of].folder(self.target)


def shards_folder(target: Path) -> Path:
    """Returns the folder of a target's shards, beside it."""
    whole = target.resolve()
    return whole.with_name(f"{whole.name}.shards")


def _complete(target: Path) -> list[Shard]:
    """All shards of a target in their order."""
    folder = shards_folder(target)
    done = [
        Shard(int(matched[1]), int(matched[2]))
        for path in sorted(folder.glob(f"*/{_DONE}"))
        if (matched := _FOLDER.fullmatch(path.parent.name))
    ]
    if not done:
        raise DataError(f"{target} has no shards that are done", folder, "Make them first, with --shard 1/4 and so on")
    if len({shard.of for shard in done}) > 1:
        parts = " and of ".join(str(of) for of in sorted({shard.of for shard in done}))
        raise DataError(f"{folder} holds shards of {parts} parts", folder, "Remove those that aren't meant")
    of = done[0].of
    if missing := sorted(set(range(1, of + 1)) - {shard.number for shard in done}):
        listed = ", ".join(f"{number}/{of}" for number in missing)
        raise DataError(f"{target} lacks {len(missing)} of {of} shards: {listed}", folder, "Make these, too")
    return sorted(done, key=lambda shard: shard.number)


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = read_json_object(folder / _DONE)
        if not isinstance(content["results"], list) or not isinstance(content["settings"], dict):
            raise ValueError("no results")
        return {name: content[name] for name in ("command", "settings", "names", "pictures", "results")}
    except (OSError, ValueError, LookupError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> DataError:
    return DataError(f"{folder} is damaged ({error})", folder, "Make this shard again")


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
