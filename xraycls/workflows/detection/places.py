"""Names for what is written of pictures: theirs, with the suffixes of label files and annotated pictures."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from xraycls.data.folder import IMAGE_SUFFIXES
from xraycls.data.source import list_images
from xraycls.errors import DataError
from xraycls.types import Sample

logger = logging.getLogger(__name__)

_WRITTEN = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp"})  # others become PNG


@dataclass(frozen=True, slots=True)
class ResultPlace:
    """Where the results of a picture go, below their folders.

    Attributes:
        sample: the picture.
        label: its label file.
        picture: its annotated copy, in the same format where that can be written, else PNG.
    """

    sample: Sample
    label: Path
    picture: Path


def result_places(images: Path, written: Path | None = None) -> list[ResultPlace]:
    """All pictures of a folder, or the one picture, with names for their results that no two of them share.

    Pictures in folders below the given one keep their folder.

    Args:
        images: the folder or the picture.
        written: a folder of results, whose pictures of earlier runs don't count where it lies in ``images``.

    Raises:
        DataError: there is no such folder or file, or no picture in it.
    """
    if not images.exists():
        raise DataError(f"There is no file or folder {images}", images)
    samples = list_images([images])
    if written and images.resolve() in written.resolve().parents:
        samples = [sample for sample in samples if written.resolve() not in sample.path.resolve().parents]
        if not samples:
            raise DataError(f"There are no images in {images} but results in {written}", images)
    taken: set[Path] = set()
    places = []
    for sample in samples:
        name = _name(sample, images)
        # DICOM files from a hospital have names such as 1.2.840.113619.2, without a suffix.
        stem = name.with_suffix("") if name.suffix.lower() in IMAGE_SUFFIXES else name
        if stem in taken:  # a.jpg beside a.png
            stem = name
            logger.warning("%s shares its name with another picture: its label file is %s.txt.", sample.name, stem)
        taken.add(stem)
        suffix = name.suffix if name.suffix.lower() in _WRITTEN else ".png"
        places.append(ResultPlace(sample, Path(f"{stem}.txt"), Path(f"{stem}{suffix}")))
    return places


def _name(sample: Sample, images: Path) -> Path:
    """The name of a picture below the folder that was given."""
    if sample.member is not None:
        return Path(sample.member)
    return sample.path.relative_to(images) if images.is_dir() else Path(sample.path.name)
