"""Targets, samples and losses of Faster R-CNN against plain loops and upstream's executed numbers."""

import json

import numpy as np
import pytest
import torch

from xraycls.models.detection.faster_rcnn_loss import (
    IGNORED,
    NEGATIVE,
    PADDING,
    POSITIVE,
    PaddedObjects,
    RoITargets,
    anchor_targets,
    overlaps,
    roi_losses,
    roi_targets,
    rpn_losses,
    sample_anchors,
)
from xraycls.models.detection.proposals import anchor_grid, anchor_shapes, encode_rois
from xraycls.types import Objects

YXYX = [1, 0, 3, 2]
SPREAD = torch.tensor([10.0, 10.0, 5.0, 5.0])


def objects_of(*pictures: list[list[float]], height: int = 192, width: int = 256) -> PaddedObjects:
    """Rows of class, left, top, right and bottom."""
    rows = torch.tensor([row for picture in pictures for row in picture]).reshape(-1, 5)
    owners = torch.tensor([n for n, picture in enumerate(pictures) for _ in picture], dtype=torch.int64)
    objects = Objects(rows[:, 1:], rows[:, 0].long(), owners, torch.zeros(len(rows), dtype=torch.bool))
    return PaddedObjects.of(objects, len(pictures), height, width)


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "reference" / "golden_networks"
    facts = json.loads((folder / "frcnn_resnet18.json").read_text())["train"]
    with np.load(folder / "frcnn_resnet18.npz") as stored:
        return facts, {n.removeprefix("train/"): torch.from_numpy(stored[n]) for n in stored.files if "train/" in n}


@pytest.fixture(scope="module")
def golden_objects(golden):
    facts, _ = golden
    boxes = torch.tensor(facts["gt_boxes_yxyx"])[:, YXYX].tolist()
    return objects_of([[label, *box] for label, box in zip(facts["gt_class"], boxes, strict=True)])


@pytest.fixture(scope="module")
def anchors():
    return anchor_grid(anchor_shapes((64.0, 128.0, 256.0), (1.0, 0.5, 2.0)), 12, 16, 16.0)


def by_anchor(maps: torch.Tensor, size: int) -> torch.Tensor:
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, size)


def test_coordinates_are_rounded_to_even_and_clipped_and_what_lies_outside_is_no_object():
    padded = objects_of([[0, 10.5, 11.5, 400, 20.4], [1, 300, 10, 400, 20]], [], [[2, -5, -5, 6, 7]])
    assert padded.boxes[0].tolist() == [[10, 12, 255, 20], [255, 10, 255, 20]]
    assert padded.present.tolist() == [[True, False], [False, False], [True, False]]
    assert padded.boxes[2, 0].tolist() == [0, 0, 6, 7]
    assert padded.labels[2, 0] == 2


def test_overlaps_count_both_border_pixels():
    iou = overlaps(torch.tensor([[0.0, 0, 9, 9], [9, 9, 18, 18]]), objects_of([[0, 0, 0, 9, 4]], []))
    assert iou[0].flatten().tolist() == [0.5, 0.0]
    assert iou[1].flatten().tolist() == [-1.0, -1.0]


def test_anchor_targets_are_upstreams(golden, golden_objects, anchors):
    _, arrays = golden
    labels, deltas = anchor_targets(anchors, golden_objects, height=192, width=256, positive=0.7, negative=0.3)
    valid, positive = by_anchor(arrays["rpn_scores_target"], 18).view(1, -1, 2, 9).unbind(2)
    valid, positive = valid.flatten(1), positive.flatten(1)
    assert torch.equal(labels == POSITIVE, positive == 1)
    assert int((labels == NEGATIVE).sum()) == 213
    assert (labels[(valid == 1) & (positive == 0)] == NEGATIVE).all()
    stored = by_anchor(arrays["rpn_deltas_target"][:, 36:], 4)
    assert torch.allclose(deltas, stored * positive[..., None], rtol=0, atol=1e-6)


