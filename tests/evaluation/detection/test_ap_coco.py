"""COCO's figures through faster-coco-eval, against a brute-force reading of its definition."""

import sys

import numpy as np
import pytest

from xraycls.errors import MissingExtra
from xraycls.evaluation.detection.cases import ImageBoxes, pool
from xraycls.evaluation.detection.coco import COCO_FIGURES, coco_figures
from xraycls.evaluation.detection.overlap import box_iou
from xraycls.types import Detections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
needs_package = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("faster_coco_eval"), reason="needs the extra: detection"
)


def brute_force(truths, detections, label, threshold, most=100):
    """Average precision over 101 recall points and the recall reached, of one class at one threshold."""
    judged, wanted = [], 0
    for truth, found in zip(truths, detections, strict=True):
        boxes = truth.boxes[truth.classes == label]
        rows = np.flatnonzero(found.labels == label)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")][:most]
        figures = box_iou(found.boxes[rows], boxes)
        free = np.ones(len(boxes), bool)
        wanted += len(boxes)
        for row, near in zip(rows, figures, strict=True):
            near = np.where(free, near, -1)
            hit = len(near) > 0 and near.max() >= threshold
            if hit:
                free[near.argmax()] = False
            judged.append((found.scores[row], hit))
    judged.sort(key=lambda pair: -pair[0])
    hits = np.array([hit for _, hit in judged], float)
    recall, precision = hits.cumsum() / wanted, hits.cumsum() / np.arange(1, len(hits) + 1)
    points = [precision[recall >= t].max(initial=0) for t in np.linspace(0, 1, 101)]
    return np.mean(points), recall[-1] if len(recall) else 0


@needs_package
@pytest.mark.parametrize("seed", range(3))
def test_ap_and_ar_are_their_definition_read_literally(scene, seed):
    truths, found = scene(seed, images=20, classes=2)
    figures = coco_figures(pool(truths, found), 2)
    assert list(figures) == list(COCO_FIGURES)
    table = np.array([[brute_force(truths, found, c, t) for c in range(2)] for t in THRESHOLDS])
    assert figures["coco_ap"] == pytest.approx(table[..., 0].mean(), abs=1e-9)
    assert figures["coco_ap50"] == pytest.approx(table[0, :, 0].mean(), abs=1e-9)
    assert figures["coco_ap75"] == pytest.approx(table[5, :, 0].mean(), abs=1e-9)
    assert figures["coco_ar100"] == pytest.approx(table[..., 1].mean(), abs=1e-9)
    one = np.array([[brute_force(truths, found, c, t, most=1)[1] for c in range(2)] for t in THRESHOLDS])
    assert figures["coco_ar1"] == pytest.approx(one.mean(), abs=1e-9)


@needs_package
def test_sizes_are_areas_and_absent_ones_are_undefined():
    squares = [[0, 0, side, side] for side in (31, 95, 97)]  # small, medium and large; of large boxes half are found
    truths = [ImageBoxes.of([square], [0]) for square in (*squares, squares[2])]
    found = [*(Detections.of([square], [0], [0.9]) for square in squares), Detections.of()]
    figures = coco_figures(pool(truths, found), 1)
    assert figures["coco_ap_small"] == figures["coco_ap_medium"] == pytest.approx(1)
    assert figures["coco_ar_large"] == pytest.approx(0.5)
    assert figures["coco_ap"] == pytest.approx(76 / 101)  # recall 0.75 reaches points 0, 0.01 … 0.75
    only_small = coco_figures(pool(truths[:1], found[:1]), 1)
    assert np.isnan([only_small["coco_ap_medium"], only_small["coco_ap_large"], only_small["coco_ar_large"]]).all()


@needs_package
def test_difficult_boxes_are_crowds():
    box = [10, 10, 60, 60]
    truths = [ImageBoxes.of([box, [100, 100, 150, 150]], [0, 0], [True, False])]
    found = [Detections.of([box, box, [100, 100, 150, 150]], [0, 0, 0], [0.9, 0.8, 0.7])]
    assert coco_figures(pool(truths, found), 1)["coco_ap"] == pytest.approx(1)


@needs_package
def test_of_each_class_in_an_image_the_best_hundred_count():
    truth = [10, 10, 60, 60]
    truths = [ImageBoxes.of([truth, truth], [0, 1]), ImageBoxes.of()]
    nowhere = np.tile([300.0, 300, 340, 340], (99, 1))
    scores = np.linspace(0.9, 0.6, 99)
    for late, expected in ((0, 1.0), (1, 0.5)):  # the hit of class 0 comes as number 100 or 101
        boxes = np.concatenate([nowhere, np.tile([300.0, 300, 340, 340], (late, 1)), [truth, truth]])
        labels = np.concatenate([np.zeros(99 + late + 1), [1]])
        found = [Detections.of(boxes, labels, np.concatenate([scores, [0.55] * late, [0.5, 0.5]])), Detections.of()]
        assert coco_figures(pool(truths, found), 2)["coco_ar100"] == expected


@needs_package
@pytest.mark.parametrize("found", [Detections.of(), Detections.of([[0, 0, 9, 9]], [0], [0.5])])
def test_nothing_to_find_is_undefined_and_nothing_found_is_0(found):
    assert np.isnan(list(coco_figures(pool([ImageBoxes.of()], [found]), 1).values())).all()
    figures = coco_figures(pool([ImageBoxes.of([[20, 20, 70, 70]], [0])], [found]), 1)
    assert figures["coco_ap"] == figures["coco_ar100"] == 0


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtra, match="pip install 'faster-coco-eval"):
        coco_figures(pool([ImageBoxes.of()], [Detections.of()]), 1)
