"""The score from which boxes are reported, against the figure of the challenge threshold by threshold."""

import numpy as np
import pytest

from xraycls.evaluation.detection.cases import ImageBoxes, pool
from xraycls.evaluation.detection.operating_point import SCORES, choose_point, score_curve
from xraycls.evaluation.detection.overlap import overlaps
from xraycls.evaluation.detection.rsna import rsna_scores
from xraycls.types import Detections


def random_cases(seed, images=30):
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(images):
        corners = rng.integers(0, 60, (rng.integers(0, 3), 2))
        boxes = np.concatenate([corners, corners + rng.integers(10, 40, corners.shape)], axis=1)
        near = np.repeat(boxes, rng.integers(0, 3), axis=0) + rng.integers(-4, 5, (1, 4))
        far = np.array([[70, 70, 90, 95]])[: rng.integers(0, 2)]
        guesses = np.concatenate([near, far]).astype(float)
        truths.append(ImageBoxes.of(boxes, [0] * len(boxes)))
        found.append(Detections.of(guesses, [0] * len(guesses), rng.integers(1, 100, len(guesses)) / 100))
    return pool(truths, found)


@pytest.mark.parametrize("seed", range(3))
def test_one_matching_gives_the_figure_at_every_threshold(seed):
    cases = random_cases(seed)
    pairs = overlaps(cases, 0.4)
    curve = score_curve(cases, pairs)
    for step in range(0, len(SCORES), 7):
        assert curve[step] == pytest.approx(rsna_scores(cases, pairs, SCORES[step]), nan_ok=True)


def test_the_middle_of_the_plateau_of_the_best_candidate_is_taken():
    low, high = np.full((99, 4), 0.2, np.float32), np.zeros((99, 4), np.float32)
    high[40:61] = 0.5
    point = choose_point([low, high], resamples=0)
    assert (point.candidate, point.score, point.figure) == (1, 0.51, 0.5)


def test_no_image_is_judged_by_what_it_chose():
    # Every image is right at a threshold of its own and at no other: what others choose never fits.
    curve = np.zeros((99, 4), np.float32)
    curve[[10, 30, 50, 70], range(4)] = 1.0
    point = choose_point([curve], resamples=50)
    assert point.figure == 0.25
    assert point.nested.value == 0.0


def test_a_patient_is_not_divided():
    # Both films of a patient are right where those of no other are.
    curve = np.zeros((99, 8), np.float32)
    for patient, step in enumerate((10, 30, 50, 70)):
        curve[step, [patient, patient + 4]] = 1.0
    point = choose_point([curve], ["a", "b", "c", "d"] * 2, resamples=0)
    assert point.nested.value == 0.0


def test_nothing_is_chosen_where_nothing_is_hit():
    assert choose_point([np.zeros((99, 5), np.float32)], resamples=0) is None
