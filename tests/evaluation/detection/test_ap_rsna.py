"""RSNA's metric: cases computed by hand, and the challenge's text read literally."""

import numpy as np
import pytest

from xraycls.evaluation.detection.cases import ImageBoxes, pool
from xraycls.evaluation.detection.overlap import box_iou, overlaps
from xraycls.evaluation.detection.rsna import IOU_THRESHOLDS, mean_score, rsna_scores
from xraycls.types import Detections

SQUARE = [0, 0, 100, 100]


def scores(truths, found, score_threshold=0.0):
    cases = pool(truths, found)
    return rsna_scores(cases, overlaps(cases, 0.4), score_threshold)


def one_image(truth, found, order=None):
    order = range(len(found), 0, -1) if order is None else order
    return scores(
        [ImageBoxes.of(truth, [0] * len(truth))],
        [Detections.of(found, [0] * len(found), [0.1 * place for place in order])],
    )[0]


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ([SQUARE], [SQUARE], 1),
        ([SQUARE], [], 0),
        ([], [SQUARE], 0),
        ([], [], np.nan),
        ([SQUARE], [[0, 0, 100, 60]], 4 / 8),  # IoU 0.6 is more than 0.40, 0.45, 0.50 and 0.55, and not than 0.60
        ([SQUARE], [SQUARE, [200, 200, 300, 300]], 1 / 2),
        ([SQUARE, [200, 200, 300, 300]], [SQUARE], 1 / 2),
        ([SQUARE], [SQUARE, SQUARE], 1 / 2),  # a second prediction of a box is a false positive
        ([SQUARE, [200, 0, 300, 100]], [[0, 0, 100, 70], [200, 0, 300, 70]], 6 / 8),
    ],
)
def test_by_hand(truth, found, expected):
    assert one_image(truth, found) == pytest.approx(expected, nan_ok=True)


def test_confidence_decides_who_chooses_first():
    # A overlaps both boxes and the second most, B the second only. B first: A takes what is left, both hit.
    # A first: it takes the second, and B is false while the first box is missed.
    truth = [[0, 0, 100, 100], [0, 40, 100, 140]]
    a, b = [0, 22, 100, 122], [0, 45, 100, 145]
    assert box_iou(np.array([a, b], float), np.array(truth, float)).round(2).tolist() == [[0.64, 0.69], [0.38, 0.9]]
    b_first = one_image(truth, [a, b], order=[1, 2])
    a_first = one_image(truth, [a, b], order=[2, 1])
    assert b_first == pytest.approx((5 * 1 + 3 * 1 / 3) / 8)  # A reaches 0.40 … 0.60
    # From 0.70 on A takes nothing and B is free to hit; below it B is too late.
    assert a_first == pytest.approx(8 * (1 / 3) / 8)


def test_only_predictions_count():
    truths = [ImageBoxes.of([SQUARE], [0]), ImageBoxes.of()]
    found = [Detections.of([SQUARE, [200, 0, 300, 99]], [0, 0], [0.5, 0.4]), Detections.of([SQUARE], [0], [0.3])]
    assert scores(truths, found).tolist() == [0.5, 0]
    left = scores(truths, found, 0.5)
    assert left[0] == 1
    assert np.isnan(left[1])


def literal(truth, found):
    if len(truth) == 0 and len(found.scores) == 0:
        return np.nan
    order = np.argsort(-found.scores, kind="stable")
    total = 0.0
    for threshold in (0.4 + 0.05 * k for k in range(8)):
        free, true = list(range(len(truth))), 0
        for row in order:
            figures = {i: box_iou(found.boxes[row][None], truth[i][None])[0, 0] for i in free}
            best = max(figures, key=figures.get, default=None)
            if best is not None and figures[best] > threshold:
                free.remove(best)
                true += 1
        total += true / (len(truth) + len(found.scores) - true)
    return total / 8


@pytest.mark.parametrize("seed", range(3))
def test_the_text_of_the_challenge_read_literally(scene, seed):
    truths, found = scene(seed, images=25, classes=1)
    truths, found = [*truths, ImageBoxes.of()], [*found, Detections.of()]
    expected = [literal(truth.boxes, one) for truth, one in zip(truths, found, strict=True)]
    got = scores(truths, found)
    assert got == pytest.approx(expected, nan_ok=True)
    assert mean_score(got, np.ones((1, 26))) == pytest.approx([np.nanmean(expected)])


def test_nothing_at_all_is_undefined():
    assert np.isnan(mean_score(scores([ImageBoxes.of()], [Detections.of()]), np.ones((2, 1)))).all()


def test_the_thresholds_are_those_of_the_challenge():
    assert np.allclose(IOU_THRESHOLDS, np.arange(0.4, 0.8, 0.05))
