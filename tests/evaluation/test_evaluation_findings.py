"""Figures of several findings an image, held against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from xraycls.errors import DataError, XrayclsError
from xraycls.evaluation.findings import FINDING_METRICS, evaluate_findings, finding_scores
from xraycls.evaluation.findings_page import few_findings, findings_table, render_findings, write_findings_report
from xraycls.types import Prediction

NAMES = ["Edema", "Mass", "Effusion"]
THRESHOLDS = [0.4, 0.5, 0.7]


def cases(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets [n, 3] of which some are unknown or uncertain, and probabilities in coarse steps, so that many tie."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 3)) < [0.5, 0.2, 0.1]).astype(float)
    probabilities = np.round(np.clip(rng.normal(0.3 + 0.3 * targets, 0.25), 0, 1), 2)
    targets[rng.random((n, 3)) < 0.2] = np.nan
    targets[rng.random((n, 3)) < 0.1] = 0.5
    return targets, probabilities


def sklearn_figures(y: np.ndarray, p: np.ndarray, threshold: float) -> dict[str, float]:
    called = p >= threshold
    return {
        "auroc": metrics.roc_auc_score(y, p),
        "average_precision": metrics.average_precision_score(y, p),
        "accuracy": metrics.accuracy_score(y, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, called),
        "sensitivity": metrics.recall_score(y, called),
        "specificity": metrics.recall_score(y, called, pos_label=0),
        "precision": metrics.precision_score(y, called),
        "f1": metrics.f1_score(y, called),
        "brier": metrics.brier_score_loss(y, p),
        "loss": metrics.log_loss(y, p),
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_of_a_finding_is_scikit_learns_on_the_known_cases(seed):
    targets, probabilities = cases(seed=seed)
    report = evaluate_findings(targets, probabilities, NAMES, thresholds=THRESHOLDS, resamples=20)
    expected = []
    for f, name in enumerate(NAMES):
        known = np.isin(targets[:, f], (0, 1))
        expected.append(sklearn_figures(targets[known, f].astype(int), probabilities[known, f], THRESHOLDS[f]))
        figures = {m: report.findings[name].figures[m].value for m in expected[-1]}
        assert figures == pytest.approx(expected[-1])
        each = report.findings[name]
        assert (each.present, each.absent) == ((targets[:, f] == 1).sum(), (targets[:, f] == 0).sum())
        assert each.present + each.absent + each.unknown == report.n
    present = [report.findings[name].present for name in NAMES]
    for metric in expected[0]:
        values = [each[metric] for each in expected]
        assert report.macro[metric].value == pytest.approx(np.mean(values))
        assert report.weighted[metric].value == pytest.approx(np.average(values, weights=present))


def test_macro_auroc_of_complete_labels_is_scikit_learns_multilabel_mean():
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (80, 4))
    probabilities = np.clip(rng.normal(0.4 + 0.2 * targets, 0.3), 0, 1)
    report = evaluate_findings(targets, probabilities, list("abcd"), resamples=10)
    assert report.macro["auroc"].value == pytest.approx(metrics.roc_auc_score(targets, probabilities, average="macro"))
    weighted = metrics.average_precision_score(targets, probabilities, average="weighted")
    assert report.weighted["average_precision"].value == pytest.approx(weighted)
    assert np.array_equal(report.together, targets.T @ targets)


def test_a_finding_without_both_kinds_is_undefined_and_left_out_of_the_means():
    targets = np.array([[1, 0, np.nan], [0, 0, np.nan], [1, 0, 0.5], [0, 0, np.nan]])
    probabilities = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.5], [0.6, 0.1, 0.5], [0.7, 0.4, 0.5]])
    report = evaluate_findings(targets, probabilities, NAMES, resamples=20)
    assert report.findings["Edema"].figures["auroc"].value == report.macro["auroc"].value == 0.75
    assert np.isnan(report.findings["Mass"].figures["auroc"].value)
    assert report.findings["Mass"].figures["specificity"].value == 1
    assert all(np.isnan(report.findings["Effusion"].figures[m].value) for m in FINDING_METRICS)
    assert few_findings(report).startswith("No image is known to be with Mass, Effusion: figures that need both kinds")
    assert few_findings(report).endswith("Fewer than 5 images show Edema: these intervals say little")
    turned = evaluate_findings(1 - targets, 1 - probabilities, NAMES, resamples=20)
    assert "No image is known to be without Mass:" in few_findings(turned)
    assert report.to_dict()["per_finding"]["Effusion"]["auroc"]["value"] is None


def test_intervals_of_patients_are_wider_than_those_of_their_copies():
    targets, probabilities = cases(60)
    patients = [str(number) for number in range(60)] * 4
    copies = np.tile(targets, (4, 1)), np.tile(probabilities, (4, 1))
    alone = evaluate_findings(*copies, NAMES, resamples=200).macro["auroc"]
    grouped = evaluate_findings(*copies, NAMES, groups=patients, resamples=200)
    assert grouped.groups == np.isin(targets, (0, 1)).any(axis=1).sum()
    low, high = grouped.macro["auroc"].low, grouped.macro["auroc"].high
    assert high - low > 1.5 * (alone.high - alone.low)
    assert low < alone.value < high


def test_unknown_cases_change_nothing():
    targets, probabilities = cases(50)
    more = np.vstack([targets, np.full((10, 3), np.nan)]), np.vstack([probabilities, np.full((10, 3), 0.9)])
    first, second = (evaluate_findings(*each, NAMES, resamples=30) for each in ((targets, probabilities), more))
    assert second.unlabelled == first.unlabelled + 10
    assert first.macro["auroc"] == second.macro["auroc"]


def test_nothing_to_evaluate_and_no_numbers_are_one_sentence():
    with pytest.raises(DataError, match="no finding of any image is known"):
        evaluate_findings(np.full((3, 3), np.nan), np.full((3, 3), 0.5), NAMES)
    with pytest.raises(XrayclsError, match="no probabilities for 3 of 3 images"):
        evaluate_findings(np.ones((3, 3)), np.full((3, 3), np.nan), NAMES)


def test_scores_of_an_epoch_are_means_and_the_area_of_each_finding():
    targets, probabilities = cases()
    scores = finding_scores(targets, probabilities, NAMES)
    areas = [scores[f"auroc_{name}"] for name in NAMES]
    assert scores["auroc"] == pytest.approx(np.mean(areas))
    diverged = finding_scores(targets, np.full_like(probabilities, np.nan), NAMES)
    assert diverged.keys() == scores.keys()
    assert np.isnan(list(diverged.values())).all()


def test_the_page_has_one_row_a_finding_and_escapes_names(tmp_path):
    targets, probabilities = cases(40)
    names = ["<b>Edema</b>", "Mass", "Effusion"]
    report = evaluate_findings(targets, probabilities, names, thresholds=THRESHOLDS, resamples=20)
    predictions = [
        Prediction(f"{row}.png", tuple(p), None, positive=(0,), findings=tuple(None if np.isnan(v) else v for v in t))
        for row, (t, p) in enumerate(zip(targets.tolist(), probabilities.tolist(), strict=True))
    ]
    files = write_findings_report(report, predictions, tmp_path, history=[{"epoch": 1.0, "train_loss": 0.5}])
    assert files[-1].name == "test.json"
    page = (tmp_path / "report.html").read_text()
    assert "<b>Edema" not in page
    assert "&lt;b&gt;Edema" in page
    assert [row[0] for row in findings_table(report)] == ["Finding", *names, "Mean", "Weighted mean"]
    assert render_findings(report, {}, {}).count("&lt;b&gt;Edema") == 4, "findings, calibration and both sides of pairs"
