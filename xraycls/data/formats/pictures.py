"""The pictures of a data set, as its annotations speak of them: their names and sizes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from PIL import Image as PillowImage

from xraycls.data.open import open_image
from xraycls.data.processors import available_processors
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample

Size = tuple[int, int]
"""Width and height of the upright picture, pixels."""

_PNG_MAGIC, _PNG_DEPTH = b"\x89PNG", 24  # offset of the bits a sample
_EXIF_ORIENTATION = 274
_UPRIGHT = (None, 1)
_SIDEWAYS = range(5, 9)


def names_below_root(table: SampleTable) -> Iterator[PurePosixPath]:
    """The name of every picture: its path below the table's root.

    Raises:
        DataError: a picture that isn't a file below it.
    """
    for sample in table:
        outside = not sample.path.is_relative_to(table.root) or ".." in sample.path.relative_to(table.root).parts
        if sample.member is not None or outside:
            raise DataError(f"{sample.name} is no file below {table.root}", sample.path, "Write the pictures as well")
        yield PurePosixPath(sample.path.relative_to(table.root).as_posix())


def size_of(sample: Sample) -> Size:
    """The size of a picture, of JPEG and PNG from their head alone; raises DataError for one that can't be read."""
    if sample.member is None and (size := _size_in_head(sample.path)):
        return size
    image = open_image(sample)
    return image.width, image.height


def sizes_of(samples: Iterable[Sample]) -> list[Size | DataError]:
    """The size of every picture, or why it can't be told."""
    with ThreadPoolExecutor(available_processors()) as pool:
        return list(pool.map(_size_or_error, samples))


def required_sizes(samples: Iterable[Sample]) -> list[Size]:
    """The size of every picture; raises DataError for the first one that can't be read."""
    with ThreadPoolExecutor(available_processors()) as pool:
        return list(pool.map(size_of, samples))


def _size_or_error(sample: Sample) -> Size | DataError:
    try:
        return size_of(sample)
    except DataError as error:
        return error


def _size_in_head(path: Path) -> Size | None:
    """The size of a JPEG or PNG; None for other files, and for damaged ones."""
    try:
        with PillowImage.open(path, formats=("JPEG", "PNG")) as image:
            width, height = image.size
            return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)
    except Exception:  # Pillow's parsers raise errors of many kinds on damaged headers
        return None


def is_upright(path: Path) -> bool:
    """Whether every program shows the picture the same way up: no EXIF turns or mirrors it."""
    try:
        with PillowImage.open(path, formats=("JPEG", "PNG")) as image:
            return _orientation(image) in _UPRIGHT
    except Exception:  # as above; what isn't JPEG or PNG is never turned
        return True


def is_deep(path: Path) -> bool:
    """Whether a PNG has 16 bits a sample: many programs keep the upper 8, and films of 12 bits turn black."""
    try:
        with path.open("rb") as handle:
            head = handle.read(_PNG_DEPTH + 1)
    except OSError:
        return False
    return head.startswith(_PNG_MAGIC) and head[_PNG_DEPTH:] == b"\x10"


def _orientation(image: PillowImage.Image) -> int | None:
    # Of a PNG without EXIF in its head, Pillow would decode all pixels to look behind them.
    known = image.format == "JPEG" or "exif" in image.info
    orientation = image.getexif().get(_EXIF_ORIENTATION) if known else None
    return orientation if isinstance(orientation, int) else None


def is_there(path: Path) -> bool:
    """Whether a file or folder exists; False for what can't be a name, such as one of 300 characters."""
    try:
        return path.exists()
    except OSError:
        return False


def common_folder(folders: Iterable[Path]) -> Path:
    """The folder that holds all of these, or is the only one."""
    listed = list(folders)
    if len({folder.is_absolute() for folder in listed}) > 1:
        listed = [folder.absolute() for folder in listed]
    return Path(os.path.commonpath(listed))
