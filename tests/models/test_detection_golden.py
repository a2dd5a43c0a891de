"""Anchors and targets against numbers that upstream's own code gave."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from xraycls.models.detection.anchors import SSDAnchors
from xraycls.models.detection.coding import decode, encode
from xraycls.models.detection.matching import BACKGROUND, NEUTRAL, match

GOLDEN = Path(__file__).parents[1] / "golden"
ANCHORS = {case["name"]: case for case in json.loads((GOLDEN / "ssd_anchors.json").read_text())["cases"]}
TARGETS = {s["name"]: s for s in json.loads((GOLDEN / "ssd_targets.json").read_text())["scenarios"]}


def pairs(values):
    return [tuple(v) if isinstance(v, list) else v for v in values] if values else None


def anchors_of(given: dict) -> SSDAnchors:
    scales = given.get("scales") or np.linspace(given["min_scale"], given["max_scale"], 7)
    ratios = given.get("aspect_ratios_per_layer") or [given["aspect_ratios_global"]] * (len(scales) - 1)
    return SSDAnchors(
        scales=list(scales),
        aspect_ratios=ratios,
        two_boxes_for_ar1=given["two_boxes_for_ar1"],
        clip=given["clip_boxes"],
        steps=pairs(given.get("steps")),
        offsets=pairs(given.get("offsets")),
    )


@pytest.mark.parametrize("case", [case for case in ANCHORS.values() if "maps" in case], ids=lambda case: case["name"])
def test_default_boxes_of_every_map(case):
    anchors, given = anchors_of(case["input"]), case["input"]
    maps = [tuple(part["feature_map"]) for part in case["maps"]]
    boxes = anchors.boxes((given["img_height"], given["img_width"]), maps)
    assert len(boxes) == case["n_anchors_total"]
    assert boxes.sum() == pytest.approx(case["sum"], rel=1e-12)
    assert (boxes**2).sum() == pytest.approx(case["sum_squares"], rel=1e-12)
    assert anchors.boxes_a_cell() == tuple(part["boxes_per_cell"] for part in case["maps"])
    ends = np.cumsum([part["n_anchors"] for part in case["maps"]])
    for part, found in zip(case["maps"], np.split(boxes, ends[:-1]), strict=True):
        assert np.allclose(found[:6], part["first6"], rtol=0, atol=1e-12)
        assert np.allclose(found[-6:], part["last6"], rtol=0, atol=1e-12)
        assert np.allclose(found.sum(axis=0), part["column_sums"], rtol=1e-11)
        assert (found**2).sum() == pytest.approx(part["sum_squares"], rel=1e-12)


def test_what_clipping_leaves():
    case = ANCHORS["clip_rule_100"]
    boxes = anchors_of(case["input"]).boxes((100, 100), [tuple(case["input"]["feature_map"])])
    assert np.allclose(boxes, case["all_rows"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scenario", TARGETS.values(), ids=lambda s: s["name"])
def test_targets(scenario):
    case = ANCHORS["seed000_512x512"]
    maps = [tuple(part["feature_map"]) for part in case["maps"]]
    anchors = torch.from_numpy(anchors_of(case["input"]).boxes((512, 512), maps))
    objects = torch.tensor(scenario["gt_class_xyxy_px"], dtype=torch.float64).reshape(-1, 5)[:, 1:] / 512
    matches = match(objects, anchors, scenario["pos_iou_thresh"], scenario["neg_iou_thresh"])
    assert int((matches >= 0).sum()) == scenario["n_positive"]
    assert int((matches == NEUTRAL).sum()) == scenario["n_neutral"]
    assert int((matches == BACKGROUND).sum()) == scenario["n_background"]
    if scenario["name"] == "tiny_box" or not len(objects):  # the index of the tiny box depends on rounding upstream too
        return
    assert torch.nonzero(matches == NEUTRAL).flatten().tolist() == scenario["neutral_indices"]
    positive = torch.nonzero(matches >= 0).flatten()
    variances = torch.tensor([0.1, 0.1, 0.2, 0.2], dtype=torch.float64)
    offsets = encode(objects[matches[positive]], anchors[positive], variances)
    expected = np.array(scenario["positives"])
    assert positive.tolist() == expected[:, 0].tolist()
    assert matches[positive].tolist() == expected[:, 1].tolist()
    assert np.allclose(offsets, expected[:, 4:], rtol=0, atol=1e-9)
    assert torch.allclose(decode(offsets, anchors[positive], variances), objects[matches[positive]])
