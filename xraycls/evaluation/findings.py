"""What a classifier of several findings an image is worth: every figure of each finding, and their means."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xraycls.errors import DataError, XrayclsError
from xraycls.evaluation.cases import FloatArray, IntArray, ratio
from xraycls.evaluation.intervals import (
    CONFIDENCE,
    RESAMPLES,
    basic_interval,
    bootstrap,
    group_indices,
    percentile_interval,
)
from xraycls.evaluation.metrics import METRICS, PER_CLASS, Metric, WeightedFigures
from xraycls.evaluation.report import Estimate, without_nan

Targets = npt.NDArray[np.floating]

FINDING_METRICS: dict[str, Metric] = {**METRICS, "precision": PER_CLASS["precision"]}
"""The figures of each finding, present against absent; those of one class are the positive one's."""

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class FindingFigures:
    """What a classifier is worth for one finding.

    Attributes:
        threshold: the finding is called where its probability is at least this.
        present: images that show it.
        absent: images that don't.
        unknown: images of which it isn't known, or not surely; they count nothing.
        figures: every metric of ``FINDING_METRICS``, at the threshold where it plays a part.
    """

    threshold: float
    present: int
    absent: int
    unknown: int
    figures: Mapping[str, Estimate]


@dataclass(frozen=True)
class FindingsReport:
    """What a classifier of findings is worth on one set of cases.

    Attributes:
        findings: by name, in the order of the model's outputs.
        macro: the mean of each metric over the findings of which it is defined.
        weighted: likewise, weighted by the images that show each finding.
        together: int, images that show both of two findings, [F][F]; on the diagonal, that show the one.
        n: cases with a known finding.
        unlabelled: cases left out, of which no finding is known.
        resamples: how many resamples the intervals rest on.
        groups: independent groups, such as patients, that were resampled; None when single cases were.
    """

    findings: Mapping[str, FindingFigures]
    macro: Mapping[str, Estimate]
    weighted: Mapping[str, Estimate]
    together: tuple[tuple[int, ...], ...]
    n: int
    unlabelled: int
    resamples: int
    groups: int | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the findings."""
        return tuple(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the macro mean of every metric by name at the top, and the rest beside them; NaN is null."""
        return {
            **_to_dict(self.macro),
            "weighted": _to_dict(self.weighted),
            "per_finding": {
                name: {
                    "threshold": each.threshold,
                    "present": each.present,
                    "absent": each.absent,
                    "unknown": each.unknown,
                    **_to_dict(each.figures),
                }
                for name, each in self.findings.items()
            },
            "findings": list(self.findings),
            "together": [list(row) for row in self.together],
            "n": self.n,
            "unlabelled": self.unlabelled,
            "bootstrap": {"confidence": CONFIDENCE, "resamples": self.resamples, "groups": self.groups},
        }


