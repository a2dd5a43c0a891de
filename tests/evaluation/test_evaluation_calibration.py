"""Calibration error against closed forms, a plain loop and scikit-learn's calibration curve."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from xraycls.evaluation.calibration import (
    expected_calibration_error,
    reliability_curve,
    weighted_calibration_error,
)


def two_columns(positive):
    return np.column_stack([1 - np.asarray(positive), positive])


def plain_error(labels, probabilities, bins):
    """The definition, bin by bin."""
    if probabilities.shape[1] == 2:
        judged, right = probabilities[:, 1], labels == 1
    else:
        judged, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    total = 0.0
    for m in range(bins):
        inside = (judged > m / bins) & (judged <= (m + 1) / bins) | ((m == 0) & (judged == 0))
        if inside.any():
            total += inside.sum() / len(labels) * abs(judged[inside].mean() - right[inside].mean())
    return total


@pytest.mark.parametrize(
    ("labels", "positive", "error"),
    [
        ([0, 1, 1], [0.0, 1.0, 1.0], 0.0),
        ([0, 1], [1.0, 0.0], 1.0),
        ([0, 1, 0, 1], [0.8, 0.8, 0.8, 0.8], 0.3),
        ([0, 0, 0, 1], [0.25, 0.25, 0.25, 0.25], 0.0),
        ([0, 0, 1, 1], [0.1, 0.1, 0.9, 0.9], 0.1),
    ],
)
def test_two_classes_in_closed_form(labels, positive, error):
    assert expected_calibration_error(np.array(labels), two_columns(positive)) == pytest.approx(error)


def test_more_classes_judge_the_confidence_of_the_class_called():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    labels = np.array([0, 1, 1, 2])  # right at 0.6 half the time, at 0.8 always
    assert expected_calibration_error(labels, probabilities) == pytest.approx((abs(0.6 - 0.5) + abs(0.8 - 1)) / 2)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_is_its_definition(cases, classes, bins):
    labels, probabilities = cases(200, classes, seed=bins)
    assert expected_calibration_error(labels, probabilities, bins) == pytest.approx(
        plain_error(labels, probabilities, bins), abs=1e-12
    )


def test_no_cases_no_error():
    assert math.isnan(expected_calibration_error(np.array([], dtype=np.int64), np.empty((0, 2))))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_weight_counts_as_that_many_cases(cases, classes):
    labels, probabilities = cases(40, classes)
    counts = np.random.default_rng(1).integers(4, size=(5, 40))
    found = weighted_calibration_error(labels, probabilities, counts.astype(float))
    expected = [expected_calibration_error(np.repeat(labels, c), np.repeat(probabilities, c, axis=0)) for c in counts]
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_reliability_curve_is_that_of_scikit_learn(cases):
    labels, probabilities = cases(300, 2)
    curve = reliability_curve(labels, probabilities)
    observed, predicted = calibration_curve(labels, probabilities[:, 1], n_bins=15)
    filled = curve.count > 0
    assert curve.observed[filled] == pytest.approx(observed)
    assert curve.probability[filled] == pytest.approx(predicted)
    assert curve.count.sum() == 300


def test_an_empty_bin_is_undefined_and_an_edge_belongs_below():
    curve = reliability_curve(np.array([0, 1, 1]), two_columns([0.0, 0.2, 1.0]), bins=5)
    assert curve.count.tolist() == [2, 0, 0, 0, 1]
    assert np.isnan(curve.probability[1:4]).all()
    assert np.isnan(curve.observed[1:4]).all()
    assert curve.edges == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
