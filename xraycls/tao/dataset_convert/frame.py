"""What a converter knows of an image before it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from xraycls.data.formats.kitti import KittiObject

LARGEST = 1e9
"""Numbers of annotations beyond this are mistakes, and too large for the types of a record."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many images of how many are done."""

Log: TypeAlias = Callable[[str, Mapping[str, Any]], None]
"""Called with what the converter does: a text as TAO's converter prints it, and figures for the status file."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image and its objects.

    Attributes:
        id: its folder and name without extension, as records name it.
        path: the image file.
        width: pixels.
        height: pixels.
        objects: in the order of the annotations.
        keys: what the list of refused objects calls each.
    """

    id: str
    path: Path
    width: int
    height: int
    objects: Sequence[KittiObject]
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything that is to be written.

    Attributes:
        folds: the images of each, in the order of writing.
        count: the number of folds in file names; 0 leaves it out.
        shards: files of each fold; 0 means one, without a number in its name.
    """

    folds: Sequence[Sequence[Frame]]
    count: int
    shards: Sequence[int]
