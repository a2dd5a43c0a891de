"""KITTI labels of what was found, as TAO's inference writes them: 16 tokens a line, the score last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def detection_labels(
    boxes: Floats, names: Sequence[str], scores: Floats, decimals: tuple[int, int] | None = None
) -> str:
    """The text of a label file; empty when nothing was found.

    Numbers are the shortest decimals that read back as the same float32, and boxes are not clipped, both as TAO's SSD
    and YOLO have it. Blanks in a class become underscores, since tokens are told apart by them.

    Args:
        boxes: float32 [n, 4], left, top, right and bottom in pixels of the picture.
        names: n, the class of each.
        scores: float32 [n], 0–1.
        decimals: of corners and of scores, as TAO's Faster R-CNN has 2 and 7; None for the shortest.
    """
    lines = []
    for box, name, score in zip(boxes.astype(np.float32), names, scores.astype(np.float32), strict=True):
        corners = " ".join(f"{corner:.{decimals[0]}f}" if decimals else str(corner) for corner in box)
        shown = f"{score:.{decimals[1]}f}" if decimals else str(score)
        lines.append(f"{'_'.join(name.split())} 0 0 0 {corners} 0 0 0 0 0 0 0 {shown}\n")
    return "".join(lines)
