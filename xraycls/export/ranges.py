"""Ranges of activations by what calibration pictures make of them: by entropy, a percentile, or the largest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from xraycls.models.classifier import Classifier
from xraycls.models.detection.base import Detector
from xraycls.models.quantization import LARGEST, quantizers_of

Counts = npt.NDArray[np.float64]

PERCENTILE = 99.99
_BINS, _STRIDE, _BATCH = 2048, 8, 8
_LEVELS = LARGEST + 1  # of magnitudes that 8 bits tell apart


class Histogram:
    """How often magnitudes occur, in bins of a width that the first values decide; later ones may add bins.

    Attributes:
        counts: float64 [n], of values.
        width: of a bin; 0 before the first values.
        largest: magnitude that was seen.
    """

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(_BINS)
        self.width = 0.0
        self.largest = 0.0

    def add(self, values: torch.Tensor) -> None:
        """Count values of any shape."""
        magnitudes = values.detach().float().abs()
        largest = float(magnitudes.max())
        self.largest = max(self.largest, largest)
        if not self.largest:  # nothing but zeros so far: they say nothing of a width
            return
        self.width = self.width or self.largest / _BINS
        bins = max(len(self.counts), int(np.ceil(largest / self.width)))
        found = torch.histc(magnitudes, bins=bins, min=0.0, max=bins * self.width).double().numpy()
        self.counts = np.concatenate([self.counts, np.zeros(bins - len(self.counts))]) + found


def largest_limit(histogram: Histogram) -> float:
    """Returns the largest magnitude, so that nothing is cut."""
    return histogram.largest


def percentile_limit(histogram: Histogram, percentile: float = PERCENTILE) -> float:
    """Returns the magnitude that a percentage of all values, 0–100, doesn't exceed, to the width of a bin."""
    share = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1.0)
    end = int(np.searchsorted(share, percentile / 100)) + 1
    return min(end * histogram.width, histogram.largest)


def entropy_limit(histogram: Histogram) -> float:
    """Returns the limit whose 8-bit distribution of magnitudes has the least divergence from the true one.

    Kullback–Leibler divergence over all limits, as in NVIDIA's TensorRT (Migacz, GTC 2017).
    """
    counts = histogram.counts.copy()
    counts[0] = counts[1]  # the zeros of a ReLU say nothing of where to cut
    ends = range(_LEVELS, len(counts) + 1, _STRIDE)
    best = min(ends, key=lambda end: _divergence(counts, end))
    return min(best * histogram.width, histogram.largest)


def _divergence(counts: Counts, end: int) -> float:
    """Of the first bins, with all that lies beyond in the last of them, from the same in 128 levels."""
    true = counts[:end].copy()
    true[-1] += counts[end:].sum()
    edges = np.linspace(0, end, _LEVELS + 1).astype(int)
    occupied = true > 0
    sums = np.add.reduceat(counts[:end], edges[:-1])
    level = sums / np.maximum(np.add.reduceat(occupied.astype(float), edges[:-1]), 1.0)
    coarse = np.repeat(level, np.diff(edges))[occupied]
    true = true[occupied]
    if not len(true) or (coarse <= 0).any():
        return float("inf")
    p, q = true / true.sum(), coarse / coarse.sum()
    return float((p * np.log(p / q)).sum())


METHODS: Mapping[str, Callable[[Histogram], float]] = {
    "entropy": entropy_limit,
    "percentile": percentile_limit,
    "max": largest_limit,
}
"""How ranges are chosen, by name; the first is TensorRT's own."""


def calibrate(model: Classifier | Detector, pictures: npt.NDArray[np.uint8], method: str) -> None:
    """Give the quantisers of a model their ranges, in place.

    Args:
        model: on the CPU, in evaluation mode, its ``net`` quantised.
        pictures: uint8 [n, 1, H, W], as the model takes them.
        method: one of :data:`METHODS`.
    """
    quantizers = quantizers_of(model.net)
    histograms = {path: Histogram() for path in quantizers}
    hooks = []
    for path, quantizer in quantizers.items():
        quantizer.enabled = False

        def note(_module: nn.Module, inputs: tuple[torch.Tensor, ...], path: str = path) -> None:
            histograms[path].add(inputs[0])

        hooks.append(quantizer.register_forward_pre_hook(note))
    with torch.no_grad():
        for first in range(0, len(pictures), _BATCH):
            model(torch.from_numpy(pictures[first : first + _BATCH]))
    for hook in hooks:
        hook.remove()
    for path, quantizer in quantizers.items():
        quantizer.enabled = True
        quantizer.limit.fill_(METHODS[method](histograms[path]))
