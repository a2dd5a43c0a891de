"""What every format of annotated pictures offers: a test, a reader and a writer."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from xraycls.data.files import require_regular
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample, Split

logger = logging.getLogger(__name__)

CLASSES = ("NEGATIVE", "POSITIVE")
"""The classes of pictures in a format that knows boxes alone: one with at least one box is positive."""

_NAMED = 5


class Reader(Protocol):
    """Reads a file or folder of one format."""

    def __call__(self, path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
        """The table of ``path``; ``images`` is the folder of the pictures where they don't lie beside it.

        Pictures that are missing are left out with a warning, unless ``strict`` is set.

        Raises:
            DataError: the annotations can't be read, no picture is there, or, when strict, one is missing.
        """
        ...


class Writer(Protocol):
    """Writes the annotations of one format; the pictures are there already."""

    def __call__(self, table: SampleTable, folder: Path) -> object:
        """Write below ``folder`` what the format keeps of ``table``.

        The name of a picture is its path below ``table.root``, the folder of pictures, such as ``train/a.png``. In a
        converted data set that is ``folder / Format.pictures``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Attributes:
        name: as on the command line, such as "kitti".
        title: as in sentences, such as "KITTI".
        detect: whether a file or folder is of this format; quick, and raises nothing but OSError.
        read: the reader.
        write: the writer; None for a format that is only read here.
        pictures: the folder of the pictures below a data set that is written.
        folders: below ``pictures`` a picture goes to ``train/its/own/folders`` ("kept"), ``train`` ("split") or neither
            ("none": the format tells pictures by their bare name). Where two would meet, one gets a number.
        dicom: whether readers of the format expect DICOM; otherwise such pictures are written as PNG.
        classes: whether it keeps the class of a picture without boxes.
        suffix: that every picture is written with, decoded to 8 bits; None for the files as they are where they can be.
    """

    name: str
    title: str
    detect: Callable[[Path], bool]
    read: Reader
    write: Writer | None
    pictures: str = "images"
    folders: Literal["kept", "split", "none"] = "kept"
    dicom: bool = False
    classes: bool = False
    suffix: Literal[".png", ".jpg"] | None = None


def boxed_sample(path: Path, boxes: Iterable[Box], split: Split | None = None) -> Sample:
    """A picture of which boxes are all that is known: its label is an index into ``CLASSES``."""
    boxes = tuple(boxes)
    return Sample(path, label=int(bool(boxes)), split=split, boxes=boxes)


def boxed_table(samples: Sequence[Sample], root: Path, source: str, path: Path) -> SampleTable:
    """The table of such pictures, sorted by path.

    Args:
        samples: of the same data set.
        root: the folder of the pictures.
        source: the name of the format.
        path: what was read, for the message.

    Raises:
        DataError: there are none.
    """
    if not samples:
        raise DataError(
            f"None of the pictures of {path} is there", path, "Give the folder that holds them with --images"
        )
    return SampleTable(tuple(sorted(samples, key=lambda sample: sample.path)), CLASSES, root, source)


def without_reversed(table: SampleTable) -> SampleTable:
    """The table less the boxes that can't be right, which are counted."""
    kept = [tuple(box for box in sample.boxes if not box.is_reversed) for sample in table]
    wrong = [sample for sample, boxes in zip(table, kept, strict=True) if len(boxes) < len(sample.boxes)]
    if not wrong:
        return table
    count = sum(len(sample.boxes) for sample in table) - sum(map(len, kept))
    logger.warning(
        "%d boxes whose right or lower edge comes first are left out, of %s",
        count,
        first_few(sample.path.name for sample in wrong),
    )
    return table.with_samples(replace(sample, boxes=boxes) for sample, boxes in zip(table, kept, strict=True))


def tell_missing(message: str, path: Path, strict: bool) -> None:
    """Warn of pictures that are missing, or raise DataError when strict; ``path`` is the annotations' place."""
    if strict:
        raise DataError(message, path, "Without --strict they are left out")
    logger.warning("%s; they are left out.", message)


def first_few(names: Iterable[object]) -> str:
    """The first five, for a message: ``a, b, c, d, e, …``."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")


def finite(word: str) -> float | None:
    """The number that a word of a label file is; None for a word, infinity or nan."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_bytes(path: Path) -> bytes:
    """What a file holds; raises DataError where it can't be read."""
    require_regular(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}", path) from error