def test_an_object_that_no_anchor_chose_gets_its_best_one(anchors):
    objects = objects_of([[0, 100, 100, 120, 120], [0, 101, 101, 121, 121], [0, 60, 60, 140, 140]])
    labels, deltas = anchor_targets(anchors, objects, height=192, width=256, positive=0.6, negative=0.2)
    corners = torch.cat([anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2], dim=1)
    inside = (corners[:, :2] >= 0).all(1) & (corners[:, 2] <= 255) & (corners[:, 3] <= 191)
    iou = overlaps(corners, objects)[0] * inside[:, None]
    best = iou.argmax(dim=0)
    assert (iou.max(dim=0).values[:2] < 0.6).all()
    assert (labels[0, best] == POSITIVE).all()
    shared = best[0] == best[1]
    last = objects.boxes[0, 1 if shared else 0]
    assert torch.allclose(deltas[0, best[0]], encode_rois(last, corners[best[0]]))


def test_anchors_beyond_the_picture_are_ignored_and_without_objects_the_rest_is_negative(anchors):
    labels, deltas = anchor_targets(anchors, objects_of([], []), height=192, width=256, positive=0.7, negative=0.3)
    corners = torch.cat([anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2], dim=1)
    inside = (corners[:, :2] >= 0).all(1) & (corners[:, 2] <= 255) & (corners[:, 3] <= 191)
    assert torch.equal(labels[1] == NEGATIVE, inside)
    assert torch.equal(labels[1] == IGNORED, ~inside)
    assert not deltas.any()


@pytest.mark.parametrize(("positives", "negatives"), [(10, 100), (3, 100), (10, 2), (0, 100), (0, 0)])
def test_a_sample_of_anchors_has_half_positives_at_most_and_leaves_out_a_prefix(positives, negatives):
    labels = torch.tensor([POSITIVE] * positives + [NEGATIVE] * negatives + [IGNORED] * 5)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    labels, draws = labels[order][None], torch.rand(1, len(labels), generator=torch.Generator().manual_seed(1))
    sampled = sample_anchors(labels, draws, 8)
    kept = min(positives, 4)
    for label, count in ((POSITIVE, kept), (NEGATIVE, min(negatives, 8 - kept))):
        rows = torch.nonzero(labels[0] == label)[:, 0]
        shuffled = rows[draws[0, rows].argsort()]
        assert sorted(shuffled[len(rows) - count :].tolist()) == torch.nonzero(sampled[0] == label)[:, 0].tolist()


def identity(pictures: int, number: int) -> torch.Tensor:
    """Draws that leave everything in its order."""
    return (torch.arange(number) / number).expand(pictures, 2, number)


def test_roi_targets_are_upstreams(golden, golden_objects):
    facts, arrays = golden
    rois = arrays["rois_yxyx"][..., YXYX]
    targets = roi_targets(
        rois,
        golden_objects,
        identity(1, rois.shape[1]),
        classes=3,
        number=facts["roi_mini_batch"],
        positive=0.5,
        negative=0.0,
        spread=SPREAD,
    )
    assert torch.equal(targets.rois, arrays["roi_sample_yxyx"][..., YXYX])
    assert torch.equal(targets.labels, arrays["roi_class_target"].argmax(dim=-1))
    stored = arrays["roi_delta_target"].view(1, -1, 3, 8)
    for row, label in enumerate(targets.labels[0].tolist()):
        if label < 3:
            assert torch.allclose(targets.deltas[0, row], stored[0, row, label, 4:], rtol=1e-5)
            assert stored[0, row, label, :4].tolist() == [1, 1, 1, 1]
        else:
            assert not targets.deltas[0, row].any()


def rois_with(positives: int, negatives: int, far: int) -> torch.Tensor:
    """Regions that overlap the object (0, 0, 99, 99) by 1, by about a quarter, and not at all."""
    rows = [[0.0, 0, 99, 99]] * positives + [[50.0, 0, 149, 49 + n] for n in range(negatives)]
    return torch.tensor([*rows, *[[200.0, 150, 210 + n, 160] for n in range(far)], [0.0, 0, 0, 0]])[None]


