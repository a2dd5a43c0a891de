"""Weights are resamples: every figure under them equals the figure of images literally drawn again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xraycls.evaluation.detection import curves
from xraycls.evaluation.detection.average_precision import average_precision, strict_average_precision
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.intervals import estimates
from xraycls.evaluation.detection.judged import figures, judge
from xraycls.types import Detections

SETTINGS = {"iou_threshold": 0.5, "confidence_threshold": 0.01, "score_threshold": 0.5, "hit": "iou"}
NAMES = ["a", "b"]


@pytest.mark.parametrize(("seed", "chunk"), [(0, 150), (1, 150), (2, 1)])  # several parts; less than one resample
def test_weighted_figures_are_those_of_images_drawn_again(scene, seed, chunk, monkeypatch):
    truths, found = scene(seed, images=14, classes=2, difficult=0.15)
    weights = np.random.default_rng(seed).multinomial(14, np.full(14, 1 / 14), size=30).astype(float)
    holds = np.array([[(one.classes[~one.difficult] == c).any() for c in range(2)] for one in truths])
    weights = weights[(weights @ holds > 0).all(axis=1)]  # each class is there to be found
    assert len(weights) > 20
    monkeypatch.setattr(curves, "_CHUNK", chunk)
    judged = judge(truths, found, 2, **SETTINGS)
    fast = figures(judged, weights)
    for row, drawn in enumerate(weights.astype(int)):
        again = np.repeat(np.arange(14), drawn)
        slow_truths, slow_found = [truths[i] for i in again], [found[i] for i in again]
        slow = figures(judge(slow_truths, slow_found, 2, **SETTINGS), np.ones((1, len(again))))
        assert list(fast) == list(slow)
        for name in fast:
            assert fast[name][row] == pytest.approx(slow[name][0], abs=1e-12, nan_ok=True), name
        for mode in ("sample", "integrate"):
            literal = average_precision(slow_truths, slow_found, NAMES, mode=mode)
            assert fast[f"ap_{mode}"][row] == pytest.approx(literal.mean, abs=1e-12)
            [literal] = strict_average_precision(slow_truths, slow_found, NAMES, mode=mode)
            assert fast[f"voc_ap_{mode}"][row] == pytest.approx(literal.mean, abs=1e-12)


def test_a_resample_without_a_box_to_find_is_left_out():
    box = [0, 0, 50, 50]
    truths = [ImageBoxes.of([box], [0]), ImageBoxes.of()]
    found = [Detections.of([box], [0], [0.9]), Detections.of()]
    judged = judge(truths, found, 1, **SETTINGS)
    areas = figures(judged, np.array([[0.0, 2], [1, 1]]))
    for name in ("ap_sample", "voc_ap_integrate", "froc"):
        assert np.isnan(areas[name][0])
        assert areas[name][1] == pytest.approx(1)
    estimate = estimates(lambda weights: figures(judged, weights), 2, resamples=50)["ap_integrate"][0]
    assert (estimate.low, estimate.high) == (1, 1)


def test_a_mean_over_classes_needs_each_class_to_be_drawn():
    box = [0, 0, 50, 50]
    truths = [ImageBoxes.of([box], [0]), ImageBoxes.of([box], [1])]
    found = [Detections.of([box], [0], [0.9]), Detections.of()]
    drawn = figures(judge(truths, found, 3, **SETTINGS), np.array([[2.0, 0], [1, 1]]))
    assert drawn["each ap_sample"] == pytest.approx(np.array([[1, np.nan, 0], [1, 0, 0]]), nan_ok=True)
    assert drawn["ap_sample"] == pytest.approx([np.nan, 1 / 3], nan_ok=True)  # TAO's mean counts an absent class as 0
    assert drawn["voc_ap_sample"] == pytest.approx([np.nan, 1 / 2], nan_ok=True)


def test_patients_are_drawn_whole_and_the_seed_decides():
    # Nine images of each of 20 patients, found in all or in none of a patient's images.
    box = [0, 0, 50, 50]
    truths = [ImageBoxes.of([box], [0])] * 180
    found = [Detections.of([box], [0], [0.9]) if i // 9 % 2 else Detections.of() for i in range(180)]
    judged = judge(truths, found, 1, **SETTINGS)

    def statistic(weights):
        return {"froc": figures(judged, weights)["froc"]}

    alone = estimates(statistic, 180, resamples=300)["froc"][0]
    together = estimates(statistic, 180, groups=np.arange(180) // 9, resamples=300)["froc"][0]
    assert alone.value == together.value == 0.5
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(3, rel=0.25)  # √9
    assert estimates(statistic, 180, resamples=300)["froc"][0] == alone
    assert estimates(statistic, 180, resamples=300, seed=1)["froc"][0] != alone


def test_without_resamples_there_is_no_interval():
    estimate = estimates(lambda weights: {"sum": weights.sum(axis=1)}, 3, resamples=0)["sum"][0]
    assert estimate.value == 3
    assert np.isnan([estimate.low, estimate.high]).all()


def measured(truths, found, **changes):
    return figures(judge(truths, found, 2, **{**SETTINGS, **changes}), np.ones((1, len(truths))))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_invariants(scene, data):
    seed = data.draw(st.integers(0, 10**6), label="seed")
    truths, found = scene(seed, images=6, difficult=0.2)
    before = measured(truths, found)
    for name, values in before.items():
        inside = values[~np.isnan(values)]
        assert ((inside >= 0) & (inside <= 1 + 1e-12)).all(), name

    order = data.draw(st.permutations(range(6)), label="order")
    shuffled = measured([truths[i] for i in order], [found[i] for i in order])
    mirrored = measured(
        [ImageBoxes(one.boxes * 2, one.classes, one.difficult) for one in truths],
        [Detections(one.boxes[::-1] * 2, one.labels[::-1], one.scores[::-1]) for one in found],
    )
    for name, values in before.items():
        assert values == pytest.approx(shuffled[name], abs=1e-12, nan_ok=True), name
        if not name.removeprefix("each ").startswith("voc"):  # whole pixels of boxes twice as large are others
            assert values == pytest.approx(mirrored[name], abs=1e-12, nan_ok=True), name

    # A false positive that is last in the ranking changes no area, and never raises a sensitivity.
    boxes, classes = np.append(found[0].boxes, [[900, 900, 950, 950]], axis=0), np.append(found[0].labels, 0)
    after = measured(truths, [Detections(boxes, classes, np.append(found[0].scores, 0.015)), *found[1:]])
    for name in ("ap_sample", "ap_integrate"):
        assert after[name] == pytest.approx(before[name], abs=1e-12, nan_ok=True)
    assert (np.nan_to_num(after["froc"]) <= np.nan_to_num(before["froc"]) + 1e-12).all()
    # First in the ranking it never raises one either.
    lowered = measured(truths, [Detections(boxes, classes, np.append(found[0].scores, 1.5)), *found[1:]])
    for name in ("ap_sample", "ap_integrate", "voc_ap_sample", "voc_ap_integrate", "froc", "rsna"):
        assert (np.nan_to_num(lowered[name]) <= np.nan_to_num(before[name]) + 1e-12).all(), name


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_finding_exactly_what_is_there_is_perfect(scene, seed):
    truths, _ = scene(seed, images=5, crowded=False)
    truths = [*truths, ImageBoxes.of([[700, 700, 750, 750], [700, 800, 750, 850]], [0, 1])]  # each class occurs
    found = [Detections.of(one.boxes, one.classes, np.full(len(one.classes), 0.8)) for one in truths]
    for name, values in measured(truths, found).items():
        assert values == pytest.approx(np.ones_like(values)), name
