"""The text that upstream's Faster R-CNN evaluation printed, character for character, and its recall of proposals."""

import json
from pathlib import Path

import numpy as np
import pytest

from xraycls.evaluation.detection.average_precision import strict_average_precision
from xraycls.evaluation.detection.cases import Detections, ImageBoxes
from xraycls.evaluation.detection.printed import strict_block
from xraycls.evaluation.detection.proposal_recall import proposal_recall

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "frcnn_eval_text.json").read_text())
CLASSES = [name for name in GOLDEN["class_names"].values() if name != "background"]
YXYX = [1, 0, 3, 2]


def scene() -> tuple[list[ImageBoxes], list[Detections]]:
    truths = [
        ImageBoxes.of(np.array(boxes)[:, YXYX], labels, difficult)
        for boxes, labels, difficult in zip(
            GOLDEN["gt_boxes_y1x1y2x2"], GOLDEN["gt_class_ids"], GOLDEN["gt_difficult"], strict=True
        )
    ]
    detections = []
    for rows in GOLDEN["detections_class_prob_y1x1y2x2"]:
        boxes = np.array([row[2:] for row in rows])[:, YXYX]
        detections.append(Detections.of(boxes, [CLASSES.index(row[0]) for row in rows], [row[1] for row in rows]))
    return truths, detections


@pytest.mark.parametrize("name", GOLDEN["results"])
def test_the_printed_text(name):
    thresholds = GOLDEN["iou_thresholds"] if "two thresholds" in name else GOLDEN["iou_thresholds"][:1]
    found = strict_average_precision(
        *scene(),
        CLASSES,
        mode="sample" if name.startswith("11-point") else "integrate",
        iou_thresholds=thresholds,
        confidence_threshold=GOLDEN["score_threshold"],
    )
    hits = GOLDEN["rpn_recall_lists"]
    recall = None if "no RPN recall" in name else {key: sum(each) / len(each) for key, each in hits.items()}
    expected = GOLDEN["results"][name]
    assert strict_block(found, recall) + "\n" == expected["text"]
    assert [one.mean for one in found] == pytest.approx(expected["mAPs"], abs=1e-12)


def test_recall_of_proposals():
    truths, _ = scene()
    exact = [truth.boxes for truth in truths]
    assert proposal_recall(truths, exact, CLASSES) == {"cat": 1.0, "dog": 1.0}
    assert proposal_recall(truths, [[], exact[1][:1], np.zeros((3, 4))], CLASSES) == {"cat": 0.5, "dog": 0.0}
    box = [ImageBoxes.of([[0, 0, 9, 9]], [0])]
    half = [[[0, 0, 9, 19]]]
    assert proposal_recall(box, half, ["a"]) == {"a": 1.0}  # just half: 100 of 200 pixels
    assert proposal_recall(box, half, ["a"], iou_threshold=0.51) == {"a": 0.0}
