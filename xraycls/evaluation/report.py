"""Predictions in, a report out: every figure with its 95 % interval, at 0.5 and at the operating threshold."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from xraycls.errors import DataError, UsageError, XrayclsError
from xraycls.evaluation.cases import FloatArray, IntArray, predicted_classes
from xraycls.evaluation.intervals import (
    CONFIDENCE,
    RESAMPLES,
    basic_interval,
    bootstrap,
    group_indices,
    percentile_interval,
)
from xraycls.evaluation.metrics import METRICS, PER_CLASS, AtThreshold, WeightedFigures, confusion


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON: ``{"value": …, "interval": [low, high]}``, null where undefined."""
        return {"value": without_nan(self.value), "interval": without_nan([self.low, self.high])}


@dataclass(frozen=True)
class Figures:
    """What a classifier is worth at one decision threshold.

    Attributes:
        threshold: two classes: class 1 is called where its probability is at least this; None for more, where the
            most probable class is called.
        overall: every metric of ``METRICS``.
        per_class: class name → every metric of ``PER_CLASS``.
        confusion: counts, a true class a row, a predicted class a column.
    """

    threshold: float | None
    overall: Mapping[str, Estimate]
    per_class: Mapping[str, Mapping[str, Estimate]]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Report:
    """What a classifier is worth on one set of cases.

    Attributes:
        classes: class names in the order of the model's outputs; of two the second is the positive one.
        counts: class name → cases of it.
        unlabelled: cases left out for want of a label.
        figures: at a threshold of 0.5, for two classes.
        operating: at the operating threshold; None without one.
        resamples: how many resamples the intervals rest on.
        groups: independent groups, such as patients, that were resampled; None when single cases were.
    """

    classes: tuple[str, ...]
    counts: Mapping[str, int]
    unlabelled: int
    figures: Figures
    operating: Figures | None
    resamples: int
    groups: int | None

    @property
    def n(self) -> int:
        """Cases with a label, from which every figure is computed."""
        return sum(self.counts.values())

    @property
    def positive_class(self) -> str | None:
        """The positive one of two classes; None for more."""
        return self.classes[1] if len(self.classes) == 2 else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: every metric by name at the top, and the rest beside them; NaN is null."""
        at = self.operating
        return {
            **{name: estimate.to_dict() for name, estimate in self.figures.overall.items()},
            "at_threshold": at
            and {
                "threshold": at.threshold,
                **{name: at.overall[name].to_dict() for name, metric in METRICS.items() if metric.at_threshold},
            },
            "n": self.n,
            "unlabelled": self.unlabelled,
            "classes": list(self.classes),
            "positive_class": self.positive_class,
            "per_class": self._classes_to_dict(self.figures),
            "per_class_at_threshold": at and self._classes_to_dict(at),
            "confusion": [list(row) for row in self.figures.confusion],
            "confusion_at_threshold": at and [list(row) for row in at.confusion],
            "bootstrap": {"confidence": CONFIDENCE, "resamples": self.resamples, "groups": self.groups},
        }

    def _classes_to_dict(self, figures: Figures) -> dict[str, Any]:
        return {
            title: {
                **{name: estimate.to_dict() for name, estimate in row.items()},
                "support": self.counts[title],
            }
            for title, row in figures.per_class.items()
        }


def evaluate(
    labels: IntArray,
    probabilities: FloatArray,
    classes: Sequence[str],
    *,
    threshold: float | FloatArray | None = None,
    groups: Sequence[Hashable | None] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Report:
    """Every figure of a classifier, each with a 95 % bootstrap interval.

    Args:
        labels: int64 [n]; below 0 unknown, left out and counted.
        probabilities: float64 [n, C], rows that sum to 1.
        classes: C names; of two the second is the positive one.
        threshold: the operating threshold, chosen on other cases; two classes only. Or float64 [n], that of each case,
            where several models predicted them; the report then names the mean.
        groups: [n], what each case belongs to, such as its patient, None standing alone: whole groups are resampled.
        resamples: how many resamples the intervals rest on.
        seed: the same seed gives the same intervals.

    Raises:
        DataError: no case has a label.
        UsageError: a threshold with three classes or more.
        XrayclsError: a probability isn't a number.

    Example:
        >>> import numpy as np, xraycls
        >>> labels = np.array([0, 0, 1, 1])
        >>> probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
        >>> report = xraycls.evaluate(labels, probabilities, ["NORMAL", "PNEUMONIA"], resamples=100)
        >>> report.figures.overall["accuracy"].value, report.figures.overall["auroc"].value
        (0.75, 1.0)
        >>> report.figures.confusion
        ((1, 1), (0, 2))
    """
    if threshold is not None and len(classes) != 2:
        raise UsageError(f"An operating threshold needs two classes, and there are {len(classes)}")
    known = labels >= 0
    if not known.any():
        raise DataError("There is nothing to evaluate: not one image has a label", hint="Predict needs no labels")
    y, p = labels[known], probabilities[known].astype(np.float64)
    diverged = int((~np.isfinite(p)).any(axis=1).sum())
    if diverged:
        raise XrayclsError(
            f"The model gives no probabilities for {diverged} of {len(y)} images, but NaN",
            "Its weights are broken or the precision too low; try --precision fp32",
        )
    members = None if groups is None else group_indices(list(compress(groups, known)))
    if members is not None and members.max() + 1 == len(y):
        members = None  # each case stands alone, as it would without groups

    operating = threshold[known] if isinstance(threshold, np.ndarray) else threshold
    thresholds = (0.5,) if operating is None else (0.5, operating)
    figures = _figures(y, p, classes, thresholds, members, resamples, seed)
    return Report(
        classes=tuple(classes),
        counts={title: int((y == c).sum()) for c, title in enumerate(classes)},
        unlabelled=len(labels) - len(y),
        figures=figures[0],
        operating=None if threshold is None else figures[1],
        resamples=resamples,
        groups=None if members is None else int(members.max()) + 1,
    )


def _figures(
    labels: IntArray,
    probabilities: FloatArray,
    classes: Sequence[str],
    thresholds: Sequence[float | FloatArray],
    groups: IntArray | None,
    resamples: int,
    seed: int,
) -> list[Figures]:
    """The figures at each threshold, all from the same resamples.

    Cases are put in the order of their scores, so that what the ranking metrics look up lies side by side in memory.
    """
    order = np.argsort(probabilities[:, -1], kind="stable")
    ordered = [each[order] if isinstance(each, np.ndarray) else each for each in thresholds]
    weighted = WeightedFigures(labels[order], probabilities[order], ordered)
    drawn = bootstrap(
        lambda weights: _named(weighted.under(weights)),
        len(labels),
        groups=None if groups is None else groups[order],
        resamples=resamples,
        seed=seed,
        dtype=np.int32,
    )
    exact = _named(weighted.under(np.ones(len(labels))))

    def at(number: int, threshold: float | FloatArray) -> Figures:
        def estimate(name: str, key: str, column: int = 0) -> Estimate:
            value, resampled = exact[key].reshape(-1), drawn[key].reshape(len(drawn[key]), -1)
            return _estimate(name, float(value[column]), resampled[:, column])

        matrix = confusion(labels, predicted_classes(probabilities, threshold), len(classes))
        return Figures(
            threshold=float(np.mean(threshold)) if len(classes) == 2 else None,
            overall={name: estimate(name, f"overall {number} {name}") for name in METRICS},
            per_class={
                title: {name: estimate(name, f"each {number} {name}", c) for name in PER_CLASS}
                for c, title in enumerate(classes)
            },
            confusion=tuple(map(tuple, matrix.tolist())),
        )

    return [at(number, threshold) for number, threshold in enumerate(thresholds)]


def _named(found: Sequence[AtThreshold]) -> dict[str, FloatArray]:
    """Figures as the bootstrap takes them: by the number of the threshold and the name of the metric."""
    return {
        f"{kind} {number} {name}": values
        for number, at in enumerate(found)
        for kind, figures in (("overall", at.overall), ("each", at.each))
        for name, values in figures.items()
    }


def _estimate(name: str, value: float, resampled: FloatArray) -> Estimate:
    inflated = name in METRICS and METRICS[name].inflated
    low, high = basic_interval(resampled, value) if inflated else percentile_interval(resampled)
    return Estimate(value, low, high)


def without_nan(value: Any) -> Any:
    """The same JSON value with null for every number that JSON can't hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value
