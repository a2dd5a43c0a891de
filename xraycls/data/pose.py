"""Whether a film stands upright: which of eight ways to hold it looks most like a chest."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.image import GreyImage

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
