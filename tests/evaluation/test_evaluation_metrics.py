"""Metrics against scikit-learn called directly, and what is undefined."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from xraycls.errors import UsageError
from xraycls.evaluation.cases import predicted_classes
from xraycls.evaluation.metrics import METRICS, PER_CLASS, confusion, metric, per_class, scores

CLOSE = {"rel": 1e-12, "abs": 1e-12}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=2, max_size=60).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    ),
    st.sampled_from([0.5, 0.3, 0.95]),
)
def test_two_classes_agree_with_scikit_learn(rows, threshold):
    labels = np.array([label for label, _ in rows])
    positive = np.array([step for _, step in rows]) / 20
    called = (positive >= threshold).astype(int)
    expected = {
        "auroc": sk.roc_auc_score(labels, positive),
        "average_precision": sk.average_precision_score(labels, positive),
        "accuracy": sk.accuracy_score(labels, called),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
        "sensitivity": sk.recall_score(labels, called),
        "specificity": sk.recall_score(labels, called, pos_label=0),
        "f1": sk.f1_score(labels, called),
        "brier": sk.brier_score_loss(labels, positive),
        "loss": sk.log_loss(labels, positive, labels=[0, 1]),
    }
    found = scores(labels, np.column_stack([1 - positive, positive]), threshold)
    assert list(found) == list(METRICS)
    assert {name: found[name] for name in expected} == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("seed", range(3))
def test_more_classes_agree_with_scikit_learn(cases, seed):
    labels, probabilities = cases(80, 4, seed)
    called = probabilities.argmax(axis=1)
    one_hot = np.eye(4)[labels]
    specificity = [sk.recall_score(labels != c, called != c) for c in range(4)]
    expected = {
        "auroc": sk.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"),
        "average_precision": sk.average_precision_score(one_hot, probabilities, average="macro"),
        "accuracy": sk.accuracy_score(labels, called),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
        "sensitivity": sk.recall_score(labels, called, average="macro"),
        "specificity": np.mean(specificity),
        "f1": sk.f1_score(labels, called, average="macro"),
        "brier": np.mean([np.sum((p - t) ** 2) for p, t in zip(probabilities, one_hot, strict=True)]),
        "loss": sk.log_loss(labels, probabilities),
    }
    found = scores(labels, probabilities)
    assert {name: found[name] for name in expected} == pytest.approx(expected, **CLOSE)


def test_each_class_is_judged_against_the_rest(cases):
    labels, probabilities = cases(60, 3)
    called = probabilities.argmax(axis=1)
    found = per_class(labels, probabilities)
    assert set(found) == set(PER_CLASS)
    for c in range(3):
        of_class, of_called = labels == c, called == c
        assert found["precision"][c] == pytest.approx(sk.precision_score(of_class, of_called))
        assert found["sensitivity"][c] == pytest.approx(sk.recall_score(of_class, of_called))
        assert found["specificity"][c] == pytest.approx(sk.recall_score(~of_class, ~of_called))
        assert found["f1"][c] == pytest.approx(sk.f1_score(of_class, of_called))
        assert found["auroc"][c] == pytest.approx(sk.roc_auc_score(of_class, probabilities[:, c]))
        assert found["average_precision"][c] == pytest.approx(sk.average_precision_score(of_class, probabilities[:, c]))


@pytest.mark.parametrize(
    ("label", "undefined"),
    [
        (0, {"auroc", "average_precision", "balanced_accuracy", "sensitivity", "f1"}),
        (1, {"auroc", "average_precision", "balanced_accuracy", "specificity"}),
    ],
)
def test_one_class_alone_leaves_exactly_these_undefined_without_a_warning(label, undefined):
    positive = np.array([0.1, 0.6, 0.9])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scores(np.full(3, label), np.column_stack([1 - positive, positive]))
    assert {name for name, value in found.items() if math.isnan(value)} == undefined


@pytest.mark.parametrize(("labels", "probabilities"), [([], np.empty((0, 2))), ([0, 1], np.full((2, 2), np.nan))])
def test_without_cases_or_numbers_everything_is_undefined(labels, probabilities):
    found = scores(np.array(labels, dtype=np.int64), probabilities)
    assert list(found) == list(METRICS)
    assert all(math.isnan(value) for value in found.values())


def test_a_class_that_does_not_occur_is_left_out_of_the_mean():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]])
    found = scores(labels, probabilities)
    assert found["sensitivity"] == found["balanced_accuracy"] == 0.5
    assert found["auroc"] == pytest.approx(
        np.mean([sk.roc_auc_score(labels == c, probabilities[:, c]) for c in (0, 1)])
    )
    assert math.isnan(per_class(labels, probabilities)["auroc"][2])


def test_precision_is_undefined_for_a_class_never_called():
    labels, probabilities = np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])
    found = per_class(labels, probabilities)
    assert math.isnan(found["precision"][1])
    assert found["f1"][1] == 0


def test_a_probability_at_the_threshold_is_positive_and_ties_go_to_the_first_class():
    assert predicted_classes(np.array([[0.5, 0.5], [0.51, 0.49]])).tolist() == [1, 0]
    assert predicted_classes(np.array([[0.7, 0.3]]), threshold=0.3).tolist() == [1]
    assert predicted_classes(np.array([[0.2, 0.4, 0.4]]), threshold=0.1).tolist() == [1]


def test_confusion_counts_true_classes_in_rows(cases):
    labels, probabilities = cases(50, 3)
    called = predicted_classes(probabilities)
    found = confusion(labels, called, 4)
    expected = [[int(((labels == t) & (called == p)).sum()) for p in range(4)] for t in range(4)]
    assert found.tolist() == expected


def test_a_certain_and_wrong_prediction_has_a_finite_loss():
    found = scores(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert found["loss"] == pytest.approx(-math.log(np.finfo(float).eps) / 2)


def test_an_unknown_metric_names_the_nearest():
    assert not metric("loss").higher_is_better
    assert metric("auroc").higher_is_better
    with pytest.raises(UsageError, match=r"'acuracy' for --monitor.*accuracy"):
        metric("acuracy", "--monitor")
