"""Anchors for YOLO from the shapes of the objects to be found: k-means by overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from xraycls.errors import UsageError

Shapes = npt.NDArray[np.float64]


def cluster_shapes(
    shapes: Shapes,
    clusters: int = 9,
    *,
    seed: int = 0,
    first: Sequence[int] | None = None,
    max_steps: int = 10_000,
    on_step: Callable[[int], None] = lambda step: None,
) -> Shapes:
    """Returns the centres of clusters of widths and heights, float64 [clusters, 2], by rising area.

    As TAO's ``kmeans``: a shape belongs to the centre that it overlaps most (IoU with aligned centres; of equals the
    first), a centre is the median width and height of its shapes, and the search ends when nothing changes. A centre
    that no shape belongs to stays where it is, where TAO's becomes NaN.

    Args:
        shapes: [n, 2], widths and heights in any unit.
        clusters: the number of centres.
        seed: of the different shapes that are the first centres.
        first: their rows instead, one a cluster.
        max_steps: after which the search ends in any case.
        on_step: is told the number of each step, from 0.

    Raises:
        UsageError: there are fewer different shapes than clusters.

    Example:
        >>> import numpy as np
        >>> from xraycls.models.detection.kmeans import cluster_shapes
        >>> shapes = np.array([[10.0, 10.0], [11.0, 10.0], [12.0, 10.0], [40.0, 80.0], [40.0, 82.0], [40.0, 84.0]])
        >>> cluster_shapes(shapes, clusters=2).tolist()
        [[11.0, 10.0], [40.0, 82.0]]
    """
    different = np.unique(shapes, axis=0)
    if len(different) < clusters:
        raise UsageError(
            f"{clusters} anchors can't be found in {len(shapes)} boxes of {len(different)} different shapes",
            "Ask for fewer clusters, or give more labels",
        )
    drawn = np.random.default_rng(seed).choice(len(different), clusters, replace=False)
    centres = (different[drawn] if first is None else shapes[list(first)]).astype(np.float64)
    nearest = np.zeros(len(shapes), np.int64)
    for step in range(max_steps):
        on_step(step)
        again = shape_iou(shapes, centres).argmax(axis=1)
        if np.array_equal(again, nearest):
            break
        nearest = again
        for cluster in np.unique(nearest):
            centres[cluster] = np.median(shapes[nearest == cluster], axis=0)
    return centres[np.argsort(centres.prod(axis=1), kind="stable")]


def shape_iou(first: Shapes, second: Shapes) -> Shapes:
    """Returns the IoU [n, m] of widths and heights [n, 2] and [m, 2], with aligned centres."""
    common = np.minimum(first[:, None], second).prod(axis=2)
    overlap: Shapes = common / (first.prod(axis=1)[:, None] + second.prod(axis=1) - common)
    return overlap
