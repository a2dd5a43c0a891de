"""What DALI is fed: bytes and plain numbers a picture, so that its graph holds no decision and no random number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xraycls.data.image import GreyImage, Image, Levels
from xraycls.errors import DataError
from xraycls.loaders.render import decoding_of, draw_each, region_of, resampled_size
from xraycls.loaders.views import Canvas, View, Views, whole


class Feed(NamedTuple):
    """One picture on its way into the graph.

    Attributes:
        data: uint8 [n]; an encoded file, or the pixels of a decoded picture row by row.
        encoded: which of the two.
        drawn: whether these pixels are the output.
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
    drawn: bool
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
    "drawn": ("BOOL", np.bool_, 0),
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


def feeds_of(
    images: Sequence[Image | DataError], views: Views, canvas: Canvas, *, draws_here: bool
) -> list[Feed | DataError]:
    """What DALI needs to draw several views, or why one can't be read.

    Args:
        images: opened; the error of one that can't be.
        views: of the upright sources; changes of grey levels are left to the batch.
        canvas: of the outputs.
        draws_here: draw what has to be decoded here anyhow, or what is larger than its view needs.
    """
    feeds: list[Feed | DataError] = []
    here = []
    for number, image in enumerate(images):
        try:
            if isinstance(image, DataError):
                raise image
            if draws_here and (image.encoded is None or _is_too_large(image, views[number])):
                here.append(number)
                feeds.append(black((1, 1)))  # until it is drawn
            else:
                feeds.append(feed_of(image, views[number], canvas))
        except DataError as error:
            feeds.append(error)
    left, top, right, bottom = (views.targets[here] if views.targets is not None else np.array([whole(canvas)])).T
    sizes = np.broadcast_to(np.stack([bottom - top, right - left], axis=-1), (len(here), 2)).tolist()
    pictures = [np.empty(size, np.uint8) for size in sizes]
    plain = Views.plain(views.on_targets().matrices[here])
    failed = draw_each([images[number] for number in here], plain, canvas, pictures)
    for place, number in enumerate(here):
        feeds[number] = failed.get(place) or _drawn(pictures[place])
    return feeds


def _is_too_large(image: Image, view: View) -> bool:
    """Whether a picture is decoded or resampled to fewer pixels for a view than it has."""
    view = view.on_target()
    reduce, _ = decoding_of(image, view)
    return reduce > 1 or resampled_size(image.width, image.height, view) is not None


def feed_of(image: Image, view: View, canvas: Canvas) -> Feed:
    """What DALI needs to draw one view, with everything but decoding of formats that it doesn't know left to it.

    Args:
        image: opened.
        view: of the upright source.
        canvas: of the output.

    Raises:
        DataError: the image has to be decoded here, and can't be.
    """
    left, top, right, bottom = view.target or whole(canvas)
    out, view = (bottom - top, right - left), view.on_target()
    if image.encoded is not None:
        left, top, right, bottom = region_of(view, out, (image.height, image.width))
        return _feed(
            image.encoded.data,
            image.encoded.levels,
            (top, left),
            (bottom - top, right - left),
            view.on_part(left, top),
            out,
        )
    reduce, on_decoded = decoding_of(image, view)
    pixels = image.decode(reduce)
    return _feed(pixels.reshape(-1), None, (0, 0), pixels.shape, on_decoded, out)


def black(size: tuple[int, int]) -> Feed:
    """A picture in the place of one that can't be read, of so many pixels down and across."""
    return _feed(np.zeros(1, np.uint8), None, (0, 0), (1, 1), View(np.eye(2, 3)), size)


def _drawn(picture: GreyImage) -> Feed:
    """A picture that is drawn already."""
    return _feed(picture.reshape(-1), None, (0, 0), picture.shape, View(np.eye(2, 3)), picture.shape)._replace(
        drawn=True
    )


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
        False,
        int(levels or 0),
        target is not None,
        start,
        shape,
        shape if target is None else (target[1], target[0]),
        view.matrix,
        size,
    )
