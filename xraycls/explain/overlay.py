"""Class activation maps as pictures: over the radiograph, and side by side with it."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from xraycls.data.lettering import fitted, font

Pixels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.floating]

_CLEAR, _FULL, _STRONGEST = 0.1, 0.7, 0.6  # where colour sets in, where it is fullest, and its share there

_PANEL_HEIGHT, _PANEL_WIDTHS = 640, (320, 1280)
_MARGIN, _HEADER, _BAR, _TICKS = 16, 56, 20, 44
_BACKGROUND, _TEXT = (24, 24, 24), (235, 235, 235)


def overlay(image: Pixels, cam: Map) -> Pixels:
    """A map in colour over a radiograph, at the radiograph's size.

    Colours are those of "plasma": perceptually uniform, and never grey. Opacity grows with the map, so that what
    doesn't matter keeps its grey levels.

    Args:
        image: uint8 [H, W].
        cam: 0–1 [h, w], over the whole image whatever its own size.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    height, width = image.shape
    heat = cv2.resize(np.clip(cam, 0, 1).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    levels = cv2.convertScaleAbs(heat, alpha=255).astype(np.uint16)
    blended = np.take(_blends(), levels << 8 | image)  # one number a pixel is looked up quicker than three
    three: Pixels = np.asarray(cv2.cvtColor(blended.view(np.uint8).reshape(height, width, 4), cv2.COLOR_BGRA2BGR))
    return three


def side_by_side(image: Pixels, cam: Map, class_name: str, probability: float, title: str) -> Pixels:
    """The radiograph, the same with the map over it, the class with its probability, and a colour bar.

    Panels are as high as 640 pixels whatever the size of the image, so text stays sharp.

    Args:
        image: uint8 [H, W].
        cam: 0–1 [h, w], over the whole image.
        class_name: the class that the map explains.
        probability: its probability, 0–1.
        title: heads the radiograph, such as the model's name.

    Returns:
        uint8 [h, w, 3] RGB.
    """
    panel = _resized(image)
    height, width = panel.shape
    slot = max(width, _PANEL_WIDTHS[0])
    second, bar = 2 * _MARGIN + slot, 3 * _MARGIN + 2 * slot
    canvas = Image.new("RGB", (bar + _BAR + _TICKS + _MARGIN, _HEADER + height + _MARGIN), _BACKGROUND)
    inset = (slot - width) // 2
    canvas.paste(Image.fromarray(panel).convert("RGB"), (_MARGIN + inset, _HEADER))
    canvas.paste(Image.fromarray(overlay(panel, cam)), (second + inset, _HEADER))
    ramp = np.repeat(np.linspace(1, 0, height)[:, None], _BAR, axis=1)
    canvas.paste(Image.fromarray(overlay(np.full(ramp.shape, 96, np.uint8), ramp)), (bar, _HEADER))

    draw = ImageDraw.Draw(canvas)
    _write(draw, (_MARGIN, _HEADER // 2), title, 24, slot)
    share = f"  {probability:.1%}"
    name_width = slot - int(draw.textlength(share, font(24)))
    _write(draw, (second, _HEADER // 2), class_name, 24, name_width, tail=share)
    for value in (0.0, 0.5, 1.0):
        _write(draw, (bar + _BAR + 8, _HEADER + round((1 - value) * (height - 20)) + 10), f"{value:g}", 18, _TICKS)
    return np.asarray(canvas)


@cache
def _blends() -> npt.NDArray[np.uint32]:
    """RGB and a byte of nothing, of every level of a map over every grey level, [256 x 256]."""
    bgr = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_PLASMA)
    colours = bgr[:, :, ::-1].astype(np.float32)
    opacity = _STRONGEST * np.clip((np.linspace(0, 1, 256)[:, None, None] - _CLEAR) / (_FULL - _CLEAR), 0, 1)
    greys = np.arange(256, dtype=np.float32)[None, :, None]
    blended = np.rint(colours * opacity + greys * (1 - opacity)).astype(np.uint8)
    return np.concatenate([blended, np.zeros_like(blended[..., :1])], axis=2).view(np.uint32).reshape(-1)


def _resized(image: Pixels) -> Pixels:
    height, width = image.shape
    scale = min(_PANEL_HEIGHT / height, _PANEL_WIDTHS[1] / width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    smoothing = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=smoothing), dtype=np.uint8)


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, width: int, tail: str = "") -> None:
    """Text from its left middle, shortened where it would be wider; the tail is kept whole."""
    draw.text(at, fitted(text, size, width) + tail, _TEXT, font(size), anchor="lm")
