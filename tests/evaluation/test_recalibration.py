"""Maps of probabilities against scikit-learn and scipy."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss, roc_auc_score

from xraycls.evaluation.recalibration import (
    FITS,
    LogitMap,
    StepMap,
    fit_softmax_temperature,
    logits_of,
    mapped,
    mapped_threshold,
    parse_map,
    softmax,
)


def draw(n: int = 400, seed: int = 0, slope: float = 0.4, offset: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes and overconfident probabilities of a model whose prevalence is another one."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, n)
    positive = rng.random(n) < 1 / (1 + np.exp(-(slope * logits + offset)))
    return positive.astype(np.float64), 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("seed", range(3))
def test_temperature_is_the_least_log_loss_that_scipy_finds(seed):
    positive, probabilities = draw(seed=seed)
    found = FITS["temperature"](positive, probabilities)
    logits = logits_of(probabilities)
    oracle = minimize_scalar(
        lambda slope: log_loss(positive, 1 / (1 + np.exp(-slope * logits))), bounds=(1e-3, 20), method="bounded"
    )
    assert isinstance(found, LogitMap)
    assert found.slope == pytest.approx(oracle.x, rel=1e-4)
    assert found.intercept == 0


class Scored(ClassifierMixin, BaseEstimator):
    """A classifier whose decision is the logit that it is given."""

    classes_ = np.array([0, 1])

    def fit(self, x, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def decision_function(self, x):
        return x[:, 0]

    def predict(self, x):
        return (x[:, 0] > 0).astype(int)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [8, 400])
def test_platt_is_that_of_scikit_learn(seed, n):
    positive, probabilities = draw(n, seed=seed)
    found = FITS["platt"](positive, probabilities)
    logits = logits_of(probabilities)[:, None]
    oracle = CalibratedClassifierCV(FrozenEstimator(Scored()), method="sigmoid", cv=2, ensemble=False)
    oracle.fit(logits, positive.astype(int))
    expected = oracle.predict_proba(logits)[:, 1]
    if found is None:
        assert np.ptp(expected) == 0 or np.corrcoef(expected, logits[:, 0])[0, 1] < 0
    else:
        np.testing.assert_allclose(found(probabilities), expected, atol=2e-4)


def test_isotonic_steps_predict_as_scikit_learn_does():
    positive, probabilities = draw()
    found = FITS["isotonic"](positive, probabilities)
    assert isinstance(found, StepMap)
    grid = np.linspace(0, 1, 501)
    oracle = IsotonicRegression(y_min=1 / 402, y_max=1 - 1 / 402, out_of_bounds="clip").fit(probabilities, positive)
    np.testing.assert_allclose(found(grid), oracle.predict(grid), atol=1e-12)


@pytest.mark.parametrize("method", FITS)
def test_a_map_never_swaps_two_cases_and_comes_back_from_json(method):
    positive, probabilities = draw()
    found = FITS[method](positive, probabilities)
    assert found is not None
    assert (np.diff(found(np.sort(probabilities))) >= 0).all()
    assert parse_map(found.described()) == found
    after = roc_auc_score(positive, found(probabilities))
    assert after == pytest.approx(roc_auc_score(positive, probabilities), abs=0 if method != "isotonic" else 0.02)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_a_mapped_threshold_calls_the_same_cases(method):
    positive, probabilities = draw()
    found = FITS[method](positive, probabilities)
    assert found is not None
    for threshold in (0.0, 0.1, 0.73, 1.0, np.nextafter(1, 2)):
        called = found(probabilities) >= mapped_threshold(threshold, found)
        assert (called == (probabilities >= threshold)).all()


@pytest.mark.parametrize("method", FITS)
def test_scores_that_rank_the_wrong_way_have_no_map(method):
    positive = np.repeat([1.0, 0.0], 20)
    assert FITS[method](positive, np.linspace(0, 1, 40)) is None


@pytest.mark.parametrize("method", FITS)
def test_separated_cases_and_certain_scores_stay_finite(method):
    positive = np.repeat([0.0, 1.0], 5)
    for probabilities in (np.repeat([0.0, 1.0], 5), np.repeat([0.2, 0.8], 5), np.linspace(0, 1, 10)):
        found = FITS[method](positive, probabilities)
        assert found is not None
        values = found(np.array([0.0, 0.5, 1.0]))
        assert np.isfinite(values).all()
        assert values[0] < 0.5 < values[2]


def test_temperature_of_three_classes_is_the_least_log_loss_that_scipy_finds():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (500, 3))
    labels = np.array([rng.choice(3, p=row) for row in softmax(0.5 * logits)])
    probabilities = softmax(logits)
    found = fit_softmax_temperature(labels, probabilities)
    oracle = minimize_scalar(
        lambda slope: log_loss(labels, softmax(slope * np.log(probabilities))), bounds=(1e-3, 20), method="bounded"
    )
    assert found is not None
    assert found.slope == pytest.approx(oracle.x, rel=1e-4)
    expected = softmax(found.slope * logits)
    np.testing.assert_allclose(mapped(probabilities, [found] * 3, multi_label=False), expected, atol=1e-12)


def test_outputs_are_mapped_each_or_as_one_of_two_classes():
    double, half = LogitMap(1, np.log(2)), LogitMap(1, -np.log(2))
    each = mapped(np.array([[0.5, 0.5]]), [double, half], multi_label=True)
    np.testing.assert_allclose(each, [[2 / 3, 1 / 3]])
    np.testing.assert_allclose(mapped(np.array([0.5, 0.5]), [half, double], multi_label=False), [1 / 3, 2 / 3])


@pytest.mark.parametrize(
    "described",
    [{"slope": -1, "intercept": 0}, {"slope": 1}, {"x": [0, 1], "y": [1, 0]}, {"x": [], "y": []}, {"x": [0], "y": [2]}],
)
def test_a_damaged_map_is_refused(described):
    with pytest.raises((ValueError, KeyError)):
        parse_map(described)
