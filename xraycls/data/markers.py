"""Letters R and L that are burnt into a film to tell its sides: a network may read them instead of the lungs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.image import GreyImage

Letter = Literal["R", "L"]

_LONGER = 512  # side of the picture that is searched, pixels
_LEGIBLE = 160  # pixels of the longer side; in a smaller picture a letter can't be told from noise
_HIGHEST = 31  # pixels a stroke may be wide and still stand out from what surrounds it
_STEPS = (40, 70, 110)  # grey levels above the surroundings at which letters are cut out
_HEIGHTS, _PROPORTIONS, _FILLED = (
    (9, 56),
    (0.4, 1.35),
    (0.2, 0.85),
)  # of a letter: pixels, width / height, share of its box
_BRIGHT, _MOSTLY = 150, 0.2  # grey levels that a share of a letter reaches
_MIDDLE, _NECK = (0.3, 0.7), 0.25  # markers stand aside of the spine, or above the clavicles
_GLYPH = 24
# An L is two bars, which films are full of; it has to look the part and to stand clear of the edge.
_ALIKE: dict[Letter, float] = {"R": 0.55, "L": 0.75}


@dataclass(frozen=True, slots=True)
class Marker:
    """A burnt-in letter.

    Attributes:
        letter: R or L.
        x: of its middle, as a fraction of the width, from the left.
        y: of its middle, as a fraction of the height, from the top.
        height: as a fraction of the picture's.
        alike: correlation with the letter as drawn, 0–1.
    """

    letter: Letter
    x: float
    y: float
    height: float
    alike: float


def find_marker(grey: GreyImage) -> Marker | None:
    """The clearest upright R or L beside the spine or above the clavicles; None without one.

    Strokes are what a white top-hat leaves; connected parts of a letter's size are compared with drawn letters. Of 109
    whole letters on 120 originals of Kermany's set 104 are found and nothing else, of those at 224 pixels about four in
    five, one in 180 being wrong. Of NIH's letters of lead, many tilted or mirrored, most are missed; 2 of 29 are wrong.

    Args:
        grey: uint8 [H, W]; 512 pixels of the longer side are enough.
    """
    height, width = grey.shape
    if max(height, width) < _LEGIBLE:
        return None
    scale = _LONGER / max(height, width)
    shape = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(grey, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    strokes = cv2.morphologyEx(small, cv2.MORPH_TOPHAT, np.ones((_HIGHEST, _HIGHEST), np.uint8))
    levels, peaks = np.asarray(small, np.uint8), np.asarray(strokes, np.uint8)
    found = [marker for step in _STEPS for marker in _candidates(levels, peaks, step)]
    return max(found, key=lambda marker: marker.alike, default=None)


def _candidates(grey: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8], step: int) -> Iterator[Marker]:
    rows, columns = grey.shape
    bright = strokes > step
    boxes = _parts(bright)
    for part, (left, top, width, height) in enumerate(boxes.tolist()):
        x, y = (left + width / 2) / columns, (top + height / 2) / rows
        if _MIDDLE[0] < x < _MIDDLE[1] and y > _NECK:
            continue
        window = slice(top, top + height), slice(left, left + width)
        own = bright[window]
        if not _letter_like(width, height, own) or (grey[window][own] >= _BRIGHT).mean() < _MOSTLY:
            continue
        letter, alike = _read(np.where(own, strokes[window], 0).astype(np.uint8))
        if alike < _ALIKE[letter]:
            continue
        at_edge = left == 0 or top == 0 or left + width == columns or top + height == rows
        if not (_in_a_word(boxes, part) or (letter == "L" and at_edge)):
            yield Marker(letter, x, y, height / rows, alike)


def _parts(bright: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Left, top, width and height of every connected part, int32 [n, 4]; parts within a ring count as well."""
    outlines, kinship = cv2.findContours(bright.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [o for o, kin in zip(outlines, kinship[0], strict=True) if kin[3] < 0] if outlines else []
    return np.array([cv2.boundingRect(outline) for outline in outer], np.int32).reshape(-1, 4)


def _letter_like(width: int, height: int, own: npt.NDArray[np.bool_]) -> bool:
    return (
        _HEIGHTS[0] <= height <= _HEIGHTS[1]
        and _PROPORTIONS[0] <= width / height <= _PROPORTIONS[1]
        and _FILLED[0] <= own.mean() <= _FILLED[1]
    )


def _in_a_word(boxes: npt.NDArray[np.int32], own: int) -> bool:
    """Whether another part of about the same height stands beside it."""
    left, top, width, height = boxes[own]
    beside = np.abs(boxes[:, 1] + boxes[:, 3] / 2 - top - height / 2) < height / 2
    alike = np.abs(boxes[:, 3] - height) <= max(0.3 * height, 2)
    gaps = np.maximum(boxes[:, 0] - left - width, left - boxes[:, 0] - boxes[:, 2])
    others = np.arange(len(boxes)) != own
    return bool((beside & alike & (gaps < 1.2 * height) & others).any())


def _read(strokes: npt.NDArray[np.uint8]) -> tuple[Letter, float]:
    """The letter that a part looks most like, and how much."""
    letters, glyphs = _glyphs()
    alike = glyphs @ _standardised(strokes).ravel()
    best = int(alike.argmax())
    return letters[best], float(alike[best])


@cache
def _glyphs() -> tuple[tuple[Letter, ...], npt.NDArray[np.float32]]:
    """R and L in three type faces and three weights: names, and float32 [18, 576]."""
    faces = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_DUPLEX)
    letters: list[Letter] = []
    glyphs = []
    for letter in _ALIKE:
        for face in faces:
            for weight in (6, 12, 18):
                canvas = np.zeros((200, 200), np.uint8)
                cv2.putText(canvas, letter, (50, 150), face, 3, 255, weight, cv2.LINE_AA)
                left, top, width, height = cv2.boundingRect(canvas)
                letters.append(letter)
                glyphs.append(_standardised(canvas[top : top + height, left : left + width]).ravel())
    return tuple(letters), np.stack(glyphs)


def _standardised(glyph: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Stretched to a square, softened, of mean 0 and length 1: float32 [24, 24]."""
    smoothing = cv2.INTER_AREA if glyph.shape[0] > _GLYPH else cv2.INTER_LINEAR
    square = cv2.resize(glyph, (_GLYPH, _GLYPH), interpolation=smoothing).astype(np.float32)
    soft = cv2.GaussianBlur(square, (0, 0), 1.2)
    soft = soft - soft.mean()
    return np.asarray(soft / max(float(np.linalg.norm(soft)), 1e-6), np.float32)
