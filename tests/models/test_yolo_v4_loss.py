"""Which predictions of a YOLOv4 answer for which object, and the terms of its loss."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import complete_box_iou_loss, sigmoid_focal_loss

from xraycls.models.detection.yolo_v4_loss import YOLOv4Loss, assign, ciou_loss, yolo_v4_loss
from xraycls.types import Objects

SIZE = torch.tensor([320.0, 320.0, 320.0, 320.0])
MAPS = [(10, 10), (20, 20), (40, 40)]
ANCHORS = [
    torch.tensor([[0.36, 0.28], [0.6, 0.7], [0.9, 0.8]]),
    torch.tensor([[0.07, 0.15], [0.15, 0.11], [0.14, 0.29]]),
    torch.tensor([[0.02, 0.03], [0.04, 0.07], [0.08, 0.05]]),
]


def objects_of(*boxes: tuple[float, float, float, float], owners: list[int] | None = None) -> Objects:
    """Objects of class 0, 1, 2 … from boxes in shares of the picture."""
    count = len(boxes)
    pixels = torch.tensor(boxes).reshape(-1, 4) * SIZE
    rows = torch.tensor(owners or [0] * count, dtype=torch.int64)
    return Objects(pixels, torch.arange(count), rows, torch.zeros(count, dtype=torch.bool))


def one_by_one(boxes: list[list[float]], matching: float) -> dict[int, int]:
    """The rule of the label-folder encoder as it is told, box by box: slot → box."""
    held: dict[int, tuple[float, int]] = {}
    shapes = [(m, k, *ANCHORS[m][k].double().tolist()) for m in range(3) for k in range(3)]
    first = [0, 300, 1500]

    def slot(box: list[float], level: int, anchor: int) -> int:
        rows, columns = MAPS[level]
        y = int(np.floor(np.clip((box[1] + box[3]) / 2 / (1 / rows), 0, rows - 1e-3)))
        x = int(np.floor(np.clip((box[0] + box[2]) / 2 / (1 / columns), 0, columns - 1e-3)))
        return first[level] + (y * columns + x) * 3 + anchor

    for number, box in enumerate(boxes):
        width, height = box[2] - box[0], box[3] - box[1]
        common = [min(width, w) * min(height, h) for *_, w, h in shapes]
        overlaps = [c / (width * height + w * h - c) for c, (*_, w, h) in zip(common, shapes, strict=True)]
        for (level, anchor, *_), overlap in zip(shapes, overlaps, strict=True):
            if overlap > matching and overlap > held.get(slot(box, level, anchor), (0.0, 0))[0]:
                held[slot(box, level, anchor)] = (overlap, number)
        level, anchor, *_ = shapes[int(np.argmax(overlaps))]
        held[slot(box, level, anchor)] = (1.0, number)
    return {place: number for place, (_, number) in held.items()}


corner = st.sampled_from([0.0, 0.05, 0.1, 0.125, 0.25, 0.3, 0.4, 0.5, 0.62])
side = st.sampled_from([0.02, 0.05, 0.07, 0.11, 0.14, 0.3, 0.38])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(corner, corner, side, side), max_size=8), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_conflicts_are_settled_as_one_box_after_the_other_does(drawn, matching):
    found = objects_of(*((x, y, x + w, y + h) for x, y, w, h in drawn))
    exact = (found.boxes.double() / SIZE.double()).tolist()
    assignment = assign(found, ANCHORS, MAPS, SIZE, matching)
    slots = dict(zip(assignment.slots.tolist(), assignment.owners.tolist(), strict=True))
    assert len(slots) == len(assignment.slots)
    assert slots == one_by_one(exact, matching)


def test_two_boxes_with_one_best_anchor_in_one_cell_leave_it_to_the_later():
    box = (0.5, 0.5, 0.64, 0.79)
    assignment = assign(objects_of(box, box), ANCHORS, MAPS, SIZE, 1.0)
    assert assignment.owners.tolist() == [1]


def test_pictures_of_a_batch_do_not_compete():
    box = (0.5, 0.5, 0.64, 0.79)
    assignment = assign(objects_of(box, box, owners=[0, 2]), ANCHORS, MAPS, SIZE, 1.0)
    assert (assignment.pictures.tolist(), assignment.owners.tolist()) == ([0, 2], [0, 1])


def test_a_centre_on_the_far_edge_lies_in_the_last_cell():
    assignment = assign(objects_of((0.95, 0.95, 1.05, 1.05)), ANCHORS, MAPS, SIZE, 1.0)
    assert assignment.slots.max() < 6300


def test_complete_iou_is_torchvisions_in_value():
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(2, 50, 2, generator=generator)
    high = low + 0.05 + torch.rand(2, 50, 2, generator=generator)
    yxhw = torch.cat([(low + high) / 2, high - low], dim=-1)
    flipped = torch.cat([low.flip(-1), high.flip(-1)], dim=-1)
    expected = complete_box_iou_loss(flipped[0], flipped[1], eps=0.0)
    assert torch.allclose(ciou_loss(yxhw[0], yxhw[1]), expected, atol=1e-6)


def test_complete_iou_of_equal_boxes_is_zero_with_a_gradient():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.3]], requires_grad=True)
    loss = ciou_loss(boxes, boxes.detach())
    loss.sum().backward()
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


@pytest.fixture
def batch() -> tuple[torch.Tensor, Objects]:
    """Random predictions of two pictures, and three objects in them."""
    generator = torch.Generator().manual_seed(1)
    predictions = torch.rand(2, 6300, 8, generator=generator)
    predictions[..., 2:4] *= 0.1
    objects = objects_of((0.1, 0.1, 0.3, 0.3), (0.5, 0.5, 0.64, 0.79), (0.2, 0.2, 0.28, 0.25), owners=[0, 0, 1])
    return predictions, objects


def loss_of(predictions: torch.Tensor, objects: Objects, weights: list[float], **fields: object) -> dict[str, float]:
    chosen = YOLOv4Loss(**fields)
    assignment = assign(objects, ANCHORS, MAPS, SIZE, chosen.matching)
    terms = yolo_v4_loss(predictions, assignment, objects, torch.tensor(weights), SIZE, chosen)
    return {name: float(term) for name, term in terms.items()}


def test_factors_multiply_their_terms(batch):
    plain = loss_of(*batch, [1, 1])
    scaled = loss_of(*batch, [1, 1], box_weight=2.0, class_weight=3.0, background_weight=5.0)
    factors = {name: scaled[name] / plain[name] for name in plain}
    assert factors == pytest.approx({"boxes": 2, "objects": 1, "classes": 3, "background": 5})


def test_class_weights_reach_boxes_and_classes_alone(batch):
    plain, double = loss_of(*batch, [1, 1]), loss_of(*batch, [1, 1], class_weights=(2.0, 2.0, 2.0))
    factors = {name: double[name] / plain[name] for name in plain}
    assert factors == pytest.approx({"boxes": 2, "objects": 1, "classes": 2, "background": 1})


def test_an_unreadable_picture_adds_nothing(batch):
    predictions, objects = batch
    alone = Objects(*(part[:2] for part in (objects.boxes, objects.labels, objects.owners, objects.difficult)))
    assert loss_of(predictions, objects, [1, 0]) == pytest.approx(loss_of(predictions[:1], alone, [1]))


def test_a_batch_without_objects_teaches_background(batch):
    predictions, _ = batch
    terms = loss_of(predictions, objects_of(), [1, 1])
    expected = torch.nn.functional.softplus(predictions[..., 4]).sum() / 2
    assert terms == pytest.approx({"boxes": 0, "objects": 0, "classes": 0, "background": float(expected)})


def test_a_prediction_that_overlaps_an_object_is_not_background(batch):
    predictions, objects = batch
    before = loss_of(predictions, objects, [1, 1])["background"]
    taken = set(assign(objects, ANCHORS, MAPS, SIZE, 0.25).slots.tolist())
    free = next(slot for slot in range(6300) if slot not in taken)
    predictions[0, free, :4] = torch.tensor([0.2, 0.2, 0.2, 0.2])  # the first object
    after = loss_of(predictions, objects, [1, 1])["background"]
    assert before - after == pytest.approx(float(torch.nn.functional.softplus(predictions[0, free, 4])) / 2, rel=1e-3)


def test_the_focal_variant_is_torchvisions(batch):
    predictions, objects = batch
    terms = loss_of(predictions, objects, [1, 1], focal=(0.25, 2.0))
    assignment = assign(objects, ANCHORS, MAPS, SIZE, 0.25)
    found = predictions[assignment.pictures, assignment.slots, 4]
    expected = sigmoid_focal_loss(found, torch.ones_like(found), alpha=0.25, gamma=2.0, reduction="sum") / 2
    assert terms["objects"] == pytest.approx(float(expected))


def test_smoothing_moves_both_answers_towards_a_half(batch):
    predictions, objects = batch
    assignment = assign(objects, ANCHORS, MAPS, SIZE, 0.25)
    found = predictions[assignment.pictures, assignment.slots, 4].double().sigmoid()
    expected = -(0.9 * found.log() + 0.1 * (1 - found).log()).sum() / 2
    assert loss_of(predictions, objects, [1, 1], smoothing=0.2)["objects"] == pytest.approx(float(expected), rel=1e-5)
