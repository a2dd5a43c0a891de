"""Pictures that nobody should train on, by rules with reasons.

Thresholds keep a good distance from real films: over 6,000 radiographs of children and adults have means of 58–222 grey
levels, standard deviations of 19 and more, no chroma and shorter sides of 127 pixels and more.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.facts import PictureFacts
from xraycls.data.image import GreyImage
from xraycls.errors import DataError

UNREADABLE = "unreadable"
"""The reason against a picture that can't be decoded."""
TINY = 100
"""Pixels; a picture whose shorter side has fewer is tiny."""
BLANK = 6.0
"""Standard deviation of the grey levels, 0–255; a picture below is blank."""
DARK, BRIGHT = 30.0, 230.0
"""Mean grey levels, 0–255; a picture outside them is too dark or too bright."""
COLOUR = 12.0
"""Mean chroma, grey levels; a picture above is a photograph or a drawing, one with a coloured arrow stays below."""

Pose = Literal["upright", "quarter turn", "half turn", "inverted"]
_TURNED: tuple[Pose, ...] = ("upright", "quarter turn", "half turn", "quarter turn")

CHEST = Path(__file__).with_name("chest.npy")
"""The mean drawn chest, as :func:`draw_chest` gives it."""

_SIDE = 16  # of what is compared, pixels
_DRAWINGS = 60
_LIKE_A_CHEST = 0.25  # correlation below which nothing can be said
# How much better than upright another way must look. Of 5,992 upright films none looks better by a quarter turn or
# inverted, 29 by half a turn (infants whose belly is full of gas), two of them by more than 0.11.
_CLEARLY: dict[Pose, float] = {"upright": 0.0, "quarter turn": 0.05, "half turn": 0.11, "inverted": 0.2}


def quality_reasons(facts: PictureFacts) -> tuple[str, ...]:
    """What speaks against a picture: blank, too dark, too bright, tiny, colour, rotated, inverted; () for a good film.

    "rotated" is a quarter or half a turn, "inverted" black for white; :func:`xraycls.data.quality.pose_of` tells both.
    """
    reasons = ["tiny"] if min(facts.width, facts.height) < TINY else []
    if facts.contrast < BLANK:
        return (*reasons, "blank")
    if facts.mean < DARK:
        reasons.append("too dark")
    if facts.mean > BRIGHT:
        reasons.append("too bright")
    if facts.colour > COLOUR:
        return (*reasons, "colour")
    pose = pose_of(facts.thumbnail)
    if pose != "upright":
        reasons.append("inverted" if pose == "inverted" else "rotated")
    return tuple(reasons)


def all_reasons(pictures: Sequence[PictureFacts | DataError]) -> list[tuple[str, ...]]:
    """The reasons of every picture of a data set, ``UNREADABLE`` and "duplicate" among them.

    Of files with the same content all but the first are duplicates.
    """
    found: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for picture in pictures:
        if isinstance(picture, DataError):
            found.append((UNREADABLE,))
            continue
        repeated = picture.digest in seen
        seen.add(picture.digest)
        found.append(quality_reasons(picture) + (("duplicate",) if repeated else ()))
    return found


def pose_of(thumbnail: GreyImage) -> Pose:
    """How a frontal chest film is held: upright, turned or with black for white; "upright" where that isn't clear.

    A chest is nearly symmetric, dark beside a bright middle, and bright at its lower end. The picture, after histogram
    equalisation, is correlated with the mean of drawn chests in four turns and their negatives.

    Args:
        thumbnail: uint8 [h, w], the whole film, whatever its proportions.
    """
    ways = np.concatenate([_turns(), -_turns()]) @ _standardised(thumbnail).ravel()
    best = int(ways.argmax())
    pose: Pose = _TURNED[best] if best < len(_TURNED) else "inverted"
    clear = ways[best] >= _LIKE_A_CHEST and ways[best] - ways[0] > _CLEARLY[pose]
    return pose if clear else "upright"


def _standardised(picture: GreyImage) -> npt.NDArray[np.float64]:
    """Equalised grey levels of mean 0 and length 1, [16, 16]; all 0 for a blank picture."""
    small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    levels = cv2.equalizeHist(small).astype(np.float64)
    levels -= levels.mean()
    length = float(np.linalg.norm(levels))
    return levels / max(length, 1e-9)


@cache
def _turns() -> npt.NDArray[np.float64]:
    """The mean drawn chest as it looks in four turns: [4, 256], each of length 1."""
    mean = np.load(CHEST, allow_pickle=False)
    return np.stack([np.rot90(mean, turn).ravel() for turn in range(4)])


def draw_chest() -> npt.NDArray[np.float64]:
    """Returns what ``chest.npy`` holds: the mean of 60 drawn chests, made symmetric, [16, 16] of length 1.

    After a change of the phantom: ``numpy.save(CHEST, draw_chest())``.
    """
    from xraycls.data.phantom.draw import draw_radiograph

    chests = [draw_radiograph(0, patient + 1, 1, pneumonia=patient % 2 == 0, size=96) for patient in range(_DRAWINGS)]
    mean: npt.NDArray[np.float64] = np.sum(
        [_standardised(np.asarray(chest.grey(8), np.uint8)) for chest in chests], axis=0
    )
    mean += mean[:, ::-1]
    return mean / float(np.linalg.norm(mean))
