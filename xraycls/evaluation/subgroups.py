"""A classifier's figures in groups of images, such as women and men, and where they lie apart from all images."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xraycls.evaluation.cases import FloatArray, IntArray
from xraycls.evaluation.findings import FindingsReport, Targets, evaluate_findings
from xraycls.evaluation.metrics import METRICS
from xraycls.evaluation.report import Estimate, Report, evaluate, without_nan
from xraycls.evaluation.summary import Table, format_estimate

SHOWN = ("auroc", "sensitivity", "specificity")
"""The figures of each group."""

RULE = (
    "A star, and a warning, stand where the 95 % intervals of a group and of all images don't overlap and the group "
    "has at least 5 images with and 5 without the finding (of a mean: of every finding)"
)
_ENOUGH = 5
_MEAN = "mean"

Figures = Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """The figures of one finding, of the mean over findings, or of all classes in one group.

    Attributes:
        name: of the finding; "mean" for the mean over findings, "" of classes.
        positive: images of the group with it; of the mean the sum over findings, of three classes or more the images
            of the rarest.
        negative: likewise without it.
        figures: those of ``SHOWN``.
        apart: names of figures whose interval and that of all images don't overlap.
    """

    name: str
    positive: int
    negative: int
    figures: Figures
    apart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subgroup:
    """One group of images.

    Attributes:
        grouping: what tells groups apart, such as "sex".
        group: its name; "unknown" for images of which it isn't known.
        images: with a known label or finding.
        rows: of classes one, of findings the mean and each finding; none without such images.
    """

    grouping: str
    group: str
    images: int
    rows: tuple[GroupFigures, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN is null."""
        return {
            "grouping": self.grouping,
            "group": self.group,
            "images": self.images,
            "figures": {
                row.name or "overall": {
                    "positive": row.positive,
                    "negative": row.negative,
                    **{name: without_nan(estimate.to_dict()) for name, estimate in row.figures.items()},
                    "apart": list(row.apart),
                }
                for row in self.rows
            },
        }


def evaluate_subgroups(
    report: Report | FindingsReport,
    truth: Targets | IntArray,
    probabilities: FloatArray,
    groupings: Mapping[str, Sequence[str | None]],
    *,
    groups: Sequence[Hashable | None] | None = None,
    resamples: int,
    seed: int = 0,
) -> list[Subgroup]:
    """Figures of every group, each with a 95 % bootstrap interval as in the report of all images.

    Args:
        report: of all images, whose thresholds are taken.
        truth: labels int64 [n], or of findings targets [n, F], as for the report.
        probabilities: float64 [n, C].
        groupings: name → the group of each image, None where it isn't known.
        groups: [n], what each image belongs to, such as its patient: whole ones are resampled.
        resamples: of the bootstrap.
        seed: the same seed gives the same intervals.

    Returns:
        The groups of each grouping in the order in which they sort, images of unknown group last.
    """
    found = []
    for grouping, values in groupings.items():
        named = sorted({value for value in values if value is not None})
        for value in (*named, None):
            rows = np.array([each == value for each in values], np.bool_)
            if not rows.any():
                continue
            patients = None if groups is None else [groups[row] for row in np.flatnonzero(rows).tolist()]
            part = _evaluated(report, truth[rows], probabilities[rows], patients, resamples, seed)
            images, figures = (0, ()) if part is None else (part.n, tuple(_rows(report, part)))
            found.append(Subgroup(grouping, "unknown" if value is None else value, images, figures))
    return found


def _evaluated(
    report: Report | FindingsReport,
    truth: Targets | IntArray,
    probabilities: FloatArray,
    groups: Sequence[Hashable | None] | None,
    resamples: int,
    seed: int,
) -> Report | FindingsReport | None:
    """The report of one group; None where nothing is known of its images."""
    if isinstance(report, FindingsReport):
        if not np.isin(truth, (0, 1)).any():
            return None
        thresholds = [each.threshold for each in report.findings.values()]
        return evaluate_findings(
            truth.astype(np.float64),
            probabilities,
            report.classes,
            thresholds=thresholds,
            groups=groups,
            resamples=resamples,
            seed=seed,
        )
    if not (truth >= 0).any():
        return None
    threshold = report.operating.threshold if report.operating else None
    labels = truth.astype(np.int64)
    return evaluate(
        labels, probabilities, report.classes, threshold=threshold, groups=groups, resamples=resamples, seed=seed
    )


