"""What anchors should say is the same for a batch as for each of its pictures alone."""

import torch

from tests.models.detectors import small_detector
from xraycls.models.detection.coding import encode
from xraycls.models.detection.matching import NEUTRAL, match
from xraycls.training.detection import targets
from xraycls.types import Batch, Objects


def test_targets_of_a_batch_are_those_of_its_pictures():
    detector, counts = small_detector(), torch.tensor([2, 0, 5, 1, 0])
    torch.manual_seed(3)
    corners = (torch.rand(8, 2) * 40).round() / 8 * 8  # some on the anchors' grid, for ties
    boxes = torch.cat([corners, corners + 4 + torch.rand(8, 2).mul(16).round()], dim=1)
    owners = torch.arange(5).repeat_interleave(counts)
    objects = Objects(boxes, torch.arange(8) % 2, owners, torch.zeros(8, dtype=torch.bool))
    weights = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0])
    nothing = torch.zeros(5, dtype=torch.int64)
    batch = Batch(torch.zeros(5, 1, 64, 64, dtype=torch.uint8), nothing, nothing, weights, objects)
    matches, labels, offsets = targets(detector, batch, 0.5, 0.3)
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
