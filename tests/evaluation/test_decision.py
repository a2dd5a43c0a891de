"""Decision curves and reliability by finding."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from xraycls.evaluation.decision import (
    THRESHOLDS,
    decision_plot,
    decision_rows,
    net_benefit,
    outcomes_of,
    reliability_panels,
    reliability_rows,
)


@pytest.fixture(scope="module")
def outcomes():
    rng = np.random.default_rng(0)
    targets = rng.choice([0.0, 1.0, 0.5, np.nan], (300, 2), p=[0.5, 0.3, 0.1, 0.1])
    return outcomes_of(targets, np.round(rng.random((300, 2)), 2), ("Edema", "Mass"))


def test_net_benefit_is_that_of_the_confusion_matrix_at_each_threshold(outcomes):
    for each in outcomes.values():
        benefit, of_all = net_benefit(each.positive, each.scores)
        for at, found, everybody in zip(THRESHOLDS, benefit, of_all, strict=True):
            (tn, fp), (fn, tp) = confusion_matrix(each.positive, each.scores >= at)
            n, odds = tn + fp + fn + tp, at / (1 - at)
            assert found == pytest.approx(tp / n - fp / n * odds)
            assert everybody == pytest.approx((tp + fn) / n - (tn + fp) / n * odds)


def test_cases_of_which_a_finding_is_not_known_count_nothing(outcomes):
    assert all(0 < len(each.positive) < 300 for each in outcomes.values())
    nothing = outcomes_of(np.full((3, 1), np.nan), np.zeros((3, 1)), ("Edema",))
    assert (nothing, decision_rows(nothing), reliability_rows(nothing)) == ({}, [], [])


def test_reliability_rows_are_scikit_learns_curve(outcomes):
    rows = [row for row in reliability_rows(outcomes) if row[0] == "Mass"]
    mass = outcomes["Mass"]
    observed, mean = calibration_curve(mass.positive, mass.scores, n_bins=15)
    assert [float(str(row[5])) for row in rows] == pytest.approx(observed, abs=1e-5)
    assert [float(str(row[4])) for row in rows] == pytest.approx(mean, abs=1e-5)
    assert sum(int(str(row[3])) for row in rows) == len(mass.positive)


def test_every_finding_has_its_rows_and_a_panel(outcomes):
    assert len(decision_rows(outcomes)) == 2 * len(THRESHOLDS)
    for figure in (decision_plot(outcomes), reliability_panels(outcomes)):
        assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["Edema", "Mass"]
    assert decision_plot({}).axes
