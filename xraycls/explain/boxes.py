"""What a detector found, drawn over a radiograph."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from xraycls.data.lettering import font
from xraycls.types import Box

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
# Black, red, blue, gold and purple, as TAO's inference has them, which begins again with the sixth class.
_COLOURS: tuple[Colour, ...] = (_BLACK, (255, 0, 0), (0, 0, 255), (255, 215, 0), (128, 0, 128))
_GREEN, _GOLDEN = 0.38, 0.618034  # hue of the sixth class, and the step to the next, which comes back to none
_BRIGHT = 140  # luma of colours that black letters are read on
_LETTERS, _LINES = 48, 400  # how much smaller than a picture's longer side letters are high and lines wide
_SMALLEST_LETTERS, _THINNEST = 11, 2  # pixels


def annotated(picture: Pixels, boxes: Sequence[Box], ids: Sequence[int], *, captions: bool = True) -> Pixels:
    """A picture with a frame and a caption such as ``opacity: 0.87`` for every box.

    Args:
        picture: uint8 [H, W], or RGB [H, W, 3].
        boxes: with scores, in pixels of the picture; what lies outside isn't drawn. The first are drawn over others.
        ids: of each box's class, each of which has a colour of its own; the first five have TAO's.
        captions: whether there are any; frames alone without.

    Returns:
        uint8 [H, W, 3] RGB, of the same size.
    """
    height, width = picture.shape[:2]
    canvas = Image.fromarray(picture).convert("RGB")
    draw = ImageDraw.Draw(canvas)
    longer = max(height, width)
    line, letters = max(longer // _LINES, _THINNEST), max(longer // _LETTERS, _SMALLEST_LETTERS)
    marks = [(box, colour_of(number)) for box, number in zip(boxes, ids, strict=True)][::-1]
    for box, colour in marks:
        draw.rectangle(_frame(box, width, height, line), outline=colour, width=line)
    for box, colour in marks if captions else ():  # after all frames, so that none crosses a caption
        _caption(draw, box, _frame(box, width, height, line), letters, colour)
    return np.asarray(canvas)


def colour_of(number: int) -> Colour:
    """Returns the red, green and blue of a class, 0–255 each.

    Example:
        >>> from xraycls.explain.boxes import colour_of
        >>> colour_of(1), len({colour_of(number) for number in range(100)})
        ((255, 0, 0), 100)
    """
    if number < len(_COLOURS):
        return _COLOURS[number]
    hue = (_GREEN + _GOLDEN * (number - len(_COLOURS))) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def _frame(box: Box, width: int, height: int, line: int) -> tuple[int, int, int, int]:
    """The outermost pixels of a box; sides outside the picture go just out of sight."""
    left, right = (min(max(round(x), -line), width + line) for x in (box.left, box.right))
    top, bottom = (min(max(round(y), -line), height + line) for y in (box.top, box.bottom))
    return left, top, max(right - 1, left), max(bottom - 1, top)


def _caption(
    draw: ImageDraw.ImageDraw, box: Box, frame: tuple[int, int, int, int], letters: int, colour: Colour
) -> None:
    """The class and its score above the frame, or within it where there is no room above."""
    text = box.label if box.score is None else f"{box.label}: {box.score:.2f}"
    width, height = math.ceil(draw.textlength(text, font(letters))) + letters // 2, math.ceil(letters * 1.4)
    left = max(min(frame[0], draw.im.size[0] - width), 0)
    top = frame[1] - height if frame[1] >= height else max(frame[1], 0)
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    red, green, blue = colour
    ink = _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > _BRIGHT else _WHITE
    draw.text((left + letters // 4, top + height // 2), text, ink, font(letters), anchor="lm")
