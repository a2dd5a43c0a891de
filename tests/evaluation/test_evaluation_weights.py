"""Weighted metrics against scikit-learn's sample_weight, and against cases really repeated."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from xraycls.evaluation.metrics import METRICS, PER_CLASS, WeightedFigures, per_class, scores, weighted_scores
from xraycls.evaluation.ranking import RankedCases

CLOSE = {"rel": 0, "abs": 1e-12}


def random_weights(n, rows=8, seed=0):
    """Real weights, a third of them 0."""
    rng = np.random.default_rng(seed)
    return rng.random((rows, n)) * (rng.random((rows, n)) > 1 / 3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decimals", [1, 12])
def test_two_classes_agree_with_sample_weight(cases, seed, decimals):
    labels, probabilities = cases(70, 2, seed, decimals)
    positive, called = probabilities[:, 1], (probabilities[:, 1] >= 0.4).astype(int)
    weights = random_weights(70, seed=seed)
    found = weighted_scores(labels, probabilities, weights, 0.4)
    for row, weight in enumerate(weights):
        w = {"sample_weight": weight}
        expected = {
            "auroc": sk.roc_auc_score(labels, positive, **w),
            "average_precision": sk.average_precision_score(labels, positive, **w),
            "accuracy": sk.accuracy_score(labels, called, **w),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, called, **w),
            "sensitivity": sk.recall_score(labels, called, **w),
            "specificity": sk.recall_score(labels, called, pos_label=0, **w),
            "f1": sk.f1_score(labels, called, **w),
            "brier": sk.brier_score_loss(labels, positive, **w),
            "loss": sk.log_loss(labels, positive, **w),
        }
        assert {name: found[name][row] for name in expected} == pytest.approx(expected, **CLOSE)


def test_more_classes_agree_with_sample_weight(cases):
    labels, probabilities = cases(90, 4, decimals=1)
    called, weights = probabilities.argmax(axis=1), random_weights(90)
    found = weighted_scores(labels, probabilities, weights)
    for row, weight in enumerate(weights):
        w = {"sample_weight": weight, "average": "macro"}
        # scikit-learn refuses rows that don't sum to 1, so its macro AUROC is taken class by class.
        areas = [sk.roc_auc_score(labels == c, probabilities[:, c], sample_weight=weight) for c in range(4)]
        expected = {
            "auroc": np.mean(areas),
            "average_precision": sk.average_precision_score(np.eye(4)[labels], probabilities, **w),
            "sensitivity": sk.recall_score(labels, called, **w),
            "f1": sk.f1_score(labels, called, **w),
            "accuracy": sk.accuracy_score(labels, called, sample_weight=weight),
        }
        assert {name: found[name][row] for name in expected} == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_count_is_a_case_repeated(cases, classes):
    labels, probabilities = cases(40, classes, decimals=1)
    counts = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=20)
    overall = weighted_scores(labels, probabilities, counts.astype(float), 0.3)
    each = per_class(labels, probabilities, 0.3, counts.astype(float))
    assert set(overall) == set(METRICS)
    assert set(each) == set(PER_CLASS)
    for row, count in enumerate(counts):
        repeated = np.repeat(labels, count), np.repeat(probabilities, count, axis=0), 0.3
        assert {name: overall[name][row] for name in METRICS} == pytest.approx(scores(*repeated), nan_ok=True, **CLOSE)
        expected = per_class(*repeated)
        for name in PER_CLASS:
            assert each[name][row] == pytest.approx(expected[name], nan_ok=True, **CLOSE)


def test_a_resample_of_one_class_is_undefined_without_a_warning():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]])
    weights = np.array([[2.0, 2, 0, 0], [0, 0, 1, 3]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = weighted_scores(labels, probabilities, weights)
    undefined = {name: np.isnan(values).tolist() for name, values in found.items() if np.isnan(values).any()}
    assert undefined == {
        "auroc": [True, True],
        "average_precision": [True, True],
        "balanced_accuracy": [True, True],
        "sensitivity": [True, False],
        "f1": [True, False],
        "specificity": [False, True],
    }


def test_all_scores_tied_rank_like_chance():
    weights = random_weights(10, rows=3)
    positive = np.arange(10) < 4
    auroc, average_precision = RankedCases(positive, np.full(10, 0.5)).areas(weights)
    assert auroc == pytest.approx([0.5] * 3)
    assert average_precision == pytest.approx(weights[:, :4].sum(axis=1) / weights.sum(axis=1))


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (7, 2), (200, 2), (200, 3)])
def test_whole_numbers_give_the_figures_of_floats(cases, n, classes):
    labels, probabilities = cases(max(n, classes), classes)
    labels, probabilities = labels[:n], probabilities[:n]
    weights = np.random.default_rng(n).integers(0, 4, size=(3, n)).astype(np.int32)
    weights[:, 0] = 70_000  # whose pairs no int32 holds
    figures = WeightedFigures(labels, probabilities, (0.4,))
    (whole,), (floats,) = figures.under(weights), figures.under(weights.astype(np.float64))
    for name, values in floats.overall.items():
        np.testing.assert_array_equal(whole.overall[name], values)
    for name, values in floats.each.items():
        np.testing.assert_array_equal(whole.each[name], values)
