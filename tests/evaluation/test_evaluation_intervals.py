"""Bootstrap intervals against plain resampling, closed forms and repeated simulation."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from xraycls.evaluation import intervals
from xraycls.evaluation.calibration import expected_calibration_error, weighted_calibration_error
from xraycls.evaluation.intervals import (
    basic_interval,
    bootstrap,
    draw_counts,
    group_indices,
    percentile_interval,
)
from xraycls.evaluation.ranking import RankedCases


def mean_of(values):
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


def test_counts_are_draws_with_replacement():
    counts = draw_counts(np.arange(50), 4000, np.random.default_rng(0))
    assert counts.shape == (4000, 50)
    assert (counts.sum(axis=1) == 50).all()
    # Each case's count is binomial(50, 1/50): mean 1, variance 0.98.
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.1)
    assert counts.var() == pytest.approx(0.98, abs=0.02)


def test_a_group_is_drawn_as_a_whole():
    members = group_indices(["a", "b", "a", None, "c", None])
    assert members.tolist() == [0, 1, 0, 2, 3, 4]
    counts = draw_counts(members, 300, np.random.default_rng(0))
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, [0, 1, 3, 4, 5]].sum(axis=1) == 5).all()
    assert not (counts[:, 3] == counts[:, 5]).all()


def test_the_bootstrap_is_a_plain_loop_over_the_same_counts(cases):
    labels, probabilities = cases(60, 2)
    found = bootstrap(
        lambda weights: {"auroc": RankedCases(labels == 1, probabilities[:, 1]).areas(weights)[0]},
        60,
        resamples=100,
        seed=5,
    )["auroc"]
    counts = draw_counts(np.arange(60), 100, np.random.default_rng(5)).astype(int)
    expected = [roc_auc_score(np.repeat(labels, c), np.repeat(probabilities[:, 1], c)) for c in counts]
    assert found == pytest.approx(expected, abs=1e-12)
    low, high = percentile_interval(found)
    assert (low, high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))


def test_the_seed_decides_and_memory_is_bounded(monkeypatch):
    values, shapes = np.random.default_rng(0).random(30), []

    def statistic(weights):
        shapes.append(weights.shape)
        return mean_of(values)(weights)

    whole = bootstrap(statistic, 30, resamples=100)["mean"]
    assert shapes == [(100, 30)]
    assert (bootstrap(statistic, 30, resamples=100)["mean"] == whole).all()
    assert not (bootstrap(statistic, 30, resamples=100, seed=1)["mean"] == whole).any()
    shapes.clear()
    monkeypatch.setattr(intervals, "_CHUNK", 30 * 40)
    assert len(bootstrap(statistic, 30, resamples=100)["mean"]) == 100
    assert shapes == [(40, 30), (40, 30), (20, 30)]


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(size=400)
    low, high = percentile_interval(bootstrap(mean_of(values), 400, resamples=4000)["mean"])
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05 * half)


def test_images_of_one_patient_do_not_pass_for_many():
    patients = np.random.default_rng(0).normal(size=100)
    images, patient_of = np.repeat(patients, 9), np.repeat(np.arange(100), 9)
    alone, together = (
        np.subtract(*reversed(percentile_interval(bootstrap(mean_of(images), 900, groups=groups)["mean"])))
        for groups in (None, patient_of)
    )
    assert together / alone == pytest.approx(3, rel=0.1)  # √9


def test_undefined_resamples_are_left_out():
    assert percentile_interval(np.array([np.nan, 1.0, 3.0, np.nan]), confidence=1) == (1, 3)
    assert all(math.isnan(end) for end in percentile_interval(np.full(5, np.nan)))
    assert all(math.isnan(end) for end in basic_interval(np.full(5, np.nan), 0.5))


def test_the_basic_interval_mirrors_holds_the_estimate_and_stays_above_its_floor():
    values = np.linspace(0.2, 0.4, 1001)
    assert basic_interval(values, 0.25, confidence=1) == pytest.approx((0.1, 0.3))
    assert basic_interval(values, 0.15, confidence=1) == pytest.approx((0, 0.15))


def test_the_interval_of_the_auroc_covers_the_truth():
    # Normal scores one standard deviation apart: the true AUROC is Φ(1/√2) = 0.7602.
    truth, covered, rng = 0.5 * (1 + math.erf(0.5)), 0, np.random.default_rng(0)
    positive = np.arange(120) < 60
    for seed in range(200):
        scores = rng.normal(size=120) + positive
        drawn = bootstrap(
            lambda weights, s=scores: {"auroc": RankedCases(positive, s).areas(weights)[0]},
            120,
            resamples=300,
            seed=seed,
        )
        low, high = percentile_interval(drawn["auroc"])
        covered += low <= truth <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_the_interval_of_the_calibration_error_takes_the_bias_off():
    # Overconfident: where the model says p, at the middle of a bin, the truth is ½ + 0.6 (p - ½).
    rng, basic, percentile = np.random.default_rng(0), 0, 0
    middles = (np.arange(15) + 0.5) / 15
    truth = 0.4 * np.abs(middles - 0.5).mean()
    for seed in range(100):
        positive = rng.choice(middles, size=200)
        labels = (rng.random(200) < 0.5 + 0.6 * (positive - 0.5)).astype(np.int64)
        probabilities = np.column_stack([1 - positive, positive])
        drawn = bootstrap(
            lambda weights, y=labels, p=probabilities: {"ece": weighted_calibration_error(y, p, weights, 15)},
            200,
            resamples=200,
            seed=seed,
        )["ece"]
        low, high = percentile_interval(drawn)
        percentile += low <= truth <= high
        low, high = basic_interval(drawn, expected_calibration_error(labels, probabilities))
        basic += low <= truth <= high
    # Over 400 such sets the basic interval covers 88 %, the percentile interval 16 %; three standard errors of 100.
    assert basic >= 78
    assert percentile <= 27
