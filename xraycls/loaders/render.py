"""Render a view of an image on the CPU: decode no more than needed, shrink antialiased, warp once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from xraycls.data.image import GreyImage, Image
from xraycls.errors import DataError
from xraycls.loaders.kernels import warp
from xraycls.loaders.views import Canvas, Floats, Rectangle, View, Views, whole

# Source pixels an output pixel, up to which bilinear sampling of 2×2 neighbours stays below a grey level from exact.
ALIAS_FREE = 2.0
_COARSE = 0.5  # below which the border of the image would fade over several output pixels
# Pixels that shrinking leaves an output pixel. With 1 the filters of shrinking and warping add up to a blur: 0.7–0.8
# grey levels from an exact rendering, against 0.6.
_DENSITY = 1.75
_HALVED = 1.6 * _DENSITY
_MARGIN = 2  # pixels around a region for interpolation, beside those for the filter of the resampling


def render(image: Image, view: View, canvas: Canvas) -> GreyImage:
    """The picture that ``view`` describes, uint8 [height, width] of the canvas.

    Raises:
        DataError: the image can't be decoded; names the file.
    """
    picture = np.empty(canvas.shape, np.uint8)
    draw(image, view, canvas, picture)
    if view.target is not None:
        fill_around(picture, [view.target], canvas)
    return picture


def draw(image: Image, view: View, canvas: Canvas, picture: GreyImage) -> None:
    """Draw what ``view`` describes into its target on ``picture``, uint8 [height, width] of the canvas.

    Raises:
        DataError: the image can't be decoded; names the file.
    """
    left, top, right, bottom = view.target or whole(canvas)
    out = picture[top:bottom, left:right]
    reduce, on_decoded = decoding_of(image, view.on_target())
    pixels, on_pixels = resampled(image.decode(reduce), on_decoded, out.shape)
    warp([pixels], on_pixels.matrix[None], [out], canvas.fill)
    if view.is_photometric:
        cv2.LUT(out, view.curve, dst=out)


def draw_each(
    images: Sequence[Image | DataError], views: Views, canvas: Canvas, pictures: Sequence[GreyImage]
) -> dict[int, DataError]:
    """Draw several pictures as :func:`draw` does, to the bit, with the arithmetic of all of them done at once.

    Args:
        images: opened; the error of one that can't be.
        views: of each.
        canvas: of all.
        pictures: uint8 [height, width] each, what each is drawn on; several may share one.

    Returns:
        Those that could not be drawn, by number, and why.
    """
    on_pixels = views.on_targets().on_grid(*grids_of(images).T)
    # One warp of the whole picture is enough: neither a smaller decoding nor resampling comes first.
    direct = (on_pixels.scales >= _COARSE) & (on_pixels.steps.max(axis=1) < ALIAS_FREE)
    targets = [whole(canvas)] * len(images) if views.targets is None else views.targets.tolist()
    failed: dict[int, DataError] = {}
    numbers, pixels, outs = [], [], []
    for number, (image, is_direct, picture) in enumerate(zip(images, direct.tolist(), pictures, strict=True)):
        try:
            if isinstance(image, DataError):
                raise image
            if not is_direct:
                draw(image, views[number], canvas, picture)
                continue
            pixels.append(image.decode(1))
        except DataError as error:
            failed[number] = error
            continue
        left, top, right, bottom = targets[number]
        numbers.append(number)
        outs.append(picture[top:bottom, left:right])
    warp(pixels, on_pixels.matrices[numbers], outs, canvas.fill)
    if views.is_photometric:
        for out, curve in zip(outs, views.curves[numbers], strict=True):
            cv2.LUT(out, curve, dst=out)
    return failed


def grids_of(images: Sequence[Image | DataError]) -> Floats:
    """:attr:`Image.grid` of each, float64 [n, 2]; 1 for those that can't be opened."""
    grids = [(1.0, 1.0) if isinstance(image, DataError) else image.grid for image in images]
    return np.array(grids, np.float64).reshape(-1, 2)


