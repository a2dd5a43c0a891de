"""Proposals, coding and crops of Faster R-CNN against plain loops, torchvision and upstream's executed numbers."""

import json

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from xraycls.models.detection.proposals import (
    anchor_grid,
    anchor_shapes,
    clip,
    crop_and_resize,
    decode_anchors,
    decode_rois,
    encode_rois,
    propose,
)
from xraycls.models.detection.suppression import suppress

YXYX = [1, 0, 3, 2]


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "reference" / "golden_networks"
    facts = json.loads((folder / "frcnn_resnet18.json").read_text())
    with np.load(folder / "frcnn_resnet18.npz") as stored:
        return facts, {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.fixture(scope="module")
def anchors():
    return anchor_grid(anchor_shapes((64.0, 128.0, 256.0), (1.0, 0.5, 2.0)), 12, 16, 16.0)


def test_anchors_lie_in_the_middle_of_their_cells(anchors):
    assert anchors.shape == (12 * 16 * 9, 4)
    assert anchors[0].tolist() == [8.0, 8.0, 64.0, 64.0]
    assert anchors[9].tolist() == [24.0, 8.0, 64.0, 64.0]
    assert anchors[1].tolist() == pytest.approx([8.0, 8.0, 64 * 0.5**0.5, 64 / 0.5**0.5])
    assert anchors[16 * 9 + 8].tolist() == pytest.approx([8.0, 24.0, 256 * 2**0.5, 256 / 2**0.5])


def test_proposals_are_upstreams(golden, anchors):
    facts, arrays = golden
    network = facts["network"]
    deltas = arrays["eval/rpn_out_regress"].permute(0, 2, 3, 1).reshape(1, -1, 4)
    boxes = clip(decode_anchors(deltas, anchors), 192, 256)
    boxes = boxes.view(1, -1, 9, 4).transpose(1, 2).reshape(1, -1, 4)
    proposals = propose(
        arrays["eval/rpn_out_class"].flatten(1),
        boxes,
        candidates=network["eval_rpn_pre_nms_top_N"],
        count=network["eval_rpn_nms_max_boxes"],
        iou=network["eval_rpn_nms_overlap_threshold"],
    )
    expected = arrays["eval/rois_yxyx"][..., YXYX]
    assert (proposals - expected).abs().max() <= 1e-5 * expected.abs().max()


def boxes_at_random(pictures: int, number: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(pictures, number, 2, generator=generator) * 200
    size = torch.rand(pictures, number, 2, generator=generator) * 60
    return torch.rand(pictures, number, generator=generator), torch.cat([corner, corner + size], dim=-1)


@pytest.mark.parametrize(("number", "candidates", "count"), [(60, 40, 30), (3000, 2500, 40), (3000, 2500, 2400)])
def test_a_batch_gives_what_each_of_its_pictures_gives_alone(number, candidates, count):
    scores, boxes = boxes_at_random(3, number)
    together = propose(scores, boxes, candidates=candidates, count=count, iou=0.5)
    for picture in range(3):
        large = ((boxes[picture, :, 2:] - boxes[picture, :, :2]) > 1).all(dim=1)
        left, value = boxes[picture][large], scores[picture][large]
        best = value.argsort(descending=True, stable=True)[:candidates]
        kept = left[best][nms(left[best], value[best], 0.5)][:count]
        assert torch.equal(together[picture, : len(kept)], kept)
        assert not together[picture, len(kept) :].any()


def test_of_equal_scores_the_first_candidates_stay():
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])[None]
    proposals = propose(torch.full((1, 3), 0.5), boxes, candidates=2, count=3, iou=0.5)
    assert proposals[0].tolist() == [[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 0, 0]]


def test_boxes_of_one_pixel_are_left_out():
    boxes = torch.tensor([[0.0, 0, 1, 10], [0, 0, 10, 1], [5, 5, 6.5, 6.5]])[None]
    proposals = propose(torch.tensor([[0.9, 0.8, 0.1]]), boxes, candidates=3, count=2, iou=0.5)
    assert proposals[0].tolist() == [[5, 5, 6.5, 6.5], [0, 0, 0, 0]]


def test_an_exporters_graph_gives_the_same_proposals():
    class Proposing(torch.nn.Module):
        def forward(self, scores, boxes):
            return propose(scores, boxes, candidates=300, count=50, iou=0.5)

    scores, boxes = boxes_at_random(2, 400)
    pictures = {0: torch.export.Dim("pictures")}
    graph = torch.export.export(Proposing(), (scores, boxes), dynamic_shapes=(pictures, pictures)).module()
    scores, boxes = boxes_at_random(3, 400, seed=1)
    expected = propose(scores, boxes, candidates=300, count=50, iou=0.5)
    assert torch.equal(graph(scores, boxes), expected)


