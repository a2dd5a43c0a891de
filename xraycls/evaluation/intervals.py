"""Bootstrap confidence intervals (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).

Cases are drawn with replacement, as many as there are, without regard to class: the number of positives then varies
as it would in a new sample, which a figure such as accuracy depends on. Cases of one patient aren't independent;
given ``groups``, whole patients are drawn instead of images (the cluster bootstrap).

The percentile interval serves every figure but one. The expected calibration error sums absolute gaps, so the noise
that resampling adds can only raise it, and a well calibrated model's percentile interval lies above the truth. The
basic interval mirrors the resamples around the estimate and so takes that bias off. In simulations of miscalibrated
models with 200 to 2,000 cases it covers the truth 84–93 % of the time, the percentile interval 0–93 %; where
calibration is perfect both still lie too high, for the estimate itself does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt

from xraycls.evaluation.cases import FloatArray, IntArray

RESAMPLES = 2000
CONFIDENCE = 0.95
# Elements of one [R, n] array: 2 MB, so that the temporaries of a statistic stay in the processor's cache.
_CHUNK = 2**18

Statistic = Callable[[FloatArray], dict[str, FloatArray]]


def bootstrap(
    statistic: Statistic,
    n: int,
    *,
    groups: IntArray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    dtype: npt.DTypeLike = np.float64,
) -> dict[str, FloatArray]:
    """The figures of every resample.

    Args:
        statistic: from weights float64 [R, n], how often each case was drawn, to named figures [R, ...].
        n: cases, at least 1.
        groups: int64 [n], the group of each case, as :func:`group_indices` gives it; None: each stands alone.
        resamples: how many to draw.
        seed: the same seed gives the same resamples.
        dtype: of the weights, which are whole numbers.

    Returns:
        Named figures [resamples, ...]; NaN where a resample leaves one undefined.
    """
    rng = np.random.default_rng(seed)
    members = np.arange(n) if groups is None else groups
    rows = max(1, _CHUNK // n)
    parts = [
        statistic(draw_counts(members, min(rows, resamples - start), rng, dtype)) for start in range(0, resamples, rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def draw_counts(
    members: IntArray, resamples: int, rng: np.random.Generator, dtype: npt.DTypeLike = np.float64
) -> FloatArray:
    """How often each case is drawn when whole groups are, with replacement.

    Args:
        members: int64 [n], the group of each case, 0 to G - 1 without gaps.
        resamples: R.
        rng: where chance comes from.
        dtype: of the counts.

    Returns:
        [R, n], whole numbers; cases of one group have the same count.
    """
    n_groups = int(members.max()) + 1
    drawn = rng.integers(n_groups, size=(resamples, n_groups))
    counts = np.stack([np.bincount(row, minlength=n_groups) for row in drawn]).astype(dtype)
    return counts if np.array_equal(members, np.arange(n_groups)) else counts.take(members, axis=1)


def group_indices(groups: Sequence[Hashable | None]) -> IntArray:
    """Groups as int64 [n], 0 to G - 1 in order of appearance; each None is a group of its own."""
    numbers: dict[Hashable, int] = {}
    keys = (("", i) if group is None else group for i, group in enumerate(groups))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def percentile_interval(values: FloatArray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval of one figure.

    Args:
        values: float64 [resamples]; NaN, where a resample left the figure undefined, is left out.
        confidence: 0–1, how often the interval should hold the true figure.

    Returns:
        Low and high; both NaN when no resample defines the figure.
    """
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def basic_interval(
    values: FloatArray, estimate: float, confidence: float = CONFIDENCE, floor: float = 0.0
) -> tuple[float, float]:
    """The basic (reverse percentile) interval of one figure, widened to hold the estimate itself.

    [2·estimate - high, 2·estimate - low] of the percentile interval: Davison and Hinkley, "Bootstrap Methods and
    their Application" (1997), section 2.4.

    Args:
        values: float64 [resamples]; NaN is left out.
        estimate: the figure of the sample.
        confidence: 0–1, how often the interval should hold the true figure.
        floor: the least value that the figure can take.

    Returns:
        Low and high; both NaN when no resample defines the figure.
    """
    low, high = percentile_interval(values, confidence)
    if math.isnan(low):
        return low, high
    return max(floor, 2 * estimate - high), max(estimate, 2 * estimate - low)
