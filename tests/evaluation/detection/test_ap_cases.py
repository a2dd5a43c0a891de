"""What goes into evaluation: arrays, boxes of samples, and input that can't be judged."""

import numpy as np
import pytest

from xraycls.errors import UsageError, XrayclsError
from xraycls.evaluation.detection.cases import ImageBoxes, detections_from_boxes, pool, rounded, rounded_truth
from xraycls.types import Box, Detections

CLASSES = ("effusion", "opacity")


def test_boxes_of_a_sample():
    boxes = (Box("opacity", 1, 2, 30, 40), Box("effusion", 5, 6, 7.5, 8, difficult=True))
    truth = ImageBoxes.from_boxes(boxes, CLASSES)
    assert truth.boxes.tolist() == [[1, 2, 30, 40], [5, 6, 7.5, 8]]
    assert truth.boxes.dtype == np.float64
    assert truth.classes.tolist() == [1, 0]
    assert truth.difficult.tolist() == [False, True]
    found = detections_from_boxes([Box("opacity", 1, 2, 3, 4, score=0.25)], CLASSES)
    assert (found.boxes.tolist(), found.labels.tolist(), found.scores.tolist()) == ([[1, 2, 3, 4]], [1], [0.25])
    for empty in (ImageBoxes.of(), ImageBoxes.from_boxes((), CLASSES), Detections.of(), detections_from_boxes((), ())):
        assert empty.boxes.shape == (0, 4)


def test_a_class_that_is_unknown_is_named_with_the_nearest():
    with pytest.raises(UsageError, match=r"Unknown class 'opacty'. Did you mean opacity\?"):
        ImageBoxes.from_boxes([Box("opacty", 1, 2, 3, 4)], CLASSES)


def test_pooled_detections_fall_in_score_and_ties_keep_to_their_images():
    found = [
        Detections.of(np.arange(12).reshape(3, 4), [0, 0, 0], [0.5, 0.9, 0.5]),
        Detections.of(np.arange(12, 20).reshape(2, 4), [0, 0], [0.5, 0.1]),
    ]
    truths = [ImageBoxes.of(), ImageBoxes.of([[0, 0, 1, 1]], [0])]
    first, last = (pool(truths, found, last_first=late) for late in (False, True))
    assert first.detections.scores.tolist() == last.detections.scores.tolist()
    assert first.detections.scores.tolist() == pytest.approx([0.9, 0.5, 0.5, 0.5, 0.1])
    assert first.detections.boxes[:, 0].tolist() == [4, 0, 8, 12, 16]
    assert last.detections.boxes[:, 0].tolist() == [4, 8, 0, 12, 16]
    assert first.detection_image.tolist() == [0, 0, 0, 1, 1]
    assert first.truth_image.tolist() == [1]
    assert pool(truths, found, confidence_threshold=0.5).detections.scores.tolist() == pytest.approx(
        [0.9, 0.5, 0.5, 0.5]
    )


@pytest.mark.parametrize("broken", [([[1, 2, 3, 4]], [np.nan]), ([[1, np.inf, 3, 4]], [0.5])])
def test_what_is_not_a_number_is_told(broken):
    boxes, scores = broken
    with pytest.raises(XrayclsError, match="aren't numbers in 1 images"):
        pool([ImageBoxes.of()] * 2, [Detections.of(), Detections.of(boxes, [0], scores)])


def test_images_must_correspond():
    with pytest.raises(ValueError, match="1 images of ground truth and 2 of detections"):
        pool([ImageBoxes.of()], [Detections.of()] * 2)


def test_rounding_is_half_to_even_and_stays_within_the_image():
    assert rounded(np.array([[-3.2, 0.5, 101.7, 51.5]]), 100, 50).tolist() == [[0, 0, 100, 50]]
    assert rounded(np.array([[1.5, 2.5, 3.49, 4.51]]), 100, 50).tolist() == [[2, 2, 3, 5]]


def test_ground_truth_ends_at_the_last_pixel_and_has_an_area():
    boxes = [[-3.2, 0.5, 101.7, 51.5], [10.5, 2.5, 10.9, 9], [99.2, 1, 130, 9], [20, 4.4, 30, 4.6], [1, 2, 3, 4]]
    found = rounded_truth(ImageBoxes.of(boxes, range(5), [True, False, False, False, False]), 100, 50)
    assert found.boxes.tolist() == [[0, 0, 99, 49], [10, 2, 11, 9], [20, 4, 30, 5], [1, 2, 3, 4]]
    assert (found.classes.tolist(), found.difficult.tolist()) == ([0, 1, 3, 4], [True, False, False, False])
    assert len(rounded_truth(ImageBoxes.of(), 100, 50).boxes) == 0