class WeightedFindings:
    """Every figure of each finding as a function of how much each case counts.

    Args:
        targets: [n, F], 1 present, 0 absent; whatever else is unknown and counts nothing.
        probabilities: float64 [n, F].
        thresholds: F of them, at which each finding is called; or float64 [n, F], those of each case.
    """

    def __init__(self, targets: Targets, probabilities: FloatArray, thresholds: Sequence[float] | FloatArray) -> None:
        each = np.broadcast_to(np.asarray(thresholds, np.float64), probabilities.shape)
        self._parts: list[tuple[IntArray, WeightedFigures] | None] = []
        for labels, scores, threshold in zip(targets.T, probabilities.T, each.T, strict=True):
            known = np.flatnonzero((labels == 0) | (labels == 1))
            known = known[np.argsort(scores[known], kind="stable")]  # neighbours in rank lie side by side in memory
            both = np.stack([1 - scores[known], scores[known]], axis=1)
            told = labels[known].astype(np.int64)
            figures = WeightedFigures(told, both, (threshold[known],), positive_only=True) if len(known) else None
            self._parts.append(None if figures is None else (known, figures))

    def under(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Every metric of ``FINDING_METRICS``, float64 [..., F]; NaN where undefined.

        Args:
            weights: float64 [..., n], not negative.
        """
        columns = [self._finding(part, weights) for part in self._parts]
        return {name: np.stack([column[name] for column in columns], axis=-1) for name in FINDING_METRICS}

    @staticmethod
    def _finding(part: tuple[IntArray, WeightedFigures] | None, weights: FloatArray) -> Mapping[str, FloatArray]:
        if part is None:
            return dict.fromkeys(FINDING_METRICS, np.full(weights.shape[:-1], np.nan))
        known, figures = part
        with np.errstate(invalid="ignore"):  # no known case may have been drawn
            at = figures.under(weights.take(known, axis=-1))[0]
        return {**at.overall, "precision": at.each["precision"][..., 1]}


def finding_scores(targets: Targets, probabilities: FloatArray, names: Sequence[str]) -> dict[str, float]:
    """The macro mean of every metric of ``METRICS`` at a threshold of 0.5, and each finding's AUROC.

    Args:
        targets: [n, F], 1 present, 0 absent; whatever else is unknown.
        probabilities: float64 [n, F].
        names: of the findings.

    Returns:
        Figures by name, those of findings as "auroc_<name>"; all NaN when a probability isn't a number.
    """
    thresholds = [DEFAULT_THRESHOLD] * len(names)
    if not len(targets) or not np.isfinite(probabilities).all():
        each = {name: np.full(len(names), np.nan) for name in METRICS}
    else:
        each = WeightedFindings(targets, probabilities, thresholds).under(np.ones(len(targets)))
    means = {name: float(_mean(each[name], each[name], np.ones(len(names)))) for name in METRICS}
    return means | {f"auroc_{name}": float(value) for name, value in zip(names, each["auroc"], strict=True)}


def evaluate_findings(
    targets: Targets,
    probabilities: FloatArray,
    findings: Sequence[str],
    *,
    thresholds: Sequence[float] | FloatArray | None = None,
    groups: Sequence[Hashable | None] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> FindingsReport:
    """Every figure of a classifier of several findings an image, each with a 95 % bootstrap interval.

    Args:
        targets: [n, F], 1 present, 0 absent; whatever else is unknown and counts nothing.
        probabilities: float64 [n, F], 0–1.
        findings: F names.
        thresholds: at which each finding is called, chosen on other cases; None for 0.5 each. Or float64 [n, F], those
            of each case, where several models predicted them; the report then names the means.
        groups: [n], what each case belongs to, such as its patient, None standing alone: whole groups are resampled.
        resamples: how many resamples the intervals rest on.
        seed: the same seed gives the same intervals.

    Raises:
        DataError: nothing is known of any case.
        XrayclsError: a probability isn't a number.

    Example:
        >>> import numpy as np, xraycls
        >>> targets = np.array([[0, 1], [1, np.nan], [1, 0], [0, 1]])
        >>> probabilities = np.array([[0.2, 0.9], [0.7, 0.5], [0.6, 0.1], [0.4, 0.3]])
        >>> report = xraycls.evaluate_findings(targets, probabilities, ["Edema", "Mass"], resamples=100)
        >>> report.findings["Mass"].figures["auroc"].value, report.findings["Mass"].figures["sensitivity"].value
        (1.0, 0.5)
        >>> report.macro["sensitivity"].value, report.findings["Mass"].unknown
        (0.75, 1)
    """
    known = (targets == 0) | (targets == 1)
    kept = np.flatnonzero(known.any(axis=1))
    if not len(kept):
        raise DataError(
            "There is nothing to evaluate: no finding of any image is known", hint="Predict needs no labels"
        )
    y, p, known = targets[kept], probabilities[kept].astype(np.float64), known[kept]
    if diverged := int((~np.isfinite(p)).any(axis=1).sum()):
        raise XrayclsError(
            f"The model gives no probabilities for {diverged} of {len(y)} images, but NaN",
            "Its weights are broken or the precision too low; try --precision fp32",
        )
    members = None if groups is None else group_indices([groups[row] for row in kept.tolist()])
    if members is not None and members.max() + 1 == len(y):
        members = None  # each case stands alone, as it would without groups
    told = np.asarray([DEFAULT_THRESHOLD] * len(findings) if thresholds is None else thresholds, np.float64)
    at = told[kept] if told.ndim == 2 else np.broadcast_to(told, p.shape)
    weighted = WeightedFindings(y, p, at)
    exact = weighted.under(np.ones(len(y)))
    drawn = bootstrap(weighted.under, len(y), groups=members, resamples=resamples, seed=seed, dtype=np.int32)
    present = ((y == 1) & known).sum(axis=0)
    shown = (y == 1).astype(np.int64)

    def mean(weights: npt.NDArray[Any]) -> dict[str, Estimate]:
        return {
            name: _estimate(
                name, _mean(exact[name], exact[name], weights), np.asarray(_mean(drawn[name], exact[name], weights))
            )
            for name in FINDING_METRICS
        }

    return FindingsReport(
        findings={
            name: FindingFigures(
                threshold=float(at[:, f].mean()) if told.ndim == 2 else float(told[f]),
                present=int(present[f]),
                absent=int((y[:, f] == 0).sum()),
                unknown=int((~known[:, f]).sum()),
                figures={m: _estimate(m, exact[m][f], drawn[m][:, f]) for m in FINDING_METRICS},
            )
            for f, name in enumerate(findings)
        },
        macro=mean(np.ones(len(findings))),
        weighted=mean(present),
        together=tuple(map(tuple, (shown.T @ shown).tolist())),
        n=len(y),
        unlabelled=len(targets) - len(y),
        resamples=resamples,
        groups=None if members is None else int(members.max()) + 1,
    )


def _mean(values: FloatArray, exact: FloatArray, weights: npt.NDArray[Any]) -> FloatArray:
    """The weighted mean over findings that are defined on the cases themselves; float64 [...].

    A resample may leave a rare finding undefined: its mean is then that of the others.

    Args:
        values: float64 [..., F].
        exact: float64 [F], NaN where undefined.
        weights: [F].
    """
    part = np.where(np.isnan(exact) | np.isnan(values), 0.0, weights)
    total = part.sum(axis=-1)
    summed = (np.nan_to_num(values) * part).sum(axis=-1)
    return ratio(summed, total)


def _estimate(name: str, value: FloatArray | float, resampled: FloatArray) -> Estimate:
    number = float(value)
    inflated = FINDING_METRICS[name].inflated
    low, high = basic_interval(resampled, number) if inflated else percentile_interval(resampled)
    return Estimate(number, low, high)


def _to_dict(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: without_nan(estimate.to_dict()) for name, estimate in figures.items()}
