"""Figures of groups of images: against scikit-learn on each group, and what counts as apart."""

import json

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from xraycls.evaluation.findings import evaluate_findings
from xraycls.evaluation.report import Estimate, evaluate
from xraycls.evaluation.subgroups import (
    SHOWN,
    _is_apart,
    evaluate_subgroups,
    subgroup_finding_table,
    subgroup_page,
    subgroup_rows,
    subgroup_table,
    subgroup_warnings,
)


@pytest.fixture(scope="module")
def cases():
    """400 cases of which the classifier ranks those of group "b" at random."""
    rng = np.random.default_rng(0)
    labels, group = rng.integers(0, 2, 400), np.repeat(["a", "a", "a", "b"], 100)
    scores = np.where(group == "a", 0.35 * labels + 0.65 * rng.random(400), rng.random(400))
    return labels, np.stack([1 - scores, scores], axis=1), group


def test_each_group_has_scikit_learns_figures_and_the_worse_one_is_apart(cases):
    labels, probabilities, group = cases
    report = evaluate(labels, probabilities, ["NORMAL", "SICK"], threshold=0.6, resamples=200)
    found = evaluate_subgroups(report, labels, probabilities, {"site": group.tolist()}, resamples=200)
    for each in found:
        rows = group == each.group
        (row,) = each.rows
        y, p = labels[rows], probabilities[rows, 1]
        assert row.figures["auroc"].value == pytest.approx(roc_auc_score(y, p))
        assert row.figures["sensitivity"].value == pytest.approx(recall_score(y, p >= 0.6))
        assert row.figures["specificity"].value == pytest.approx(recall_score(1 - y, p < 0.6))
        assert (each.images, row.positive, row.negative) == (rows.sum(), y.sum(), (1 - y).sum())
    assert "auroc" in found[1].rows[0].apart
    assert found[1].rows[0].figures["auroc"].high < report.figures.overall["auroc"].low
    assert subgroup_warnings(found)[-1].startswith("site b lies apart from all images: AUROC 0.")
    assert " *" in subgroup_table(found)[2][3]
    header, rows = subgroup_rows(found)
    named = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["group"], row["metric"]) for row in named] == [(g, m) for g in "ab" for m in SHOWN]
    assert named[3]["apart"] == "yes"


def test_small_groups_and_unknown_ones_are_counted_and_never_apart(cases):
    labels, probabilities, _ = cases
    sex = ["F" if row < 4 else None if row < 100 else "M" for row in range(400)]
    sure = probabilities.copy()
    sure[:4] = probabilities[:4, ::-1]
    report = evaluate(labels, sure, ["NORMAL", "SICK"], resamples=50)
    found = evaluate_subgroups(report, labels, sure, {"sex": sex}, resamples=50)
    assert [(each.group, each.images) for each in found] == [("F", 4), ("M", 300), ("unknown", 96)]
    assert found[0].rows[0].apart == ()
    nothing = evaluate_subgroups(report, np.where(np.arange(400) < 4, -1, labels), sure, {"sex": sex}, resamples=50)
    assert (nothing[0].images, nothing[0].rows) == (0, ())
    assert subgroup_table(nothing)[1][1] == "0"
    json.dumps([each.to_dict() for each in nothing], allow_nan=False)


def test_findings_have_a_row_each_and_a_mean(cases):
    labels, probabilities, group = cases
    targets = np.stack([labels, np.where(np.arange(400) % 3, labels, np.nan)], axis=1).astype(np.float64)
    both = np.stack([probabilities[:, 1], probabilities[:, 1]], axis=1)
    report = evaluate_findings(targets, both, ["Edema", "Mass"], thresholds=[0.6, 0.5], resamples=100)
    found = evaluate_subgroups(
        report, targets, both, {"site": group.tolist()}, groups=[n // 2 for n in range(400)], resamples=100
    )
    mean, edema, mass = found[1].rows
    assert [mean.name, edema.name, mass.name] == ["mean", "Edema", "Mass"]
    for shown in SHOWN:
        expected = (edema.figures[shown].value + mass.figures[shown].value) / 2
        assert mean.figures[shown].value == pytest.approx(expected)
    known = (group == "b") & np.isfinite(targets[:, 1])
    assert mass.figures["auroc"].value == pytest.approx(roc_auc_score(labels[known], both[known, 1]))
    assert subgroup_finding_table(found)[0] == ("Group", "Edema", "Mass")
    assert "of Edema" in subgroup_warnings(found)[0]
    assert subgroup_page([]) is None


def test_intervals_that_touch_or_are_undefined_are_not_apart():
    one, nan = Estimate(0.5, 0.4, 0.6), float("nan")
    assert not _is_apart(one, Estimate(0.65, 0.6, 0.7))
    assert _is_apart(one, Estimate(0.65, 0.61, 0.7))
    assert not _is_apart(one, Estimate(nan, nan, nan))
