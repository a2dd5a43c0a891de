"""FROC: a case computed by hand, every threshold tried, and the rules for marks that count nowhere."""

import numpy as np
import pytest

from xraycls.evaluation.detection.cases import ImageBoxes, pool
from xraycls.evaluation.detection.froc import RATES, free_response, froc_curve, sensitivities
from xraycls.evaluation.detection.overlap import box_iou, centre_in_box, overlaps
from xraycls.types import Detections

HERE, THERE, NOWHERE = [0, 0, 40, 40], [100, 0, 140, 40], [300, 300, 340, 340]


def response(truths, found, overlap=box_iou, floor=0.5, **options):
    cases = pool(truths, found)
    return free_response(cases, overlaps(cases, floor, overlap), **options)


def read(marks, rates=RATES):
    return sensitivities(marks, np.ones((1, marks.n_images)), rates)[0]


def test_by_hand():
    # Four images, two of them negative, three lesions. In order of score: hit, false, hit, false, false.
    truths = [ImageBoxes.of([HERE, THERE], [0, 0]), ImageBoxes.of([HERE], [0]), ImageBoxes.of(), ImageBoxes.of()]
    found = [
        Detections.of([HERE, THERE], [0, 0], [0.9, 0.6]),
        Detections.of([NOWHERE], [0], [0.5]),
        Detections.of([HERE], [0], [0.7]),
        Detections.of([HERE], [0], [0.4]),
    ]
    marks = response(truths, found)
    # 1/8 of a mark an image is half a mark in four images: none. 1/4 is one, and so on.
    assert read(marks, (0.125, 0.25, 0.5, 0.75, 8)).tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])
    false, sensitivity = froc_curve(marks)
    assert false.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.75]
    assert sensitivity == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3])


def test_negative_images_count_in_the_rate():
    truths = [ImageBoxes.of([HERE, THERE], [0, 0])]
    found = [Detections.of([NOWHERE, HERE, THERE], [0, 0, 0], [0.9, 0.8, 0.7])]
    alone = read(response(truths, found), (0.5, 1))
    with_negatives = read(response([*truths, ImageBoxes.of()], [*found, Detections.of()]), (0.5, 1))
    assert alone.tolist() == [0, 1]
    assert with_negatives.tolist() == [1, 1]


def test_further_marks_of_a_lesion_and_marks_of_difficult_ones_count_nowhere():
    truths = [ImageBoxes.of([HERE, THERE], [0, 0], [False, True])]
    found = [Detections.of([HERE, HERE, THERE, THERE], [0] * 4, [0.5, 0.9, 0.8, 0.7])]
    marks = response(truths, found)
    assert marks.lesion_scores.tolist() == pytest.approx([0.9])
    assert len(marks.false_scores) == 0
    assert read(marks).tolist() == [1] * len(RATES)


def test_marks_of_equal_score_come_together():
    truths = [ImageBoxes.of([HERE], [0])]
    found = [Detections.of([HERE, NOWHERE, NOWHERE], [0] * 3, [0.5, 0.5, 0.5])]
    assert read(response(truths, found), (1, 2)).tolist() == [0, 1]


def test_a_mark_hits_its_own_class_and_classes_stand_alone():
    truths = [ImageBoxes.of([HERE, THERE], [0, 1])]
    found = [Detections.of([HERE, HERE, THERE], [0, 1, 1], [0.9, 0.8, 0.7])]
    assert read(response(truths, found), (0.5, 1)).tolist() == [0.5, 1]
    assert read(response(truths, found, only_class=0), (0.5,)).tolist() == [1]
    assert read(response(truths, found, only_class=1), (0.5, 1)).tolist() == [0, 1]


def test_a_centre_hits_where_the_overlap_is_small():
    truths = [ImageBoxes.of([[0, 0, 100, 100]], [0])]
    found = [Detections.of([[40, 40, 60, 60]], [0], [0.9])]
    assert read(response(truths, found), (0.125,)).tolist() == [0]
    assert read(response(truths, found, centre_in_box, 1.0), (0.125,)).tolist() == [1]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_every_threshold_tried(scene, seed, tied):
    truths, found = scene(seed, images=10, classes=2, difficult=0.2, tied=tied)
    lesions, marks, wanted = [], [], 0
    for truth, one in zip(truths, found, strict=True):
        hit = (box_iou(one.boxes, truth.boxes) >= 0.5) & (one.labels[:, None] == truth.classes)
        marks += one.scores[~hit.any(axis=1)].tolist()
        for i in np.flatnonzero(~truth.difficult):
            wanted += 1
            lesions += [one.scores[hit[:, i]].max()] if hit[:, i].any() else []
    expected = []
    for rate in RATES:
        kept = [t for t in [2.0, *lesions, *marks] if sum(m >= t for m in marks) <= rate * 10]
        expected.append(max(sum(score >= t for score in lesions) / wanted for t in kept))
    everything = response(truths, found)
    assert read(everything) == pytest.approx(expected)
    false, sensitivity = froc_curve(everything)
    at_rate = [sensitivity[false <= rate].max() for rate in RATES]
    assert at_rate == pytest.approx(expected)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(sensitivity) >= 0).all()


def test_without_lesions_sensitivity_is_undefined():
    marks = response([ImageBoxes.of()], [Detections.of([HERE], [0], [0.5])])
    assert np.isnan(read(marks)).all()
    assert np.isnan(froc_curve(marks)[1]).all()
