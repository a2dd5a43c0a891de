"""Losses, suppression and coding of detectors, against slow walks that follow the formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import Matcher, SSDMatcher
from torchvision.ops import box_iou, nms

from xraycls.models.detection.base import total
from xraycls.models.detection.matching import BACKGROUND, NEUTRAL, match
from xraycls.models.detection.ssd_loss import focal_loss, hard_negative_loss
from xraycls.models.detection.suppression import remaining, suppress, suppress_batch


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
    found = total(hard_negative_loss(logits, offsets, matches, labels, targets, neg_pos=neg_pos, box_weight=0.8))
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


def test_the_loss_of_a_batch_by_hand():
    """Three classes that seem equally likely: one positive and, of five background anchors, three count."""
    matches = torch.tensor([[0, BACKGROUND, NEUTRAL, BACKGROUND], [BACKGROUND, BACKGROUND, BACKGROUND, NEUTRAL]])
    offsets = torch.zeros(2, 4, 4)
    offsets[0, 0] = torch.tensor([0.5, -2.0, 0.0, 1.0])  # 0.125, 1.5, 0 and 0.5
    truth = matches, torch.full((2, 4), 2), torch.zeros(2, 4, 4)
    logits = torch.zeros(2, 4, 3)
    found = total(hard_negative_loss(logits, offsets, *truth, neg_pos=3.0, box_weight=0.5))
    assert float(found) == pytest.approx(4 * np.log(3) + 0.5 * 2.125)
    # Of object classes alone, with p = 1/2: one is right, and eleven of six anchors are not.
    found = total(focal_loss(logits, offsets, *truth, alpha=0.25, gamma=2.0, box_weight=0.5))
    assert float(found) == pytest.approx((0.25 + 11 * 0.75) * 0.25 * np.log(2) + 0.5 * 2.125)


def test_no_probability_counts_for_less_than_a_millionth_of_a_billionth():
    logits = torch.tensor([[[0.0, 99.0], [99.0, 0.0], [99.0, 0.0]]], requires_grad=True)
    matches, labels = torch.tensor([[BACKGROUND, 0, BACKGROUND]]), torch.ones(1, 3, dtype=torch.int64)
    nothing = torch.zeros(1, 3, 4)
    found = total(hard_negative_loss(logits, nothing, matches, labels, nothing, neg_pos=3.0, box_weight=1.0))
    assert found.item() == pytest.approx(2 * -np.log(1e-15))  # the third anchor is surely background: no loss
    found.backward()
    assert logits.grad.abs().max() == 0


def test_a_batch_without_objects_has_no_loss_from_hard_negatives():
    logits, offsets, _, labels, targets = scene(0)
    nothing = torch.full(logits.shape[:2], BACKGROUND)
    assert total(hard_negative_loss(logits, offsets, nothing, labels, targets, neg_pos=3.0, box_weight=1.0)) == 0


@pytest.mark.parametrize("seed", range(4))
def test_focal_loss_counts_objects_and_background_but_not_neutral_anchors(seed):
    logits, offsets, matches, labels, targets = scene(seed)
    found = total(focal_loss(logits, offsets, matches, labels, targets, alpha=0.25, gamma=2.0, box_weight=0.8))
    summed, count = 0.0, 0
    for image in range(len(logits)):
        for anchor in range(logits.shape[1]):
            if matches[image, anchor] == NEUTRAL:
                continue
            truth = torch.zeros(2)
            if matches[image, anchor] >= 0:
                truth[labels[image, anchor] - 1] = 1
                count += 1
                summed += 0.8 * smooth_l1((offsets - targets)[image, anchor].numpy())
            p = torch.sigmoid(logits[image, anchor, 1:])
            right = torch.where(truth == 1, p, 1 - p)
            alpha = torch.where(truth == 1, 0.25, 0.75)
            summed += float((alpha * (1 - right) ** 2 * -right.log()).sum())
    assert float(found) == pytest.approx(summed / count, rel=1e-5)


def test_gradients_reach_only_what_is_to_blame():
    logits, offsets, matches, labels, targets = scene(5)
    logits.requires_grad_()
    offsets.requires_grad_()
    total(hard_negative_loss(logits, offsets, matches, labels, targets, neg_pos=1e9, box_weight=1.0)).backward()
    assert (logits.grad.abs().sum(-1) > 0).eq(matches != NEUTRAL).all()
    assert (offsets.grad.abs().sum(-1) > 0).eq(matches >= 0).all()


def places(limit: int, largest: int, rng: np.random.Generator, count: int) -> torch.Tensor:
    """Boxes on a grid so coarse that many overlap equally."""
    corners = rng.integers(0, limit, (count, 2))
    return torch.from_numpy(np.concatenate([corners, corners + rng.integers(1, largest, (count, 2))], axis=1)).double()


def overlap(a: list[float], b: list[float]) -> float:
    across, down = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    shared = across * down
    return shared / (sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - shared)


def matched_by_hand(objects, anchors, positive, negative):
    """What each anchor answers for, and the anchor that each object took first."""
    iou = [[overlap(a, b) for b in anchors] for a in objects]
    own: dict[int, int] = {}
    while len(own) < len(objects):
        free = [
            (i, j) for i in range(len(objects)) if i not in own for j in range(len(anchors)) if j not in own.values()
        ]
        i, j = max(free, key=lambda pair: (iou[pair[0]][pair[1]], -pair[0], -pair[1]))
        own[i] = j
    found = []
    for j in range(len(anchors)):
        best = max(range(len(objects)), key=lambda i: (iou[i][j], -i), default=None)
        most = -1.0 if best is None else iou[best][j]
        found.append(best if most >= positive else NEUTRAL if most >= negative else BACKGROUND)
    for i, j in own.items():
        found[j] = i
    return found, own


@pytest.mark.parametrize(("positive", "negative"), [(0.5, 0.5), (0.5, 0.3), (0.25, 0.2)])
def test_matching_is_the_rule_read_literally(positive, negative):
    rng = np.random.default_rng(int(100 * positive + negative))
    for _ in range(60):
        objects, anchors = places(6, 5, rng, int(rng.integers(0, 5))), places(6, 5, rng, 18)
        expected, _ = matched_by_hand(objects.tolist(), anchors.tolist(), positive, negative)
        assert match(objects, anchors, positive, negative).tolist() == expected


boxes = st.lists(st.tuples(*[st.integers(0, 30)] * 4), min_size=1, max_size=5)


@given(boxes, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_matching_is_torchvisions_but_for_the_anchors_that_objects_take_first(drawn, seed):
    objects = torch.tensor([(x, y, x + w + 1, y + h + 1) for x, y, w, h in drawn], dtype=torch.float64)
    corners = torch.rand(60, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 40
    anchors = torch.cat([corners, corners + 3 + corners.flip(0) / 2], dim=1)
    iou = box_iou(objects, anchors)
    _, own = matched_by_hand(objects.tolist(), anchors.tolist(), 0.5, 0.3)
    first = torch.tensor(list(own))
    expected = Matcher(0.5, 0.3)(iou)  # -1 below both thresholds, -2 between them
    expected[[own[i] for i in own]] = first
    assert torch.equal(match(objects, anchors, 0.5, 0.3), expected)
    best = iou.argmax(dim=1)
    if len(best.unique()) == len(best):  # no two objects want the same: torchvision's SSD agrees
        assert torch.equal(match(objects, anchors, 0.5, 0.5), SSDMatcher(0.5)(iou))


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


def test_an_overlap_of_the_threshold_stays_whatever_float32_makes_of_it():
    for height in range(1, 10):
        touching = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, height]])
        for confidence, count in ((0.5, 2), (0.8, 1)):
            found = suppress(torch.tensor([[0.9], [0.8]]), touching, confidence=confidence, iou=height / 10, top_k=9)
            assert len(found[0]) == count
        assert (
            len(suppress(torch.tensor([[0.9], [0.8]]), touching, confidence=0.5, iou=height / 10 - 0.01, top_k=9)[0])
            == 1
        )


def test_classes_never_suppress_each_other_not_even_beyond_the_picture():
    candidates = torch.tensor([[90.0, 90, 100, 100], [-11.0, -11, -1, -1], [-11.0, -11, -1, -1]])
    probabilities = torch.tensor([[0.9, 0.0], [0.0, 0.8], [0.7, 0.0]])
    _, labels, scores = suppress(probabilities, candidates, confidence=0.1, iou=0.5, top_k=9)
    assert labels.tolist() == [0, 1, 0]
    assert scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_of_equal_scores_the_first_class_and_anchor_go_first():
    candidates = torch.arange(40.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    found, labels, _ = suppress(torch.full((40, 2), 0.5), candidates, confidence=0.1, iou=0.5, top_k=60)
    assert labels.tolist() == [0] * 40 + [1] * 20
    assert found[:, 0].tolist() == [*range(0, 800, 20), *range(0, 400, 20)]
    nothing = suppress(torch.full((40, 2), 0.5), candidates, confidence=0.5, iou=0.5, top_k=60)
    assert [tuple(part.shape) for part in nothing] == [(0, 4), (0,), (0,)]


@pytest.mark.parametrize("spread", [4.0, 400.0])
def test_thousands_of_candidates_leave_what_torchvision_leaves_class_by_class(spread):
    rng = torch.Generator().manual_seed(0)
    low = torch.rand(3000, 2, generator=rng) * spread
    candidates = torch.cat([low, low + 1 + 20 * torch.rand(3000, 2, generator=rng)], dim=1)
    probabilities = torch.rand(3000, 4, generator=rng)
    found, labels, scores = suppress(probabilities, candidates, confidence=0.05, iou=0.45, top_k=150)
    rows = [nms(candidates, probabilities[:, label], 0.45) for label in range(4)]
    expected = sorted((-float(probabilities[r, c]), c, int(r)) for c in range(4) for r in rows[c])[:150]
    expected = [each for each in expected if each[0] < -0.05]
    assert scores.tolist() == pytest.approx([-score for score, _, _ in expected])
    assert labels.tolist() == [label for _, label, _ in expected]
    assert torch.equal(found, candidates[[row for _, _, row in expected]])


def test_a_batch_is_suppressed_as_its_pictures_are_one_by_one():
    rng = torch.Generator().manual_seed(1)
    corners = torch.rand(3, 60, 2, generator=rng) * 20
    candidates = torch.cat([corners, corners + 5 + 5 * torch.rand(3, 60, 2, generator=rng)], dim=2)
    probabilities = torch.rand(3, 60, 2, generator=rng)
    probabilities[1] = 0.0  # a picture without detections between two with some
    rules = {"confidence": 0.2, "iou": 0.4, "top_k": 4}
    together = suppress_batch(probabilities, candidates, **rules)
    for number in range(3):
        alone = suppress(probabilities[number], candidates[number], **rules)
        for found, expected in zip(together[:3], alone, strict=True):
            assert torch.equal(found[together[3] == number], expected)


def test_one_call_for_many_pictures_keeps_what_a_call_for_each_keeps():
    """What a GPU does with a batch: pictures are groups as classes are."""
    rng = torch.Generator().manual_seed(2)
    corners = torch.rand(200, 2, generator=rng) * 40
    boxes = torch.cat([corners, corners + 5 + 9 * torch.rand(200, 2, generator=rng)], dim=1)
    pictures = torch.arange(200) // 50
    groups = pictures * 3 + torch.arange(200) % 3
    together = remaining(boxes, torch.zeros_like(pictures), groups, 0.3)
    assert torch.equal(together, remaining(boxes, pictures, groups, 0.3))
    assert 0 < len(together) < 200
