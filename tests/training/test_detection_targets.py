"""What anchors should say is the same for a batch as for each of its pictures alone."""

import pytest
import torch

from tests.models.detectors import small_detector
from xraycls.models.detection.coding import encode
from xraycls.models.detection.matching import NEUTRAL, match
from xraycls.models.detection.ssd_loss import SSDLoss, ssd_targets
from xraycls.training.detection import Detection, Regularizer
from xraycls.training.distributed import World
from xraycls.types import Batch, Objects


def test_targets_of_a_batch_are_those_of_its_pictures():
    detector, counts = small_detector(), torch.tensor([2, 0, 5, 1, 0])
    torch.manual_seed(3)
    corners = (torch.rand(8, 2) * 40).round() / 8 * 8  # some on the anchors' grid, for ties
    boxes = torch.cat([corners, corners + 4 + torch.rand(8, 2).mul(16).round()], dim=1)
    owners = torch.arange(5).repeat_interleave(counts)
    objects = Objects(boxes, torch.arange(8) % 2, owners, torch.zeros(8, dtype=torch.bool))
    weights = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0])
    settings = SSDLoss(positive=0.5, negative=0.3)
    matches, labels, offsets = ssd_targets(
        objects, weights, detector.anchors, detector.variances, detector.size, settings
    )
    for row in range(5):
        mine = objects.owners == row
        own = boxes[mine] / 64
        expected = match(own, detector.anchors, 0.5, 0.3)
        if row == 3:  # could not be read
            expected = torch.full_like(expected, NEUTRAL)
        assert torch.equal(matches[row], expected)
        at = expected >= 0
        assert at.any() == (len(own) > 0 and row != 3)
        assert torch.equal(labels[row, at], objects.labels[mine][expected[at]] + 1)
        assert torch.equal(offsets[row, at], encode(own[expected[at]], detector.anchors[at], detector.variances))
        assert not labels[row, ~at].any()
        assert not offsets[row, ~at].any()


def test_what_is_found_goes_by_the_picture():
    """Several processes bring their pictures in turns, and those that could not be read not at all."""
    detector = small_detector()
    torch.manual_seed(0)
    images = torch.randint(0, 255, (3, 1, 64, 64), dtype=torch.uint8)
    nothing = Objects(torch.zeros(0, 4), *torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    places = torch.tensor([4, 0, 2])
    scored = []
    task = Detection(Regularizer(), lambda found, _: scored.append(found) or {"mAP": 0.5}, lambda *_: None)
    with torch.inference_mode():
        batch = Batch(images, places * 0, places, torch.tensor([1.0, 0.0, 1.0]), nothing)
        task.update(detector, batch)
        loss = float(task.loss(detector, batch)) / 2
        expected = dict(zip(places.tolist(), detector.detect(detector(images)), strict=True))
    assert task.compute(World()) == {"loss": pytest.approx(loss), "mAP": 0.5}
    assert set(scored[0]) == {4, 2}
    for place, found in scored[0].items():
        assert found.scores.tolist() == expected[place].scores.tolist()
        assert found.labels.tolist() == expected[place].labels.tolist()
        assert found.boxes.tolist() == expected[place].boxes.tolist()
