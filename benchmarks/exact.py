"""An exact rendering of a view by Pillow alone: full decode, then area averages of a fine grid of samples."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from xraycls.loaders.recipe import View


def exact_rendering(path: Path, view: View, size: int) -> npt.NDArray[np.float64]:
    """The picture as float64 [size, size]: every output pixel is the mean of a grid of bilinear samples.

    The grid is at least twice as fine as the source pixels, so the area that an output pixel covers is integrated,
    whatever the scale; black outside the image. Grey levels change on the mean, as in the engines.
    """
    fine = max(4, 2 * math.ceil(np.linalg.svd(view.matrix[:, :2], compute_uv=False)[0]))
    with Image.open(path) as image:
        grey = image.convert("L")
    matrix = view.matrix / np.array([fine, fine, 1.0])
    samples = grey.transform(
        (size * fine, size * fine), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BILINEAR
    )
    mean = np.asarray(samples, np.float64).reshape(size, fine, size, fine).mean(axis=(1, 3)) / 255.0
    changed = (mean**view.gamma - 0.5) * view.contrast + 0.5 + view.brightness
    return np.asarray(np.clip(changed, 0.0, 1.0) * 255.0)
