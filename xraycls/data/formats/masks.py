"""Masks beside pictures: every region of a mask is an object, and its box the one around it."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.folder import image_files
from xraycls.data.formats.format import boxed_sample, boxed_table, first_few, tell_missing
from xraycls.data.open import read_grey
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Outline

logger = logging.getLogger(__name__)

MASKS, IMAGES = "masks", "images"
OBJECT = "object"
"""What a region is called whose mask lies in no folder of a class."""

_ENDINGS = ("_mask", "-mask", "_seg")
_TOLERANCE = 0.004  # of the longer side of a region: how far a corner of its outline may be off


def read_masks(path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
    """Read ``masks/a.png`` or ``masks/CLASS/a.png`` of the picture ``images/a.png``; ``a_mask.png`` will do, too.

    What is brighter than half of a mask's brightest pixel is foreground; pixels that touch, at a corner, too, are one
    object, which keeps its outline. An empty mask says that there is none.

    Args:
        path: the folder that holds ``masks``.
        images: the folder of the pictures, where it isn't ``images`` beside them.
        strict: raise where a picture has no mask instead of leaving it out.

    Raises:
        DataError: a mask of another size than its picture, a file that can't be read, or no picture with a mask.
    """
    folder = images or path / IMAGES
    masks = defaultdict[str, list[tuple[str, Path]]](list)
    for file in image_files(path / MASKS):
        below = file.relative_to(path / MASKS).parent
        masks[_picture_of(file)].append((OBJECT if below == Path() else below.parts[0], file))
    pictures = {file.stem: file for file in image_files(folder)}
    if strangers := sorted(masks.keys() - pictures.keys()):
        logger.warning("%d masks of %s have no picture in %s: %s", len(strangers), path, folder, first_few(strangers))
    if bare := sorted(pictures.keys() - masks.keys()):
        tell_missing(f"{len(bare)} pictures of {folder} have no mask: {first_few(bare)}", path, strict)
    samples = [
        boxed_sample(picture, [box for label, file in masks[stem] for box in _boxes(picture, file, label)])
        for stem, picture in sorted(pictures.items())
        if stem in masks
    ]
    return boxed_table(samples, folder, "masks", path)


def detect_masks(path: Path) -> bool:
    """Whether a folder holds ``masks`` beside ``images``."""
    return (path / MASKS).is_dir() and (path / IMAGES).is_dir()


def regions(mask: npt.NDArray[np.uint8], label: str = OBJECT) -> list[Box]:
    """Returns every region of a mask [H, W] with its outline, from the first row that has one.

    Example:
        >>> import numpy as np
        >>> from xraycls.data.formats.masks import regions
        >>> mask = np.zeros((8, 8), np.uint8)
        >>> mask[1:4, 2:7] = 255
        >>> regions(mask)
        [Box(label='object', left=2, top=1, right=7, bottom=4, score=None, difficult=False)]
        >>> regions(mask)[0].outline
        (((0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)),)
    """
    foreground = (mask > mask.max() / 2).astype(np.uint8)
    count, numbers, facts, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
    found = []
    for number, (x, y, w, h, _) in enumerate(facts[1:count].tolist() if mask.max() else [], start=1):
        own = numbers[y : y + h, x : x + w] == number
        found.append(Box(label, x, y, x + w, y + h, outline=_outline(own.astype(np.uint8))))
    return found


def _outline(region: npt.NDArray[np.uint8]) -> Outline:
    """The outline of what fills a picture [H, W] from edge to edge; empty for a line, which is its box."""
    last = np.array(region.shape[::-1]) - 1
    if not last.all():
        return ()
    rings, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    plain = [cv2.approxPolyDP(ring, _TOLERANCE * float(last.max()), closed=True)[:, 0] / last for ring in rings]
    return tuple(tuple((x, y) for x, y in ring.tolist()) for ring in plain if len(ring) > 2)


def _boxes(picture: Path, file: Path, label: str) -> list[Box]:
    mask, size = read_grey(file), read_grey(picture).shape
    if mask.shape != size:
        raise DataError(
            f"The mask {file} is {mask.shape[1]} × {mask.shape[0]} pixels, and its picture {size[1]} × {size[0]}",
            file,
            "Masks have the size of their pictures",
        )
    return regions(mask, label)


def _picture_of(mask: Path) -> str:
    """The stem of the picture that a mask belongs to."""
    return next((mask.stem.removesuffix(end) for end in _ENDINGS if mask.stem.endswith(end)), mask.stem)
