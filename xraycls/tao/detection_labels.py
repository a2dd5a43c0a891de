"""KITTI labels of what was found, as TAO's inference writes them: 16 tokens a line, the score last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def detection_labels(boxes: Floats, names: Sequence[str], scores: Floats) -> str:
    """The text of a label file; empty when nothing was found.

    Numbers are the shortest decimals that read back as the same float32, and boxes are not clipped, both as TAO's SSD
    and YOLO have it. Blanks in a class become underscores, since tokens are told apart by them.

    Args:
        boxes: float32 [n, 4], left, top, right and bottom in pixels of the picture.
        names: n, the class of each.
        scores: float32 [n], 0–1.
    """
    lines = []
    for box, name, score in zip(boxes.astype(np.float32), names, scores.astype(np.float32), strict=True):
        corners = " ".join(map(str, box))
        lines.append(f"{'_'.join(name.split())} 0 0 0 {corners} 0 0 0 0 0 0 0 {score!s}\n")
    return "".join(lines)
