"""Which filters stay: TAO's rule, as pure functions of numpy arrays.

Everything is computed in the number format of the weights, the comparison with the threshold included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]


def filter_norms(kernel: Floats) -> Floats:
    """The L2 norm of each output filter, [n], of a kernel [n, …]; of a depthwise convolution that is a channel's."""
    norms: Floats = np.sqrt(np.square(kernel).sum(axis=tuple(range(1, kernel.ndim))))
    return norms


def _by_largest(norms: Floats) -> Floats:
    largest = norms.max()
    return norms / largest if largest > 0 else norms


def _by_length(norms: Floats) -> Floats:
    length = np.sqrt(np.square(norms).sum())
    return norms / length * len(norms) if length > 0 else norms


NORMALIZERS: dict[str, Callable[[Floats], Floats]] = {
    "max": _by_largest,  # the strongest filter of a layer has 1
    "L2": _by_length,  # of the order of the square root of the number of filters
    "off": lambda norms: norms,
}


def _geometric_mean(stats: Floats) -> Floats:
    with np.errstate(divide="ignore"):  # the logarithm of 0 is minus infinity, and its mean becomes 0 again
        mean: Floats = np.exp(np.log(stats).mean(axis=0))
    return mean


CRITERIA: dict[str, Callable[[Floats], Floats]] = {
    "union": lambda stats: stats.max(axis=0),
    "intersection": lambda stats: stats.min(axis=0),
    "arithmetic_mean": lambda stats: stats.mean(axis=0),
    "geometric_mean": _geometric_mean,
}


def merged(stats: Sequence[Floats], criterion: str) -> Floats:
    """One statistic for layers whose channels must be kept or removed together.

    Args:
        stats: the normalised norms of each layer, all [n].
        criterion: one of ``CRITERIA``.

    Returns:
        [n]; a single layer's own statistic.
    """
    return CRITERIA[criterion](np.stack(stats)) if len(stats) > 1 else stats[0]


def kept_filters(stat: Floats, *, threshold: float, granularity: int, min_filters: int) -> Indices:
    """The filters to keep, ascending.

    As many are kept as lie above the threshold, but at least ``min_filters``, rounded up to a multiple of the
    granularity, and at most all; the strongest are taken, of equal ones the first.

    Args:
        stat: a value a filter, [n].
        threshold: what a filter must exceed.
        granularity: 1 or more.
        min_filters: 0 or more.
    """
    count = max(int(np.count_nonzero(stat > threshold)), min(min_filters, len(stat)))
    count = min(-(-count // granularity) * granularity, len(stat))
    kept: Indices = np.sort(np.argsort(-stat, kind="stable")[:count])
    return kept
