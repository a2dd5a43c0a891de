"""Pictures and text files of the same name: where the labels of KITTI and YOLO lie."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from xraycls.data.files import atomic_write, is_special
from xraycls.data.folder import image_files
from xraycls.data.formats.format import first_few, read_bytes, tell_missing
from xraycls.data.formats.pictures import names_below_root
from xraycls.data.processors import pool_size
from xraycls.data.split import split_named
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Split

logger = logging.getLogger(__name__)

PICTURES = ("images", "image", "image_2", "JPEGImages")
LABELS = ("labels", "label", "label_2")
NAME_FILES = ("obj.names", "classes.txt", "classes.names", "labels.txt", "_darknet.labels")
"""Where the names of classes stand; some of them lie among the labels."""

_WRAPPERS = 3  # folders that hold nothing but the next one
_FILES_LOOKED_AT = 32
_WAITING = 16  # files at a time that wait for the disk
_ENOUGH = 4096  # bytes of a file that hold its first line


@dataclass(frozen=True, slots=True)
class Folders:
    """A folder of pictures, the folder of their labels and the split that both are of."""

    pictures: Path
    labels: Path
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and the text file of its labels, which may be missing."""

    picture: Path
    labels: Path
    split: Split | None


def find_folders(path: Path, images: Path | None = None) -> list[Folders]:
    """The pairs of folders below ``path``, such as images and labels or image_2 and label_2; [] where there are none.

    They lie in ``path`` itself, in its split folders (``train/images``), or in a folder inside that is the only one, or
    the only one with such a pair.

    Args:
        path: the data set; with ``images`` its labels, or the folder of those.
        images: the folder of pictures, where that isn't beside the labels.
    """
    if images is not None:
        return [Folders(images, _child(path, LABELS) or path)]
    for _ in range(_WRAPPERS):
        children = sorted(child for child in path.iterdir() if child.is_dir())
        bases = [(path, None), *((child, split) for child in children if (split := split_named(child.name)))]
        found = [
            Folders(pictures, labels, split)
            for base, split in bases
            if (pictures := _child(base, PICTURES)) and (labels := _child(base, LABELS))
        ]
        if found:
            return found
        inside = [child for child in children if _child(child, PICTURES) and _child(child, LABELS)] or children
        if len(inside) != 1:
            return []
        (path,) = inside
    return []


def _child(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def pairs_in(folders: Folders, strict: bool = False) -> Iterator[Pair]:
    """A pair for every picture, in order; labels without a picture are counted in a warning, or raise when strict.

    The labels of ``images/train/a.png`` are ``labels/train/a.txt``, and that picture is of the training split.
    """
    used = set()
    for picture in image_files(folders.pictures):
        name = picture.relative_to(folders.pictures)
        above = split_named(name.parts[0]) if len(name.parts) > 1 else None
        pair = Pair(picture, folders.labels / name.with_suffix(".txt"), folders.split or above)
        used.add(pair.labels)
        yield pair
    stray = [file for file in text_files(folders.labels) if file not in used and file.name not in NAME_FILES]
    if stray:
        named = first_few(file.relative_to(folders.labels) for file in stray)
        message = f"{len(stray):,} text files of {folders.labels} belong to no picture: {named}"
        tell_missing(message, folders.labels, strict)


def text_files(folder: Path) -> Iterator[Path]:
    """Every ``.txt`` below a folder but hidden ones, such as macOS adds; sorted within each folder."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".txt") and name[0] != ".")


def first_lines(path: Path) -> list[list[str]]:
    """The words on the first lines of some label files that aren't empty: of a data set, or of a folder of labels."""
    if not path.is_dir():
        return []
    if path.name in LABELS:
        return first_lines_below(path)
    nested = (file for folders in find_folders(path) for file in text_files(folders.labels))
    splits = (child for child in path.iterdir() if split_named(child.name))
    return _some_lines(chain(nested, *(place.glob("*.txt") for place in (path, *splits))))


def first_lines_below(labels: Path) -> list[list[str]]:
    """Likewise of a folder of labels and all folders in it."""
    return _some_lines(text_files(labels))


def _some_lines(files: Iterable[Path]) -> list[list[str]]:
    regular = (file for file in files if not is_special(file))
    return list(islice(filter(None, map(_first_words, regular)), _FILES_LOOKED_AT))


def _first_words(file: Path) -> list[str]:
    with file.open("rb") as handle:
        return handle.read(_ENOUGH).decode("utf-8-sig", "replace").strip().partition("\n")[0].split()


def label_text(path: Path) -> str:
    """The text of a label file, which may be empty.

    Raises:
        DataError: it can't be read, or isn't UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", path) from error


def write_labels(table: SampleTable, folder: Path, text_of: Callable[[int], str]) -> None:
    """Write the label file of every picture below ``folder``: of ``train/a.png``, ``train/a.txt``.

    Args:
        table: its root is the folder of the pictures.
        folder: of the labels.
        text_of: from the index of a sample to its text; empty where there is nothing.
    """
    names = enumerate(names_below_root(table))
    write_files((folder / name.with_suffix(".txt"), text_of(index).encode()) for index, name in names)


def write_files(files: Iterable[tuple[Path, bytes]]) -> None:
    """Write many small files, each atomically; raises XrayclsError where that can't be."""
    with ThreadPoolExecutor(pool_size(_WAITING)) as pool:
        deque(pool.map(_write_file, files), maxlen=0)


def _write_file(file: tuple[Path, bytes]) -> None:
    path, content = file
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
