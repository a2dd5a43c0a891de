"""Losses, suppression and coding of detectors, against slow walks that follow the formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou, sigmoid_focal_loss

from xraycls.models.detection.matching import BACKGROUND, NEUTRAL, match
from xraycls.models.detection.ssd_loss import focal_loss, hard_negative_loss
from xraycls.models.detection.suppression import suppress


def scene(seed: int, images: int = 3, anchors: int = 40, classes: int = 2):
    """Random predictions, and matches with positives, background and neutral anchors."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, anchors, classes + 1, generator=rng)
    offsets, targets = (torch.randn(images, anchors, 4, generator=rng) for _ in range(2))
    kinds = torch.tensor([0, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND, NEUTRAL])
    matches = kinds[torch.randint(len(kinds), (images, anchors), generator=rng)]
    labels = torch.randint(1, classes + 1, (images, anchors), generator=rng)
    return logits, offsets, matches, labels, targets


def smooth_l1(difference: np.ndarray) -> float:
    size = np.abs(difference)
    return float(np.where(size < 1, 0.5 * size**2, size - 0.5).sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("neg_pos", [3.0, 0.5, 100.0])
def test_hard_negatives_are_chosen_over_the_whole_batch(seed, neg_pos):
    logits, offsets, matches, labels, targets = scene(seed)
    found = hard_negative_loss(logits, offsets, matches, labels, targets, neg_pos=neg_pos, alpha=0.8)
    probabilities = torch.softmax(logits.double(), -1).numpy()
    wrong, positive, boxes, count = [], 0.0, 0.0, 0
    for image in range(len(logits)):
        for anchor in range(logits.shape[1]):
            if matches[image, anchor] >= 0:
                positive -= np.log(max(probabilities[image, anchor, labels[image, anchor]], 1e-15))
                boxes += smooth_l1((offsets - targets)[image, anchor].double().numpy())
                count += 1
            elif matches[image, anchor] == BACKGROUND:
                wrong.append(-np.log(max(probabilities[image, anchor, 0], 1e-15)))
    kept = sum(sorted(wrong, reverse=True)[: int(min(neg_pos * count, len(wrong)))])
    assert float(found) == pytest.approx((positive + kept + 0.8 * boxes) / count, rel=1e-5)


def test_a_batch_without_objects_has_no_loss_from_hard_negatives():
    logits, offsets, _, labels, targets = scene(0)
    nothing = torch.full(logits.shape[:2], BACKGROUND)
    assert hard_negative_loss(logits, offsets, nothing, labels, targets, neg_pos=3.0, alpha=1.0) == 0


@pytest.mark.parametrize("seed", range(4))
def test_focal_loss_counts_objects_and_background_but_not_neutral_anchors(seed):
    logits, offsets, matches, labels, targets = scene(seed)
    found = focal_loss(logits, offsets, matches, labels, targets, alpha=0.25, gamma=2.0, loc_weight=0.8)
    total, count = 0.0, 0
    for image in range(len(logits)):
        for anchor in range(logits.shape[1]):
            if matches[image, anchor] == NEUTRAL:
                continue
            truth = torch.zeros(2)
            if matches[image, anchor] >= 0:
                truth[labels[image, anchor] - 1] = 1
                count += 1
                total += 0.8 * smooth_l1((offsets - targets)[image, anchor].numpy())
            p = torch.sigmoid(logits[image, anchor, 1:])
            right = torch.where(truth == 1, p, 1 - p)
            alpha = torch.where(truth == 1, 0.25, 0.75)
            total += float((alpha * (1 - right) ** 2 * -right.log()).sum())
    assert float(found) == pytest.approx(total / count, rel=1e-5)
    assert sigmoid_focal_loss(torch.zeros(1), torch.ones(1), 0.25, 2.0) > 0


def test_gradients_reach_only_what_is_to_blame():
    logits, offsets, matches, labels, targets = scene(5)
    logits.requires_grad_()
    offsets.requires_grad_()
    hard_negative_loss(logits, offsets, matches, labels, targets, neg_pos=1e9, alpha=1.0).backward()
    assert (logits.grad.abs().sum(-1) > 0).eq(matches != NEUTRAL).all()
    assert (offsets.grad.abs().sum(-1) > 0).eq(matches >= 0).all()


boxes = st.lists(st.tuples(*[st.integers(0, 30)] * 4), max_size=5)


@given(boxes, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_anchors_beyond_the_greedy_ones_are_matched_as_torchvision_matches(drawn, seed):
    objects = torch.tensor([(x, y, x + w + 1, y + h + 1) for x, y, w, h in drawn], dtype=torch.float64).reshape(-1, 4)
    corners = torch.rand(60, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 40
    anchors = torch.cat([corners, corners + 3 + corners.flip(0) / 2], dim=1)
    found = match(objects, anchors, 0.5, 0.3)
    if not len(objects):
        assert (found == BACKGROUND).all()
        return
    expected = Matcher(0.5, 0.3)(box_iou(objects, anchors))  # -1 below both thresholds, -2 between them
    differs = found != expected
    assert differs.sum() <= len(objects)  # at most one anchor an object was given to it
    assert set(found[found >= 0].tolist()) == set(range(len(objects)))  # and every object has one


def test_each_object_takes_its_best_free_anchor_first():
    objects = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 9]])
    anchors = torch.tensor([[0.0, 0, 10, 10], [20.0, 20, 30, 30], [0.0, 0, 4, 4]])
    assert match(objects, anchors).tolist() == [0, BACKGROUND, 1]


def brute_force(probabilities, candidates, confidence, iou, top_k):
    kept = []
    for label in range(probabilities.shape[1]):
        order = np.argsort(-probabilities[:, label].numpy(), kind="stable").tolist()
        chosen = []
        for i in order:
            if probabilities[i, label] <= confidence:
                continue
            if all(box_iou(candidates[i : i + 1], candidates[j : j + 1]) <= iou for j in chosen):
                chosen.append(i)
        kept += [(float(probabilities[i, label]), label, i) for i in chosen[:top_k]]
    return sorted(kept, reverse=True)[:top_k]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top_k", [3, 200])
def test_suppression_class_by_class(seed, top_k):
    rng = torch.Generator().manual_seed(seed)
    corners = torch.rand(50, 2, generator=rng) * 20
    candidates = torch.cat([corners, corners + 5 + 5 * torch.rand(50, 2, generator=rng)], dim=1)
    probabilities = torch.rand(50, 2, generator=rng)
    found, labels, scores = suppress(probabilities, candidates, confidence=0.2, iou=0.4, top_k=top_k)
    expected = brute_force(probabilities, candidates, 0.2, 0.4, top_k)
    assert [(round(float(s), 6), int(c)) for s, c in zip(scores, labels, strict=True)] == [
        (round(s, 6), c) for s, c, _ in expected
    ]
    assert torch.equal(found, candidates[[i for _, _, i in expected]])


def test_a_score_must_be_above_the_threshold_and_an_overlap_above_its_own():
    touching = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 5]])  # IoU exactly 0.5
    found, _, scores = suppress(torch.tensor([[0.9], [0.5]]), touching, confidence=0.5, iou=0.5, top_k=9)
    assert scores.tolist() == pytest.approx([0.9])
    found, _, _ = suppress(torch.tensor([[0.9], [0.6]]), touching, confidence=0.5, iou=0.5, top_k=9)
    assert len(found) == 2
