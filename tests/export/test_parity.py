"""What counts as the same answer of a file and of torch."""

import numpy as np
import pytest
import torch

from xraycls.export.parity import LIMITS, _of_heads


def heads(scores: np.ndarray, boxes: np.ndarray, order: list[int], **keywords) -> bool:
    """Whether candidates agree with themselves in another order."""
    outputs = {"scores": scores[:, order], "boxes": boxes[:, order]}
    found = _of_heads(1, (torch.from_numpy(scores), torch.from_numpy(boxes)), outputs, LIMITS["fp32"], **keywords)
    return all(each.passed for each in found)


@pytest.mark.parametrize("ranked", [False, True])
def test_only_regions_may_change_places_and_one_of_them_be_another(ranked):
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.1, 0.9, (1, 50, 2)).astype(np.float32)
    corners = rng.uniform(0, 90, (1, 50, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + 40], axis=3)
    same, swapped = list(range(50)), [1, 0, *range(2, 50)]
    assert heads(scores, boxes, same, ranked=ranked)
    assert heads(scores, boxes, swapped, ranked=ranked) is ranked
    assert heads(scores, boxes, [*range(49), 0], ranked=ranked) is ranked  # the last one is another
    assert not heads(scores, boxes, [*range(47), 0, 0, 0], ranked=ranked)
