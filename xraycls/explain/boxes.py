"""What a detector found, drawn over a radiograph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from xraycls.data.lettering import font
from xraycls.types import Box

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# Black, red, blue, gold and purple, as TAO's inference has them, each with a colour for letters on it.
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_COLOURS: tuple[tuple[Colour, Colour], ...] = (
    (_BLACK, _WHITE),
    ((255, 0, 0), _WHITE),
    ((0, 0, 255), _WHITE),
    ((255, 215, 0), _BLACK),
    ((128, 0, 128), _WHITE),
)
_LETTERS, _LINES = 48, 400  # how much smaller than a picture's longer side letters are high and lines wide
_SMALLEST_LETTERS, _THINNEST = 11, 2  # pixels


def annotated(picture: Pixels, boxes: Sequence[Box], ids: Sequence[int], *, captions: bool = True) -> Pixels:
    """A picture with a frame and a caption such as ``opacity: 0.87`` for every box.

    Args:
        picture: uint8 [H, W], or RGB [H, W, 3].
        boxes: with scores, in pixels of the picture; what lies outside isn't drawn. The first are drawn over others.
        ids: of each box's class, which choose among TAO's five colours.
        captions: whether there are any; frames alone without.

    Returns:
        uint8 [H, W, 3] RGB, of the same size.
    """
    height, width = picture.shape[:2]
    canvas = Image.fromarray(picture).convert("RGB")
    draw = ImageDraw.Draw(canvas)
    longer = max(height, width)
    line, letters = max(longer // _LINES, _THINNEST), max(longer // _LETTERS, _SMALLEST_LETTERS)
    marks = [(box, *_COLOURS[number % len(_COLOURS)]) for box, number in zip(boxes, ids, strict=True)][::-1]
    for box, colour, _ in marks:
        draw.rectangle(_frame(box, width, height, line), outline=colour, width=line)
    for box, colour, ink in marks if captions else ():  # after all frames, so that none crosses a caption
        _caption(draw, box, _frame(box, width, height, line), letters, colour, ink)
    return np.asarray(canvas)


def _frame(box: Box, width: int, height: int, line: int) -> tuple[int, int, int, int]:
    """The outermost pixels of a box; sides outside the picture go just out of sight."""
    left, right = (min(max(round(x), -line), width + line) for x in (box.left, box.right))
    top, bottom = (min(max(round(y), -line), height + line) for y in (box.top, box.bottom))
    return left, top, max(right - 1, left), max(bottom - 1, top)


def _caption(
    draw: ImageDraw.ImageDraw, box: Box, frame: tuple[int, int, int, int], letters: int, colour: Colour, ink: Colour
) -> None:
    """The class and its score above the frame, or within it where there is no room above."""
    text = box.label if box.score is None else f"{box.label}: {box.score:.2f}"
    width, height = math.ceil(draw.textlength(text, font(letters))) + letters // 2, math.ceil(letters * 1.4)
    left = max(min(frame[0], draw.im.size[0] - width), 0)
    top = frame[1] - height if frame[1] >= height else max(frame[1], 0)
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    draw.text((left + letters // 4, top + height // 2), text, ink, font(letters), anchor="lm")
