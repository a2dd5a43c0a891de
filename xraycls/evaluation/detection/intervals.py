"""Figures with bootstrap intervals: images, or all images of a patient at once, are drawn with replacement.

Matching doesn't depend on which images are drawn, so it is done once; every figure here is a function of how often
each image counts. A resample that leaves a figure undefined, such as one without a single box to find, is left out
of its interval.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xraycls.evaluation.cases import FloatArray, IntArray
from xraycls.evaluation.intervals import Statistic, bootstrap, percentile_interval
from xraycls.evaluation.report import Estimate

RESAMPLES = 1000


def estimates(
    statistic: Statistic,
    n_images: int,
    *,
    groups: IntArray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Mapping[str, list[Estimate]]:
    """Every figure of the sample with its 95 % percentile interval.

    Args:
        statistic: from weights float64 [R, I] to named figures [R] or [R, k].
        n_images: I, at least 1.
        groups: int64 [I], the patient of each image; None: each image stands alone.
        resamples: how many to draw; 0 leaves the intervals NaN.
        seed: the same seed gives the same intervals.

    Returns:
        k estimates a name, one for a figure [R].
    """
    exact = statistic(np.ones((1, n_images)))
    drawn = bootstrap(statistic, n_images, groups=groups, resamples=resamples, seed=seed) if resamples else exact
    return {name: _estimates(value.reshape(-1), drawn[name], bool(resamples)) for name, value in exact.items()}


def _estimates(values: FloatArray, drawn: FloatArray, resampled: bool) -> list[Estimate]:
    columns = drawn.reshape(len(drawn), -1).T
    nothing = float("nan"), float("nan")
    return [
        Estimate(float(value), *(percentile_interval(column) if resampled else nothing))
        for value, column in zip(values, columns, strict=True)
    ]