def _rows(whole: Report | FindingsReport, part: Report | FindingsReport) -> list[GroupFigures]:
    if isinstance(whole, FindingsReport) and isinstance(part, FindingsReport):
        # A mean over fewer findings than that of all images isn't held against it.
        judged = all(
            min(each.present, each.absent) >= _ENOUGH
            for name, each in part.findings.items()
            if min(whole.findings[name].present, whole.findings[name].absent)
        )
        shown = sum(each.present for each in part.findings.values()), sum(e.absent for e in part.findings.values())
        rows = [_row(_MEAN, shown, part.macro, whole.macro, judged=judged)]
        for name, each in part.findings.items():
            rows.append(_row(name, (each.present, each.absent), each.figures, whole.findings[name].figures))
        return rows
    assert isinstance(whole, Report)
    assert isinstance(part, Report)
    fewest = min(part.counts.values())
    count = (part.counts[whole.classes[1]], part.counts[whole.classes[0]]) if whole.positive_class else (fewest, fewest)
    return [_row("", count, (part.operating or part.figures).overall, (whole.operating or whole.figures).overall)]


def _row(name: str, counts: tuple[int, int], own: Figures, all_: Figures, *, judged: bool = True) -> GroupFigures:
    figures = {shown: own[shown] for shown in SHOWN}
    judged = judged and min(counts) >= _ENOUGH
    apart = [shown for shown in SHOWN if judged and _is_apart(own[shown], all_[shown])]
    return GroupFigures(name, *counts, figures, tuple(apart))


def _is_apart(one: Estimate, other: Estimate) -> bool:
    """Whether two intervals don't overlap; False where one is undefined."""
    return one.low > other.high or one.high < other.low


def subgroup_table(subgroups: Sequence[Subgroup]) -> Table:
    """A header and a row a group: images, and figures of the classes or their mean over findings."""
    rows: Table = [("Group", "Images", "Positive", *(METRICS[name].title for name in SHOWN))]
    for each in subgroups:
        if each.rows:
            first = each.rows[0]
            positive = "" if first.name == _MEAN else f"{first.positive:,}"
            cells = (_cell(first, name) for name in SHOWN)
        else:
            positive, cells = "", ("\N{EN DASH}" for _ in SHOWN)
        rows.append((f"{each.grouping}: {each.group}", f"{each.images:,}", positive, *cells))
    return rows


def subgroup_finding_table(subgroups: Sequence[Subgroup], metric: str = "auroc") -> Table:
    """Of findings one figure of each in each group: a header and a row a group; empty of classes."""
    named = next(([row.name for row in each.rows[1:]] for each in subgroups if len(each.rows) > 1), [])
    if not named:
        return []
    rows: Table = [("Group", *named)]
    for each in subgroups:
        by_name = {row.name: row for row in each.rows}
        cells = (_cell(by_name[name], metric) if name in by_name else "\N{EN DASH}" for name in named)
        rows.append((f"{each.grouping}: {each.group}", *cells))
    return rows


def subgroup_warnings(subgroups: Sequence[Subgroup]) -> list[str]:
    """A sentence for each group that lies apart from all images."""
    lines = []
    for each in subgroups:
        told = [
            f"{METRICS[name].title} {f'of {row.name} ' if row.name else ''}{format_estimate(row.figures[name])}"
            for row in each.rows
            for name in row.apart
        ]
        if told:
            lines.append(f"{each.grouping} {each.group} lies apart from all images: {', '.join(told)}")
    return lines


def subgroup_page(subgroups: Sequence[Subgroup]) -> dict[str, Any] | None:
    """What the page shows of groups: tables by their headings, the rule and warnings; None without groups."""
    if not subgroups:
        return None
    tables = {"Subgroups": subgroup_table(subgroups)}
    if of_findings := subgroup_finding_table(subgroups):
        tables["AUROC of each finding in each group"] = of_findings
    return {"tables": tables, "rule": RULE, "warnings": subgroup_warnings(subgroups)}


def subgroup_rows(subgroups: Sequence[Subgroup]) -> tuple[list[str], list[list[object]]]:
    """A header and the rows of a CSV: a row for each figure of each group; undefined figures are empty."""
    header = [
        "grouping",
        "group",
        "images",
        "finding",
        "positive",
        "negative",
        "metric",
        "value",
        "low",
        "high",
        "apart",
    ]
    rows: list[list[object]] = []
    for each in subgroups:
        start = [each.grouping, each.group, each.images]
        if not each.rows:
            rows.append([*start, *[""] * 8])
        for row in each.rows:
            for name, estimate in row.figures.items():
                numbers = ["" if math.isnan(x) else f"{x:.6g}" for x in (estimate.value, estimate.low, estimate.high)]
                apart = "yes" if name in row.apart else "no"
                rows.append([*start, row.name, row.positive, row.negative, name, *numbers, apart])
    return header, rows


def _cell(row: GroupFigures, name: str) -> str:
    return f"{format_estimate(row.figures[name])}{' *' if name in row.apart else ''}"