def sample(rois: torch.Tensor, objects: PaddedObjects, number: int = 8, negative: float = 0.1) -> RoITargets:
    draws = torch.rand(len(rois), 2, max(rois.shape[1], number), generator=torch.Generator().manual_seed(3))
    return roi_targets(rois, objects, draws, classes=2, number=number, positive=0.5, negative=negative, spread=SPREAD)


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [
        (5, 9, {1: 2, 2: 6}),  # a quarter with an object
        (1, 9, {1: 1, 2: 7}),
        (5, 2, {1: 2, 2: 6}),  # too few of the background: drawn with replacement
        (3, 0, {1: 8}),  # only regions with an object: all of the sample
        (12, 0, {1: 8}),
        (0, 3, {2: 8}),
        (0, 0, {PADDING: 8}),
    ],
)
def test_a_sample_of_regions(positives, negatives, expected):
    targets = sample(rois_with(positives, negatives, far=2), objects_of([[1, 0, 0, 99, 99]]))
    labels, counts = targets.labels.unique(return_counts=True)
    assert dict(zip(labels.tolist(), counts.tolist(), strict=True)) == expected
    assert torch.equal(targets.labels[0], targets.labels[0].sort(descending=PADDING in expected).values)
    far = (targets.rois[0, :, 0] >= 200).any()
    assert not far, "regions that overlap the object by less than the minimum were taken"
    if max(positives, negatives) >= 8 and expected != {PADDING: 8}:
        rows = targets.rows[0][targets.labels[0] == max(expected, key=expected.__getitem__)]
        assert len(rows.unique()) == len(rows), "drawn with replacement though there were enough"


def test_regions_are_taken_from_the_lowest_draw_on():
    rois, objects = rois_with(6, 20, far=0), objects_of([[1, 0, 0, 99, 99]])
    draws = torch.rand(1, 2, rois.shape[1], generator=torch.Generator().manual_seed(5))
    targets = roi_targets(rois, objects, draws, classes=2, number=8, positive=0.5, negative=0.0, spread=SPREAD)
    keys = draws[0, 0]
    assert targets.rows[0, :2].tolist() == keys[:6].argsort()[:2].tolist()
    assert targets.rows[0, 2:].tolist() == (keys[6:26].argsort()[:6] + 6).tolist()


def test_the_regions_of_a_picture_without_objects_are_background():
    targets = sample(rois_with(0, 5, far=5).repeat(2, 1, 1), objects_of([], [[1, 0, 0, 99, 99]]), negative=0.0)
    assert (targets.labels[0] == 2).all()
    assert (sample(rois_with(0, 5, far=5), objects_of([]), negative=0.1).labels == PADDING).all()


def test_the_losses_are_upstreams(golden):
    facts, arrays = golden
    weights = torch.ones(1)
    probabilities, deltas = arrays["rcnn_class_probs"], arrays["rcnn_deltas"].view(1, -1, 3, 4)
    stored = arrays["roi_delta_target"].view(1, -1, 3, 8)[..., 4:].sum(dim=2)
    labels = arrays["roi_class_target"].argmax(dim=-1)
    targets = RoITargets(labels, arrays["roi_sample_yxyx"], labels, stored)
    classes, boxes = roi_losses(probabilities.log(), deltas, targets, weights)
    assert float(classes) == pytest.approx(facts["losses"]["rcnn_class"], rel=1e-5)
    assert float(boxes) == pytest.approx(facts["losses"]["rcnn_regr"], rel=1e-5)


def test_what_the_anchors_lose():
    logits, deltas = torch.tensor([[0.3, -2.0, 5.0]]), torch.zeros(1, 3, 4)
    labels, targets = torch.tensor([[POSITIVE, NEGATIVE, IGNORED]]), torch.tensor([[[0.05, 1.0, 0, 0]] * 3])
    classes, boxes = rpn_losses(logits, deltas, labels, targets, torch.ones(1), 4)
    entropy = -np.log(1 / (1 + np.exp(-0.3))) - np.log(1 - 1 / (1 + np.exp(2.0)))
    assert float(classes) == pytest.approx(entropy / 4, rel=1e-6)
    assert float(boxes) == pytest.approx((4.5 * 0.05**2 + 1 - 0.5 / 9) / 4, rel=1e-6)


def test_an_unreadable_picture_adds_nothing_and_the_others_are_averaged():
    generator = torch.Generator().manual_seed(0)
    logits, deltas = torch.randn(3, 6, generator=generator), torch.randn(3, 6, 4, generator=generator)
    labels, targets = torch.randint(-1, 2, (3, 6), generator=generator), torch.randn(3, 6, 4, generator=generator)
    together = rpn_losses(logits, deltas, labels, targets, torch.tensor([1.0, 0.0, 1.0]), 4)
    alone = [
        rpn_losses(logits[n : n + 1], deltas[n : n + 1], labels[n : n + 1], targets[n : n + 1], torch.ones(1), 4)
        for n in (0, 2)
    ]
    for both, first, second in zip(together, *alone, strict=True):
        assert float(both) == pytest.approx(float(first + second) / 2)
