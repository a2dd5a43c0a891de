"""Render a view of an image on the CPU: decode no more than needed, shrink antialiased, warp once."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.image import GreyImage, Image
from xraycls.loaders.recipe import View

# Up to here bilinear sampling of the 2×2 neighbourhood stays below one grey level from an exact rendering (measured).
_ALIAS_FREE = 2.0


def render(image: Image, view: View, size: int) -> GreyImage:
    """The picture that ``view`` describes, uint8 [size, size]; black outside the image.

    Raises:
        DataError: the image can't be decoded; names the file.
    """
    reduce = scale_of_decoding(image, view)
    pixels, matrix = _shrunk(image.decode(reduce), view.matrix / reduce, view.scale / reduce)
    # From corner-based coordinates to OpenCV's, where the centre of the first pixel is 0.
    matrix[:, 2] += matrix[:, :2].sum(axis=1) * 0.5 - 0.5
    picture = cv2.warpAffine(
        pixels,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    if view.is_photometric:
        picture = cv2.LUT(picture, grey_curve(view))
    return np.asarray(picture, dtype=np.uint8)


def scale_of_decoding(image: Image, view: View) -> int:
    """The largest reduction, 1, 2, 4 or 8, that still leaves a decoded pixel for every output pixel."""
    scale = view.scale
    return max((s for s in image.scales if s <= scale), default=1)


def grey_curve(view: View) -> npt.NDArray[np.uint8]:
    """The view's change of grey levels as a table of 256, uint8 [256]."""
    levels = (np.arange(256) / 255.0) ** view.gamma
    levels = (levels - 0.5) * view.contrast + 0.5 + view.brightness
    return np.asarray(np.clip(levels * 255.0 + 0.5, 0, 255), dtype=np.uint8)


def _shrunk(
    pixels: GreyImage, matrix: npt.NDArray[np.float64], scale: float
) -> tuple[GreyImage, npt.NDArray[np.float64]]:
    """Pixels area-averaged to about one source pixel an output pixel, and the matrix that fits them."""
    if scale <= _ALIAS_FREE:
        return pixels, matrix
    height, width = pixels.shape
    target = max(round(width / scale), 1), max(round(height / scale), 1)
    shrunk = np.asarray(cv2.resize(pixels, target, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return shrunk, matrix * np.array([[target[0] / width], [target[1] / height]])
