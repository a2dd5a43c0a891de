"""Contact sheets: many pictures on one, with captions and boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from xraycls.data.lettering import fitted, font
from xraycls.types import Box

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Corners = tuple[int, int, int, int]  # the outermost pixels at the left, the top, the right and the bottom

_GAP, _TITLE = 14, 44  # pixels between tiles, and of the line above them
_LINE = 17  # pixels from a line of a caption to the next
_GROUND, _MOUNT, _TEXT, _FAINT, _DARK = (24, 24, 24), (10, 10, 10), (236, 236, 236), (160, 160, 160), (16, 16, 16)
# Okabe and Ito's palette, which colour-blind readers tell apart, in the shades that stand out on a radiograph.
_COLOURS: tuple[Colour, ...] = (
    (255, 176, 0),
    (86, 200, 255),
    (0, 214, 143),
    (255, 122, 166),
    (240, 228, 66),
    (190, 150, 255),
    (255, 110, 60),
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture of a contact sheet.

    Attributes:
        picture: uint8 [h, w] grey levels or [h, w, 3] RGB.
        caption: one or two short lines, told apart by a line break.
        boxes: drawn over the picture, in pixels of its source.
        size: width and height of that source; None for the picture's own.
    """

    picture: Pixels
    caption: str
    boxes: tuple[Box, ...] = ()
    size: tuple[int, int] | None = None


def contact_sheet(tiles: Sequence[Tile], *, columns: int = 4, side: int = 256, title: str = "") -> Pixels:
    """All tiles in rows on a dark ground.

    Pictures keep their proportions, captions that are too long lose their middle, and each class of boxes has a
    colour of its own.

    Args:
        tiles: in the order of reading.
        columns: at most so many beside each other.
        side: of the square that a picture is fitted into, pixels.
        title: heads the sheet; "" for none.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    columns = min(columns, max(len(tiles), 1))
    rows = math.ceil(len(tiles) / columns)
    lines = max((tile.caption.count("\n") + 1 for tile in tiles if tile.caption), default=0)
    below = lines * _LINE + (_GAP // 2 if lines else 0)
    head = _TITLE if title else 0
    width, height = _GAP + columns * (side + _GAP), head + _GAP + rows * (side + below + _GAP)
    sheet = Image.new("RGB", (width, height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_GAP, _GAP + 14), fitted(title, 18, width - 2 * _GAP), _TEXT, font(18), anchor="lm")
    colour_of = _colours(tiles)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = _GAP + column * (side + _GAP), head + _GAP + row * (side + below + _GAP)
        sheet.paste(_mounted(tile, side, colour_of), (left, top))
        for line, text in enumerate(tile.caption.split("\n")):
            place = left, top + side + 6 + line * _LINE
            draw.text(place, fitted(text, 13, side), _FAINT if line else _TEXT, font(13))
    return np.array(sheet)


def _colours(tiles: Sequence[Tile]) -> dict[str, Colour]:
    """A colour for every class of boxes, in the order of their names."""
    names = sorted({box.label for tile in tiles for box in tile.boxes})
    return {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}


def _mounted(tile: Tile, side: int, colour_of: dict[str, Colour]) -> Image.Image:
    """The picture with its boxes in the middle of a dark square."""
    height, width = tile.picture.shape[:2]
    source_width, source_height = tile.size or (width, height)
    scale = side / max(source_width, source_height)
    shown = max(round(source_width * scale), 1), max(round(source_height * scale), 1)
    smoothing = cv2.INTER_AREA if shown[0] < width or shown[1] < height else cv2.INTER_CUBIC
    picture = Image.fromarray(np.asarray(cv2.resize(tile.picture, shown, interpolation=smoothing), np.uint8))
    mount = Image.new("RGB", (side, side), _MOUNT)
    left, top = (side - shown[0]) // 2, (side - shown[1]) // 2
    mount.paste(picture, (left, top))
    draw = ImageDraw.Draw(mount)
    frames = [(box, _frame(box, scale, left, top)) for box in tile.boxes]
    for box, frame in frames:
        draw.rectangle([frame[0] - 1, frame[1] - 1, frame[2] + 1, frame[3] + 1], outline=_DARK, width=4)
        draw.rectangle(frame, outline=colour_of[box.label], width=2)
    taken: list[Corners] = []
    for box, frame in frames:  # after all frames, so that none crosses a name
        taken.append(_tag(draw, box, frame, taken, side, colour_of[box.label]))
    return mount


def _frame(box: Box, scale: float, left: int, top: int) -> Corners:
    """The outermost pixels of a box on its mount; a box without an extent keeps one pixel."""
    x, y = round(left + box.left * scale), round(top + box.top * scale)
    right, bottom = round(left + box.right * scale) - 1, round(top + box.bottom * scale) - 1
    return x, y, max(right, x), max(bottom, y)


def _tag(
    draw: ImageDraw.ImageDraw, box: Box, frame: Corners, taken: Sequence[Corners], side: int, colour: Colour
) -> Corners:
    """Write the class above its box, or below or within it where that is taken or outside; returns where."""
    score = "" if box.score is None else f" {box.score:.2f}"
    text = fitted(box.label, 11, side - 8 - int(font(11).getlength(score))) + score
    width, height = math.ceil(font(11).getlength(text)) + 8, 16
    x = max(min(frame[0] - 1, side - width), 0)
    places = [(x, y, x + width - 1, y + height - 1) for y in (frame[1] - height, frame[3] + 1, frame[1])]
    free = [p for p in places if p[1] >= 0 and p[3] < side and not any(_overlap(p, other) for other in taken)]
    y = max(min((free or places[-1:])[0][1], side - height), 0)
    place = x, y, x + width - 1, y + height - 1
    draw.rectangle(place, fill=colour)
    draw.text((x + 4, y + height // 2), text, _DARK, font(11), anchor="lm")
    return place


def _overlap(one: Corners, other: Corners) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
