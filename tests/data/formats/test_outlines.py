"""Boxes around COCO's masks, beside those of its own tools."""

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco

from xraycls.data.formats.outlines import around_mask


def drawn(seed: int) -> np.ndarray:
    """A mask of rectangles and specks, uint8 [H, W]; some touch the edges."""
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 70, 2)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(random.integers(1, 4)):
        top, left = random.integers(0, (height, width))
        mask[top : top + random.integers(1, 40), left : left + random.integers(1, 40)] = 1
    return mask


def as_list(mask: np.ndarray) -> list[int]:
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, len(flat)]).tolist()
    return [0, *runs] if flat[0] else runs


@pytest.mark.parametrize("seed", range(40))
def test_the_box_is_that_of_cocos_tools(seed):
    mask = drawn(seed)
    packed = coco.encode(np.asfortranarray(mask))
    left, top, width, height = coco.toBbox(packed)
    expected = (left, top, left + width, top + height)
    size = [int(side) for side in packed["size"]]
    assert around_mask({"size": size, "counts": packed["counts"].decode()}) == expected
    assert around_mask({"size": size, "counts": as_list(mask)}) == expected


@pytest.mark.parametrize(
    "mask",
    [
        {"size": [4, 5], "counts": [20]},  # empty
        {"size": [4, 5], "counts": [5, 2]},  # of another size
        {"size": [4, 5], "counts": [5, -2, 17]},
        {"size": [4, 5], "counts": [5, 2.5, 12.5]},
        {"size": [4], "counts": [4]},
        {"size": [0, 0], "counts": []},
        {"size": [4, 5], "counts": "\x00"},
        {"size": [4, 5], "counts": "oooooooooooooooooo"},
        {"size": [4, 5], "counts": "1P"},  # ends within a number
        {"size": None, "counts": None},
        "abc",
        None,
    ],
)
def test_what_is_no_mask_has_no_box(mask):
    assert around_mask(mask) is None
