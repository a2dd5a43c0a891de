"""Probabilities that mean what they say at another site: monotone maps, and how they are chosen on labelled cases.

* ``temperature``: the logit times one factor (Guo, Pleiss, Sun and Weinberger, ICML 2017); for any number of classes.
* ``platt``: the logit times a factor plus an offset, with Platt's targets, which keep it finite where the cases are
  separated (Platt, "Probabilistic outputs for support vector machines", 1999). The offset follows the site's
  prevalence.
* ``isotonic``: the nearest non-decreasing function (Zadrozny and Elkan, KDD 2002), linear between its steps.

None of them changes which of two cases ranks higher, but that isotonic steps tie cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xraycls.evaluation.cases import FloatArray, IntArray

_TINY = float(np.finfo(np.float64).eps)
_SMALLEST_SLOPE = 1e-3  # of the logit, below which nothing is left of the ranking
_LARGEST_SLOPE = 100.0  # so that separated cases have a temperature, too
_SETTLED = 1e-10
_STEPS = 100


def logits_of(probabilities: FloatArray) -> FloatArray:
    """The logits of probabilities, kept finite at 0 and 1 by the machine epsilon."""
    kept = np.clip(probabilities, _TINY, 1 - _TINY)
    return np.asarray(np.log(kept) - np.log1p(-kept))


@dataclass(frozen=True, slots=True)
class LogitMap:
    """Slope times the logit plus an intercept.

    Attributes:
        slope: above 0; 1 / temperature.
        intercept: the natural logarithm of a factor on the odds.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, probabilities: FloatArray) -> FloatArray:
        """Returns the probabilities that others of any shape become."""
        return np.asarray(np.exp(-np.logaddexp(0.0, -(self.slope * logits_of(probabilities) + self.intercept))))

    def described(self) -> dict[str, Any]:
        """The map as values of JSON."""
        return {"slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True, slots=True)
class StepMap:
    """A non-decreasing function through knots, linear between them and constant beyond.

    Attributes:
        x: rising probabilities of the model.
        y: what they become.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __call__(self, probabilities: FloatArray) -> FloatArray:
        """Returns the probabilities that others of any shape become."""
        return np.asarray(np.interp(probabilities, self.x, self.y))

    def described(self) -> dict[str, Any]:
        """The map as values of JSON."""
        return {"x": list(self.x), "y": list(self.y)}


ProbabilityMap = LogitMap | StepMap
SAME = LogitMap()
"""The map that changes nothing."""


def parse_map(described: Mapping[str, Any]) -> ProbabilityMap:
    """The map that :meth:`LogitMap.described` or :meth:`StepMap.described` describes.

    Raises:
        ValueError: it is none, or not monotone.
    """
    if "x" in described:
        x, y = (np.asarray(described[axis], np.float64) for axis in ("x", "y"))
        rises = len(x) == len(y) > 0 and np.isfinite(x).all() and (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
        if not rises or y[0] < 0 or y[-1] > 1:
            raise ValueError("steps that don't rise from 0 to 1")
        return StepMap(tuple(x.tolist()), tuple(y.tolist()))
    found = LogitMap(float(described["slope"]), float(described["intercept"]))
    if not (0 < found.slope < np.inf and np.isfinite(found.intercept)):
        raise ValueError("a slope that isn't above 0")
    return found


def mapped(probabilities: FloatArray, maps: Sequence[ProbabilityMap], *, multi_label: bool) -> FloatArray:
    """Probabilities with a map for each output.

    Args:
        probabilities: float64 [..., C].
        maps: C of them. Of two classes that of class 1 counts, and class 0 is what remains; of more, which have
            logit maps, slope · log p + intercept goes through a softmax.
        multi_label: whether the outputs are findings, each on its own.

    Returns:
        float64 [..., C].
    """
    if multi_label:
        return np.stack([each(probabilities[..., f]) for f, each in enumerate(maps)], axis=-1)
    if len(maps) == 2:
        positive = maps[1](probabilities[..., 1])
        return np.stack([1 - positive, positive], axis=-1)
    told = [(each.slope, each.intercept) for each in maps if isinstance(each, LogitMap)]
    slopes, intercepts = np.array(told).T
    return softmax(slopes * np.log(np.maximum(probabilities, _TINY)) + intercepts)


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities [..., C] of logits [..., C]."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def mapped_threshold(threshold: float, map_: ProbabilityMap) -> float:
    """The threshold that calls the mapped probabilities as ``threshold`` calls those of the model."""
    return threshold if threshold > 1 else float(map_(np.array(threshold)))


def fit_temperature(positive: FloatArray, probabilities: FloatArray) -> ProbabilityMap | None:
    """The slope of the greatest likelihood; None where no slope above 0 is the best.

    Args:
        positive: float64 [n], 1 or 0, with both.
        probabilities: float64 [n], the model's.
    """
    logits = logits_of(probabilities)
    found = _newton(logits[:, None], positive)[0]
    return LogitMap(min(float(found), _LARGEST_SLOPE)) if found > _SMALLEST_SLOPE else None


def fit_platt(positive: FloatArray, probabilities: FloatArray) -> ProbabilityMap | None:
    """Slope and intercept of the greatest likelihood of Platt's targets; arguments as of :func:`fit_temperature`."""
    n_positive, n_negative = positive.sum(), (1 - positive).sum()
    targets = np.where(positive == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    logits = logits_of(probabilities)
    slope, intercept = _newton(np.stack([logits, np.ones_like(logits)], axis=1), targets)
    return LogitMap(float(slope), float(intercept)) if slope > _SMALLEST_SLOPE else None


def fit_isotonic(positive: FloatArray, probabilities: FloatArray) -> ProbabilityMap | None:
    """The nearest non-decreasing function, within 1 / (n + 2) of 0 and 1; arguments as of :func:`fit_temperature`."""
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(positive) + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(probabilities, positive)
    x, y = fitted.X_thresholds_, fitted.y_thresholds_
    return StepMap(tuple(map(float, x)), tuple(map(float, y))) if y[-1] > y[0] else None


Fit = Callable[[FloatArray, FloatArray], ProbabilityMap | None]
FITS: dict[str, Fit] = {"temperature": fit_temperature, "platt": fit_platt, "isotonic": fit_isotonic}
"""How a map is chosen, by name."""


def fit_softmax_temperature(labels: IntArray, probabilities: FloatArray) -> LogitMap | None:
    """One slope for three classes or more, of the greatest likelihood; None where no slope above 0 is the best.

    Args:
        labels: int64 [n].
        probabilities: float64 [n, C].
    """
    logs = np.log(np.maximum(probabilities, _TINY))
    true, slope = logs[np.arange(len(labels)), labels], 1.0
    for _ in range(_STEPS):
        shares = softmax(slope * logs)
        means = (shares * logs).sum(axis=1)
        curvature = (shares * np.square(logs - means[:, None])).sum()
        step = (means - true).sum() / max(curvature, _TINY)
        before, slope = slope, float(np.clip(slope - step, slope / 4, 4 * slope))
        if abs(slope - before) < _SETTLED or not _SMALLEST_SLOPE < slope < _LARGEST_SLOPE:
            break
    return LogitMap(min(slope, _LARGEST_SLOPE)) if slope > _SMALLEST_SLOPE else None


def _newton(columns: FloatArray, targets: FloatArray) -> FloatArray:
    """The coefficients [k] of columns [n, k] whose sigmoid has the greatest likelihood, by Newton's method.

    Steps that would raise the loss are halved, and the search ends where a coefficient grows beyond use.
    """

    def loss(coefficients: FloatArray) -> float:
        logits = columns @ coefficients
        return float((np.logaddexp(0.0, logits) - targets * logits).sum())

    found = np.eye(columns.shape[1])[0]
    now = loss(found)
    for _ in range(_STEPS):
        shares = np.exp(-np.logaddexp(0.0, -(columns @ found)))
        gradient = columns.T @ (shares - targets)
        curvature = (columns * (shares * (1 - shares))[:, None]).T @ columns
        step = np.linalg.solve(curvature + _TINY * np.eye(len(found)), gradient)
        while (after := loss(found - step)) > now + _SETTLED and np.abs(step).max() > _SETTLED:
            step = step / 2
        found, now = found - step, after
        if np.abs(step).max() < _SETTLED or np.abs(found[0]) > _LARGEST_SLOPE:
            break
    return np.asarray(found, np.float64)
