"""Thresholds against trying every cut in exact arithmetic."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xraycls.errors import DataError, UsageError
from xraycls.evaluation.thresholds import choose_threshold, parse_method

both_classes = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.31, 0.5, 0.7, 0.95, 1.0])),
    min_size=2,
    max_size=25,
).filter(lambda rows: len({label for label, _ in rows}) == 2)


def quality(method, rows, cut):
    """What a cut is worth, exactly: larger is better."""
    true = sum(label == 1 and score >= cut for label, score in rows)
    false = sum(label == 0 and score >= cut for label, score in rows)
    positives = sum(label for label, _ in rows)
    negatives = len(rows) - positives
    if method in ("youden", "balanced_accuracy"):
        return Fraction(true, positives) - Fraction(false, negatives)
    if method == "accuracy":
        return Fraction(true + negatives - false, len(rows))
    if method == "f1":
        return Fraction(2 * true, positives + true + false)
    name, _, text = method.partition("=")
    rate = Fraction(true, positives) if name == "sensitivity" else Fraction(negatives - false, negatives)
    return rate >= Fraction(text)


def every_cut(rows):
    """One cut a gap, ascending, from all positive to none."""
    distinct = sorted({score for _, score in rows})
    edges = [0.0, *distinct, 1.0 if distinct[-1] < 1 else 1.5]
    return [(low + high) / 2 if i else low / 2 for i, (low, high) in enumerate(pairwise(edges))]


def called(rows, cut):
    return [score >= cut for _, score in rows]


@settings(max_examples=150, deadline=None)
@given(both_classes, st.sampled_from(["youden", "balanced_accuracy", "accuracy", "f1"]))
def test_the_lowest_of_the_best_cuts(rows, method):
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    best = max(quality(method, rows, cut) for cut in every_cut(rows))
    expected = next(cut for cut in every_cut(rows) if quality(method, rows, cut) == best)
    assert called(rows, choose_threshold(labels, scores, method)) == called(rows, expected)


@settings(max_examples=150, deadline=None)
@given(both_classes, st.sampled_from(["0.5", "0.7", "0.9", "0.95", "1"]))
def test_a_target_is_met_as_narrowly_as_can_be(rows, target):
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    for name, pick in (("sensitivity", max), ("specificity", min)):
        method = f"{name}={target}"
        expected = pick(cut for cut in every_cut(rows) if quality(method, rows, cut))
        assert called(rows, choose_threshold(labels, scores, method)) == called(rows, expected)


def test_the_threshold_is_in_the_middle_of_its_gap():
    assert choose_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])) == pytest.approx(0.4)
    assert choose_threshold(np.array([0, 1]), np.array([0.4, 0.8]), "sensitivity=1") == pytest.approx(0.6)
    assert choose_threshold(np.array([1, 0]), np.array([0.4, 0.8]), "sensitivity=1") == pytest.approx(0.2)
    assert choose_threshold(np.array([1, 0]), np.array([0.4, 0.8]), "specificity=1") == pytest.approx(0.9)


def test_neighbouring_floats_are_still_told_apart():
    low = 0.3
    for _ in range(4):
        high = np.nextafter(low, 1)
        threshold = choose_threshold(np.array([0, 1]), np.array([low, high]))
        assert low < threshold <= high
        low = high


def test_even_a_score_of_one_can_be_called_negative():
    threshold = choose_threshold(np.array([0, 1]), np.array([1.0, 0.2]), "specificity=1")
    assert 1 < threshold < 1.001


def test_single_precision_scores_and_unknown_labels():
    labels, scores = np.array([0, -1, 1, 1]), np.array([0.25, 0.4, 0.75, 0.875], dtype=np.float32)
    assert choose_threshold(labels, scores) == 0.5


@pytest.mark.parametrize("labels", [[1, 1], [0, 0], [-1, 0]])
def test_one_class_alone_has_no_threshold(labels):
    with pytest.raises(DataError, match="only one class"):
        choose_threshold(np.array(labels), np.array([0.1, 0.9]))


def test_methods_are_parsed():
    assert parse_method("f1") == ("f1", None)
    assert parse_method("specificity=0.9") == ("specificity", 0.9)


@pytest.mark.parametrize("method", ["sensitivity", "sensitivity=", "specificity=x", "sensitivity=0", "sensitivity=95"])
def test_a_target_must_be_a_fraction(method):
    with pytest.raises(UsageError, match=r"for --threshold has no target.*=0\.95"):
        parse_method(method, "--threshold")


@pytest.mark.parametrize("method", ["yuden", "youden=0.9"])
def test_an_unknown_method_names_the_nearest(method):
    with pytest.raises(UsageError, match=r"Unknown threshold method .* Did you mean youden"):
        choose_threshold(np.array([0, 1]), np.array([0.1, 0.9]), method)
