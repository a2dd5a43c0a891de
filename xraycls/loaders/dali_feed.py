"""What DALI is fed: bytes and plain numbers a picture, so that its graph holds no decision and no random number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xraycls.data.image import Image, Levels
from xraycls.loaders.render import decoding_of, region_of, resampled, resampled_size
from xraycls.loaders.views import Canvas, View, whole


class Feed(NamedTuple):
    """One picture on its way into the graph.

    Attributes:
        data: uint8 [n]; an encoded file, or the pixels of a decoded picture row by row.
        encoded: which of the two.
        levels: :class:`xraycls.data.image.Levels` of an encoded file.
        resize: whether the picture is resampled before the warp.
        start: top and left of the region that the view needs.
        shape: height and width of that region; of decoded pixels, of all.
        target: height and width after the resampling.
        matrix: float64 [2, 3], from output points to points of the (resampled) region.
        size: height and width of the output.
    """

    data: npt.NDArray[np.uint8]
    encoded: bool
    levels: int
    resize: bool
    start: tuple[int, int]
    shape: tuple[int, int]
    target: tuple[int, int]
    matrix: npt.NDArray[np.float64]
    size: tuple[int, int]


# Of every field: its type in DALI's words (and NumPy's), and the dimensions of one picture's value.
FIELDS = {
    "data": ("UINT8", np.uint8, 1),
    "encoded": ("BOOL", np.bool_, 0),
    "levels": ("INT32", np.int32, 0),
    "resize": ("BOOL", np.bool_, 0),
    "start": ("INT32", np.int32, 1),
    "shape": ("INT32", np.int32, 1),
    "target": ("FLOAT", np.float32, 1),
    "matrix": ("FLOAT", np.float32, 2),
    "size": ("FLOAT", np.float32, 1),
}


def packed(feeds: Sequence[Feed]) -> tuple[Any, ...]:
    """The feeds of a batch, field by field: a list of uint8 arrays, and one array for each of the others.

    One array costs DALI far less than one a picture.
    """
    data, *others = zip(*feeds, strict=True)
    kinds = [kind for _, kind, _ in FIELDS.values()][1:]
    return list(data), *(np.array(values, kind) for values, kind in zip(others, kinds, strict=True))


def feed_of(image: Image, view: View, canvas: Canvas, *, reduced: bool) -> Feed:
    """What DALI needs to draw one view.

    Args:
        image: opened.
        view: of the upright source.
        canvas: of the output.
        reduced: decode and resample here what is larger than the view needs.

    Raises:
        DataError: the image has to be decoded here, and can't be.
    """
    left, top, right, bottom = view.target or whole(canvas)
    out, view = (bottom - top, right - left), view.on_target()
    reduce, on_decoded = decoding_of(image, view)
    too_large = reduce > 1 or resampled_size(image.width, image.height, view) is not None
    if image.encoded is not None and not (reduced and too_large):
        left, top, right, bottom = region_of(view, out, (image.height, image.width))
        return _feed(
            image.encoded.data,
            image.encoded.levels,
            (top, left),
            (bottom - top, right - left),
            view.on_part(left, top),
            out,
        )
    pixels = image.decode(reduce)
    if reduced:
        pixels, on_decoded = resampled(pixels, on_decoded, out)
    return _feed(pixels.reshape(-1), None, (0, 0), pixels.shape, on_decoded, out)


def black(size: tuple[int, int]) -> Feed:
    """A picture in the place of one that can't be read, of so many pixels down and across."""
    return _feed(np.zeros(1, np.uint8), None, (0, 0), (1, 1), View(np.eye(2, 3)), size)


def _feed(
    data: npt.NDArray[np.uint8],
    levels: Levels | None,
    start: tuple[int, int],
    shape: tuple[int, int],
    view: View,
    size: tuple[int, int],
) -> Feed:
    height, width = shape
    target = resampled_size(width, height, view)
    if target is not None:
        view = view.on_grid(target[0] / width, target[1] / height)
    return Feed(
        data,
        levels is not None,
        int(levels or 0),
        target is not None,
        start,
        shape,
        shape if target is None else (target[1], target[0]),
        view.matrix,
        size,
    )
