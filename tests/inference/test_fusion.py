"""Weighted boxes fusion gives what its authors' ensemble-boxes gives; what can't be fused is said in a sentence."""

import json
from pathlib import Path

import numpy as np
import pytest

from xraycls import Detections, UsageError, weighted_boxes_fusion

CASES = json.loads((Path(__file__).parents[1] / "golden" / "boxes_fusion.json").read_text())
SOME = Detections.of([[10, 10, 50, 50]], [0], [0.8])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['models']} models")
def test_fused_boxes_are_those_of_ensemble_boxes(case):
    found = [Detections.of(**each) for each in case["detections"]]
    fused = weighted_boxes_fusion(
        found, weights=case["weights"], iou_threshold=case["iou"], score_threshold=case["skip"]
    )
    expected = Detections.of(**case["fused"])
    assert 0 < len(expected) < sum(map(len, found)) or case["models"] == 1
    np.testing.assert_array_equal(fused.labels, expected.labels)
    np.testing.assert_allclose(fused.boxes, expected.boxes, atol=2e-3)  # theirs adds up in float32 shares of 512
    np.testing.assert_allclose(fused.scores, expected.scores, atol=1e-6)


def test_a_box_of_one_of_three_models_keeps_a_third_of_its_score():
    fused = weighted_boxes_fusion([SOME, Detections.of(), Detections.of()])
    np.testing.assert_allclose(fused.scores, [0.8 / 3], rtol=1e-6)


def test_boxes_of_different_classes_are_not_fused():
    other = Detections.of([[10, 10, 50, 50]], [1], [0.7])
    assert weighted_boxes_fusion([SOME, other]).labels.tolist() == [0, 1]


def test_boxes_without_area_or_score_are_left_out():
    empty = Detections.of([[10, 10, 10, 50], [10, 10, 50, 50]], [0, 0], [0.9, 0.0])
    assert len(weighted_boxes_fusion([empty])) == 0


@pytest.mark.parametrize(
    ("detections", "given", "said"),
    [
        ([], {}, "There are no detections to fuse"),
        ([SOME], {"weights": [1.0, 2.0]}, "There are 2 weights for 1 models"),
        ([SOME], {"weights": [0.0]}, "Weights of models must be above 0, not 0"),
        ([SOME], {"iou_threshold": 1.5}, "iou_threshold must lie between 0 and 1, not be 1.5"),
        ([SOME], {"score_threshold": -0.1}, "score_threshold must lie between 0 and 1, not be -0.1"),
    ],
)
def test_what_cannot_be_fused_is_said(detections, given, said):
    with pytest.raises(UsageError, match=said):
        weighted_boxes_fusion(detections, **given)
