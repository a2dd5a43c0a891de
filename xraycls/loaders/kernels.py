"""The inner loops of the loaders on a CPU: compiled where that could be, else by OpenCV and NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.image import GreyImage
from xraycls.loaders.views import Floats

try:
    from xraycls.loaders import _kernels
except ImportError:  # installed where there is no compiler
    IS_COMPILED = False
else:
    IS_COMPILED = bool(_kernels.is_fast)


def warp(pictures: Sequence[GreyImage], matrices: Floats, outs: Sequence[GreyImage], fill: int | None) -> None:
    """Draw bilinear samples of pictures, all in one go and without the interpreter's lock.

    Compiled and OpenCV's pictures are the same but for rounding: positions have 1/128 of a pixel.

    Args:
        pictures: uint8 [height, width] each.
        matrices: float64 [n, 2, 3], from points of each output to points of its picture, in pixels from the top-left
            corner with centres at one half.
        outs: uint8 [height, width] each, drawn on.
        fill: grey level outside a picture, 0–255; None repeats its edge.
    """
    if IS_COMPILED:
        try:
            _kernels.warp(pictures, np.ascontiguousarray(matrices, np.float64), outs, -1 if fill is None else fill)
            return
        except OverflowError:  # a view of more pixels than the kernel's positions can tell apart
            pass
    border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for picture, matrix, out in zip(pictures, _from_centres(matrices), outs, strict=True):
        size = out.shape[::-1]
        cv2.warpAffine(picture, matrix, size, dst=out, flags=flags, borderMode=border, borderValue=(fill or 0,))


def _from_centres(matrices: Floats) -> Floats:
    """Matrices in OpenCV's coordinates, where the centre of the first pixel is 0; [..., 2, 3]."""
    matrices = matrices.copy()
    matrices[..., 2] += matrices[..., :2].sum(axis=-1) * 0.5 - 0.5
    return matrices


def normalize(
    pictures: GreyImage,
    out: npt.NDArray[np.float32],
    means: npt.NDArray[np.float32],
    factors: npt.NDArray[np.float32],
) -> None:
    """Write ``(grey - mean) * factor`` of every channel, without the interpreter's lock; to the bit as torch does.

    Args:
        pictures: uint8 [n, H, W].
        out: float32 [n, C, H, W], written to.
        means: float32 [C].
        factors: float32 [C].
    """
    if IS_COMPILED:
        _kernels.normalize(np.ascontiguousarray(pictures), out, means, factors)
        return
    for picture, planes in zip(pictures, out, strict=True):
        for plane, mean, factor in zip(planes, means, factors, strict=True):
            np.copyto(plane, picture)
            np.subtract(plane, mean, out=plane)
            np.multiply(plane, factor, out=plane)
