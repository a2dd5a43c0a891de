"""Exact class activation maps, which an exported classifier gives beside its logits; imports no torch."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_SMALLEST = 1e-7  # that a map is divided by at least


def scaled_map(weighed: npt.NDArray[np.floating], height: int, width: int) -> npt.NDArray[np.float32]:
    """Returns a map at the size of the picture, 0–1, as Grad-CAM scales its own.

    Of a network that ends with averaged features and a linear layer, the sum of features weighed by a class's row of
    that layer (Zhou et al. 2016) is Grad-CAM's map but for a factor (Selvaraju et al. 2017, section 3.1).

    Args:
        weighed: [h, w], what each position adds to the logit.
        height: of the picture, pixels.
        width: of the picture, pixels.

    Returns:
        float32 [height, width]; 1 where most speaks for the class, 0 where nothing does.
    """
    positive = np.maximum(weighed.astype(np.float32), 0.0)
    return _stretched(np.asarray(cv2.resize(_stretched(positive), (width, height)), np.float32))


def _stretched(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    from_zero = values - values.min()
    return np.asarray(from_zero / (_SMALLEST + from_zero.max()), np.float32)
