"""Matching and average precision against a literal, slow reading of the rules."""

import logging

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from xraycls.evaluation.detection import average_precision as module
from xraycls.evaluation.detection import overlap as overlap_module
from xraycls.evaluation.detection.average_precision import average_precision, rank, strict_average_precision
from xraycls.evaluation.detection.cases import ImageBoxes, pool
from xraycls.evaluation.detection.curves import RECALL_POINTS, precision_recall
from xraycls.evaluation.detection.overlap import box_iou, centre_in_box, overlaps, pixel_iou
from xraycls.types import Detections


def iou(a, b, extent=0.0):
    sides = [max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + extent) for i in (0, 1)]
    area = [(c[2] - c[0] + extent) * (c[3] - c[1] + extent) for c in (a, b)]
    shared = sides[0] * sides[1]
    return shared / (sum(area) - shared)


def walk(truths, detections, label, threshold, confidence, strict):
    """(score, hit) of every judged detection of one class, image by image, and how many boxes there are to find."""
    judged, wanted = [], 0
    for truth, found in zip(truths, detections, strict=True):
        rows = [i for i in range(len(found.scores)) if found.labels[i] == label and found.scores[i] >= confidence]
        rows.sort(key=lambda i: (-found.scores[i], -i if strict else i))
        boxes = [i for i in range(len(truth.classes)) if truth.classes[i] == label]
        used = set()
        wanted += sum(not truth.difficult[i] for i in boxes)
        for row in rows:
            box = found.boxes[row]
            if strict:
                figures = {i: iou(np.trunc(box), np.trunc(truth.boxes[i]), 1) for i in boxes}
                best = max(figures, key=figures.get, default=None)
                hit = best is not None and figures[best] > threshold
                ignored = hit and truth.difficult[best]
                hit = hit and best not in used
            else:
                figures = {i: iou(box, truth.boxes[i]) for i in boxes if i not in used}
                best = max(figures, key=figures.get, default=None)
                hit = best is not None and figures[best] >= threshold
                ignored = hit and truth.difficult[best]
            if hit:
                used.add(best)
            if not ignored:
                judged.append((found.scores[row], hit))
    return sorted(judged, key=lambda pair: -pair[0]), wanted  # stable: image after image where scores are equal


def area(judged, wanted, mode):
    true = false = 0
    points = []
    for _, hit in judged:
        true, false = true + hit, false + (not hit)
        points.append((true / wanted if wanted else 0.0, true / (true + false)))
    if mode == "sample":
        best = [max((p for r, p in points if r >= t), default=0) for t in np.arange(0, 1.1, 0.1)]
        return sum(best) / 11
    total, before = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        total += (recall - before) * max(p for _, p in points[i:])
        before = recall
    return total


@pytest.mark.parametrize("mode", ["sample", "integrate"])
@pytest.mark.parametrize(("difficult", "tied"), [(0, False), (0.3, False), (0.3, True)])
@pytest.mark.parametrize("seed", range(4))
def test_both_evaluators_are_the_rules_read_literally(scene, seed, mode, difficult, tied):
    truths, found = scene(seed, classes=3, difficult=difficult, tied=tied)
    names = ["a", "b", "c"]
    for threshold, confidence in ((0.5, 0.01), (0.3, 0.4)):
        fast = average_precision(
            truths, found, names, mode=mode, iou_threshold=threshold, confidence_threshold=confidence
        )
        slow = [area(*walk(truths, found, c, threshold, confidence, False), mode) for c in range(3)]
        assert list(fast.per_class.values()) == pytest.approx(slow, abs=1e-12)
        assert fast.mean == pytest.approx(np.mean(slow), abs=1e-12)

        [strict] = strict_average_precision(
            truths, found, names, mode=mode, iou_thresholds=[threshold], confidence_threshold=confidence
        )
        slow = {}
        for c, name in enumerate(names):
            judged, wanted = walk(truths, found, c, threshold, confidence, True)
            if judged or wanted:
                true = sum(hit for _, hit in judged)
                slow[name] = (area(judged, wanted, mode), true, len(judged) - true, wanted - true)
        assert {n: (f.ap, f.true, f.false, f.missed) for n, f in strict.per_class.items()} == {
            n: pytest.approx(row, abs=1e-12) for n, row in slow.items()
        }


def test_curves_are_those_of_scikit_learn(scene):
    truths, found = scene(3, images=40, classes=1)
    [ranking] = rank(pool(truths, found), 0.5, 1)
    recall, precision = precision_recall(ranking, np.ones((1, 40)))
    missed = int(ranking.positives.sum() - ranking.hits.sum())
    assert missed > 0
    labels = np.append(ranking.hits, np.ones(missed, bool))
    scores = np.append(ranking.scores, np.full(missed, -1.0))  # scikit-learn knows nothing of boxes without a score
    expected_precision, expected_recall, thresholds = precision_recall_curve(labels, scores)
    at = np.searchsorted(thresholds, ranking.scores[ranking.hits])
    assert recall[0] == pytest.approx(expected_recall[at])
    assert precision[0] == pytest.approx(expected_precision[at])