def test_decoding_undoes_encoding():
    _, rois = boxes_at_random(1, 50)
    _, boxes = boxes_at_random(1, 50, seed=1)
    spread = torch.tensor([10.0, 10.0, 5.0, 5.0])
    found = decode_rois(encode_rois(boxes, rois) * spread, rois, spread)
    wider = boxes + torch.tensor([0.0, 0.0, 1.0, 1.0])  # encoded as right - left + 1 and decoded without
    assert torch.allclose(found, wider, atol=1e-3)


def naive_crop(features: np.ndarray, roi: np.ndarray, height: int, width: int, size: int) -> np.ndarray:
    """TensorFlow's documented formula, sample by sample, in float32."""
    channels, rows, columns = features.shape
    crop = np.zeros((channels, size, size), np.float32)
    one = np.float32(1)
    left, top, right, bottom = (roi / np.array([width - 1, height - 1] * 2, np.float32)).astype(np.float32)
    for i in range(size):
        y = top * np.float32(rows - 1) + np.float32(i) * ((bottom - top) * np.float32(rows - 1) / np.float32(size - 1))
        for j in range(size):
            step = (right - left) * np.float32(columns - 1) / np.float32(size - 1)
            x = left * np.float32(columns - 1) + np.float32(j) * step
            if not (0 <= y <= rows - 1 and 0 <= x <= columns - 1):
                continue
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            y1, x1, fy, fx = int(np.ceil(y)), int(np.ceil(x)), y - np.floor(y), x - np.floor(x)
            upper = features[:, y0, x0] * (one - fx) + features[:, y0, x1] * fx
            lower = features[:, y1, x0] * (one - fx) + features[:, y1, x1] * fx
            crop[:, i, j] = upper * (one - fy) + lower * fy
    return crop


def test_crops_follow_the_formula_and_are_zero_beyond_the_last_cell():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 12, 16, generator=generator)
    _, rois = boxes_at_random(2, 60)
    rois = rois.clamp(max=191.0)
    rois[:, :20, 2], rois[:, 10:30, 3] = 255.0, 191.0  # at the picture's edges, where rounding decides
    crops = crop_and_resize(features, rois, height=192, width=256, size=7).view(2, 60, 3, 7, 7)
    expected = np.stack(
        [[naive_crop(features[b].numpy(), roi.numpy(), 192, 256, 7) for roi in rois[b]] for b in range(2)]
    )
    empty = (expected == 0).all(axis=(2, 3)).any(), (expected == 0).all(axis=(2, 4)).any()
    assert any(empty), "no region of this test ends beyond the last cell"
    assert np.abs(crops.numpy() - expected).max() < 2e-5


def test_gradients_of_crops_are_those_of_the_formula():
    features = torch.randn(1, 1, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rois = torch.tensor([[[3.0, 5.0, 40.0, 50.0], [0.0, 0.0, 70.0, 60.0]]])
    crop_and_resize(features, rois, height=64, width=80, size=3).sum().backward()
    expected = np.zeros((4, 5))
    for y in range(4):
        for x in range(5):  # the crop is linear in the map: a map of one 1 gives the gradient
            one = np.zeros((1, 4, 5), np.float32)
            one[0, y, x] = 1
            expected[y, x] = sum(naive_crop(one, roi.numpy(), 64, 80, 3).sum() for roi in rois[0])
    assert np.allclose(features.grad[0, 0].numpy(), expected, atol=1e-5)


def test_every_class_has_boxes_of_its_own_in_the_last_suppression():
    probabilities, _ = boxes_at_random(1, 40)
    probabilities = torch.stack([probabilities[0], boxes_at_random(1, 40, seed=1)[0][0]], dim=1)
    boxes = torch.stack([boxes_at_random(1, 40, seed=seed)[1][0] for seed in (2, 3)], dim=1)
    found, labels, scores = suppress(probabilities, boxes, confidence=0.1, iou=0.3, top_k=15)
    alone = [suppress(probabilities[:, c : c + 1], boxes[:, c], confidence=0.1, iou=0.3, top_k=15) for c in (0, 1)]
    order = torch.cat([part[2] for part in alone]).argsort(descending=True, stable=True)[:15]
    assert torch.equal(scores, torch.cat([part[2] for part in alone])[order])
    assert torch.equal(found, torch.cat([part[0] for part in alone])[order])
    assert torch.equal(labels, torch.cat([torch.full_like(part[1], c) for c, part in enumerate(alone)])[order])