def fill_around(picture: GreyImage, targets: Sequence[Rectangle], canvas: Canvas) -> None:
    """Fill what lies outside all ``targets`` of a picture, with the canvas's grey or the mean of what they hold."""
    outside = np.ones(picture.shape, np.bool_)
    for left, top, right, bottom in targets:
        outside[top:bottom, left:right] = False
    if outside.any():
        fill = canvas.fill
        if fill is None:
            fill = 0 if outside.all() else round(float(picture[~outside].mean()))
        picture[outside] = fill


def decoding_of(image: Image, view: View) -> tuple[int, View]:
    """The largest reduction, 1, 2, 4 or 8, that leaves a decoded pixel for every output pixel, and the view there."""
    scale = view.on_grid(*image.grid).scale
    reduce = max((s for s in image.scales if s <= scale), default=1)
    return reduce, view.on_grid(image.grid[0] / reduce, image.grid[1] / reduce)


def resampled_size(width: int, height: int, view: View) -> tuple[int, int] | None:
    """Width and height to resample a picture to before the warp.

    None where the warp alone neither aliases nor lets the black outside seep into coarse pixels at the border.
    """
    across, down = _steps(view)
    if view.scale < _COARSE:
        return max(round(width / min(across, 1.0)), 1), max(round(height / min(down, 1.0)), 1)
    if max(across, down) <= ALIAS_FREE:
        return None
    return max(round(width / max(across / _DENSITY, 1.0)), 1), max(round(height / max(down / _DENSITY, 1.0)), 1)


def resampled(pixels: GreyImage, view: View, shape: tuple[int, int]) -> tuple[GreyImage, View]:
    """Pixels that a bilinear warp to an output of so many rows and columns takes well, and the view of them.

    Only what the view can touch is resampled. Exact halves come first: averaging 2×2 pixels takes a tenth of the time
    of averaging over any other area.
    """
    if resampled_size(pixels.shape[1], pixels.shape[0], view) is None:
        return pixels, view
    left, top, right, bottom = region_of(view, shape, pixels.shape)
    pixels, view = pixels[top:bottom, left:right], view.on_part(left, top)
    while min(_steps(view)) >= _HALVED and min(pixels.shape) > 1:
        pixels, view = _half(pixels), view.on_grid(0.5, 0.5)
    height, width = pixels.shape
    size = resampled_size(width, height, view)
    if size is None:
        return pixels, view
    # Up to a factor of 2 bilinear sampling is as good as averaging, and three times as fast.
    averaged = max(width / size[0], height / size[1]) > ALIAS_FREE
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if averaged else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8), view.on_grid(size[0] / width, size[1] / height)


def region_of(view: View, shape: tuple[int, int], source: tuple[int, int]) -> Rectangle:
    """The pixels of the source that a view can touch when it is resampled and interpolated.

    Args:
        view: without a target.
        shape: rows and columns of the output.
        source: rows and columns of the source.
    """
    margin = _MARGIN + max(_steps(view))
    edges = []
    for (by_column, by_row, start), limit in zip(view.matrix.tolist(), source[::-1], strict=True):
        columns, rows = by_column * shape[1], by_row * shape[0]
        low = start + min(columns, 0.0) + min(rows, 0.0) - margin
        high = start + max(columns, 0.0) + max(rows, 0.0) + margin
        first = min(max(math.floor(low), 0), limit - 1)
        edges.append((first, min(max(math.ceil(high), first + 1), limit)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def _steps(view: View) -> tuple[float, float]:
    """Source pixels from an output pixel to the next, across and down the source."""
    (a, b, _), (c, d, _) = view.matrix.tolist()
    return math.hypot(a, b), math.hypot(c, d)


def _half(pixels: GreyImage) -> GreyImage:
    """Means of 2×2 pixels; an odd last row or column counts twice."""
    height, width = pixels.shape
    if height % 2 or width % 2:
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
    shape = pixels.shape[1] // 2, pixels.shape[0] // 2
    return np.asarray(cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA), np.uint8)
