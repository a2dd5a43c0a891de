"""From whatever a caller has of pictures to samples: paths, folders, bytes, arrays and DICOM datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from xraycls.data.pictures import list_images
from xraycls.errors import UsageError
from xraycls.types import Sample

if TYPE_CHECKING:
    from pydicom import Dataset

    from xraycls.types import Content

    Picture = str | Path | Content | Sample
    """A path of a file or a folder, the bytes of a file, an array, a dataset of pydicom, or a sample."""


def samples_of(pictures: Picture | Iterable[Picture]) -> list[Sample]:
    """Returns a sample for every picture, in order.

    Folders and prepared stores stand for all pictures in them. Files that are missing or damaged are listed, too; the
    error comes when they are opened. Pictures in memory are called "picture 1", "picture 2", …, by their places in
    the sequence.

    Args:
        pictures: one picture or a sequence of them. A single string is a path. Arrays are as
            :func:`xraycls.data.open.open_content` takes them; one array is one picture.

    Raises:
        UsageError: something that is no picture, such as a number or a tensor.
        DataError: no picture at all.

    Example:
        >>> import numpy as np
        >>> [sample.name for sample in samples_of(["a.png", np.zeros((8, 8), np.uint8)])]
        ['a.png', 'picture 2']
    """
    if isinstance(pictures, Mapping) or _is_one(pictures) or not isinstance(pictures, Iterable):
        several: list[object] = [pictures]
    else:
        several = list(pictures)
    samples: list[Sample] = []
    paths: list[Path] = []  # neighbours are listed together, so that an error can name them all
    for number, picture in enumerate(several, start=1):
        if isinstance(picture, str | Path):
            paths.append(Path(picture))
            continue
        if paths:
            samples += list_images(paths)
            paths = []
        samples.append(_sample(picture, number))
    return samples + (list_images(paths) if paths or not samples else [])


def _sample(picture: object, number: int) -> Sample:
    if isinstance(picture, Sample):
        return picture
    if isinstance(picture, bytes | np.ndarray) or _is_dataset(picture):
        return Sample(Path(f"picture {number}"), content=picture)
    kind = f"{type(picture).__module__}.{type(picture).__qualname__}".removeprefix("builtins.")
    raise UsageError(
        f"Picture {number} is of the type {kind}, which is no picture",
        "Give a path, the bytes of a file, a NumPy array or a pydicom dataset, or a sequence of these",
    )


def _is_one(pictures: object) -> TypeGuard[Picture]:
    return isinstance(pictures, str | Path | bytes | np.ndarray | Sample) or _is_dataset(pictures)


def _is_dataset(picture: object) -> TypeGuard[Dataset]:
    """Whether this is a dataset of pydicom, which isn't imported for it."""
    return any(f"{kind.__module__}.{kind.__name__}" == "pydicom.dataset.Dataset" for kind in type(picture).__mro__)
