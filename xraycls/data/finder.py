"""The file that a table means by a path: written on another machine, with another suffix or in another case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from xraycls.data.folder import image_files
from xraycls.data.scan import IMAGE_SUFFIXES
from xraycls.data.split import split_named
from xraycls.errors import DataError
from xraycls.types import Split


class Finder:
    """Finds files by the paths of a table.

    Args:
        path: the table, for messages.
        folders: where paths start; the first is searched through for what isn't at its place.

    Attributes:
        respelt: paths as written → files of another suffix or case that were taken for them.
    """

    def __init__(self, path: Path, folders: Sequence[Path]) -> None:
        self.path = path
        self.folders = folders
        self.respelt: dict[str, Path] = {}

    def find(self, written: str, line: int, split: Split | None = None) -> Path | None:
        """The file that a row means; None where there is none.

        At its place below one of the folders; else of the files below the first one that have its name, the one that
        shares most of the path's end, or that lies in a folder of the row's split. Names of the same letters count
        where none is the very same, then those that differ in the suffix of a picture or have none.

        Raises:
            DataError: two files fit equally well.
        """
        name = PurePosixPath(written.replace("\\", "/"))
        for folder in self.folders:
            place = folder / name
            if _is_file(place):
                return place
        files = self._candidates(name)
        if len(files) > 1:
            shared = [_shared_end(file, name) for file in files]
            files = [file for file, count in zip(files, shared, strict=True) if count == max(shared)]
        if len(files) > 1 and split:
            files = [f for f in files if split in _splits_above(f, self.folders[0])] or files
        if len(files) > 1:
            raise DataError(
                f"Line {line} of {self.path} names {written}, which is both {files[0]} and {files[1]}",
                self.path,
                f"Write the path from {self.folders[0]}",
            )
        if files and files[0].name != name.name:
            self.respelt[written] = files[0]
        return files[0] if files else None

    def _candidates(self, name: PurePosixPath) -> list[Path]:
        alike = self._index.get(_stem(name.name), [])
        for fits in (
            lambda file: file.name == name.name,
            lambda file: file.name.casefold() == name.name.casefold(),
            lambda file: True,
        ):
            if found := [file for file in alike if fits(file)]:
                return found
        return []

    @cached_property
    def _index(self) -> dict[str, list[Path]]:
        index = defaultdict(list)
        for file in image_files(self.folders[0]):
            index[_stem(file.name)].append(file)
            if file.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            if _stem(file.name) != _stem(file.stem):  # scan.1.png may be written as scan.1, whose suffix is none
                index[file.stem.casefold()].append(file)
        return index


def _stem(name: str) -> str:
    """A name without the suffix of a picture, in small letters."""
    stem, dot, suffix = name.rpartition(".")
    return (stem if f"{dot}{suffix}".lower() in IMAGE_SUFFIXES else name).casefold()


def _shared_end(file: Path, name: PurePosixPath) -> int:
    """How many folders above the file are called as those in the path."""
    pairs = zip(reversed(file.parent.parts), reversed(name.parent.parts), strict=False)
    count = 0
    for one, other in pairs:
        if one.casefold() != other.casefold():
            break
        count += 1
    return count


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a cell that can't be a file name, such as one of 300 characters
        return False


def _splits_above(file: Path, folder: Path) -> set[Split | None]:
    return {split_named(part) for part in file.parent.relative_to(folder).parts}