def test_overlap_is_that_of_torchvision(scene):
    torch = pytest.importorskip("torch")
    from torchvision.ops import box_iou as reference

    truths, found = scene(0)
    truth, boxes = np.concatenate([one.boxes for one in truths]), np.concatenate([one.boxes for one in found])
    assert box_iou(boxes, truth) == pytest.approx(reference(torch.tensor(boxes), torch.tensor(truth)).numpy())
    assert pixel_iou(boxes, truth) == pytest.approx(np.array([[iou(a, b, 1) for b in truth] for a in boxes]))


@pytest.mark.parametrize(("large", "together"), [(1, 1), (20, 40), (1000, 1000)])
@pytest.mark.parametrize("overlap", [box_iou, centre_in_box])
def test_pairs_are_found_whether_images_are_looked_at_one_by_one_or_together(
    scene, monkeypatch, large, together, overlap
):
    monkeypatch.setattr(overlap_module, "_LARGE", large)
    monkeypatch.setattr(overlap_module, "_TOGETHER", together)
    cases = pool(*scene(3, images=30))
    rows = range(len(cases.detections.scores))
    figures = overlap(cases.detections.boxes, cases.truth.boxes)
    alike = (cases.detection_image[:, None] == cases.truth_image) & (
        cases.detections.classes[:, None] == cases.truth.classes
    )
    expected = [
        (row, truth, figures[row, truth])
        for row in rows
        for truth in np.argsort(-figures[row], kind="stable").tolist()
        if alike[row, truth] and figures[row, truth] >= 0.3
    ]
    pairs = overlaps(cases, 0.3, overlap)
    found = list(zip(pairs.detection.tolist(), pairs.truth.tolist(), pairs.overlap.tolist(), strict=True))
    assert found == expected
    assert len(found) > 20


def test_empty_boxes_overlap_nothing():
    point = np.array([[5.0, 5, 5, 5]])
    assert box_iou(point, point).tolist() == [[0]]
    assert box_iou(point, np.array([[0.0, 0, 10, 10]])).tolist() == [[0]]
    backwards = np.array([[9.0, 9, 1, 1]])
    assert box_iou(backwards, backwards).tolist() == [[0]]


def test_centres_hit_boxes_whatever_their_size():
    truth = np.array([[10.0, 10, 20, 20], [100, 100, 110, 110]])
    found = np.array([[0.0, 0, 30, 30], [14, 14, 16, 16], [15, 15, 25, 25], [16, 16, 25, 25]])
    assert centre_in_box(found, truth)[:, 0].tolist() == [1, 1, 1, 0]
    assert centre_in_box(found, truth)[:, 1].tolist() == [0, 0, 0, 0]


def test_pairs_keep_to_their_image_and_class():
    box = [10, 10, 50, 50]
    truths = [ImageBoxes.of([box, box], [0, 1]), ImageBoxes.of([box], [1]), ImageBoxes.of()]
    found = [Detections.of(), Detections.of([box, box], [0, 1], [0.5, 0.9]), Detections.of([box], [1], [0.7])]
    cases = pool(truths, found)
    pairs = overlaps(cases, 0.5)
    assert cases.detections.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert (pairs.detection.tolist(), pairs.truth.tolist()) == ([0], [2])


def test_equal_scores_keep_the_order_of_images_in_large_sets_too():
    # With more than 16 equal scores the original's order is that of an unstable sort.
    box = [10, 10, 50, 50]
    truths = [ImageBoxes.of([box], [0]) if i < 20 else ImageBoxes.of() for i in range(40)]
    found = [Detections.of([box], [0], [0.5]) for _ in range(40)]
    assert average_precision(truths, found, ["a"], mode="integrate").mean == pytest.approx(1)
    worst = average_precision(truths[::-1], found[::-1], ["a"], mode="integrate").mean
    assert worst == pytest.approx(0.5)


def test_recall_points_are_as_uneven_as_in_tao():
    assert RECALL_POINTS.tolist() == np.arange(0, 1.1, 0.1).tolist()
    assert RECALL_POINTS[3] > 3 / 10


def test_what_departs_from_tao_or_leaves_boxes_out_is_said_once(caplog):
    truths = [ImageBoxes.of([[0, 0, 9, 9], [20, 20, 40, 40]], [0, 0], [True, False])]
    found = [Detections.of()]
    module._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            average_precision(truths, found, ["a"], confidence_threshold=0)
            strict_average_precision(truths, found, ["a"])
    assert len(caplog.records) == 2
    assert "counts boxes that were missed as found" in caplog.text
    assert "occlusion" in caplog.text
