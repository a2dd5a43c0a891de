"""Average precision and the printed blocks against numbers and lines that TAO's own code gave."""

import json
from pathlib import Path

import pytest

from xraycls.evaluation.detection.average_precision import average_precision, strict_average_precision
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.printed import strict_block
from xraycls.types import Detections

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "ap.json").read_text())
SCENARIOS = GOLDEN["scenarios"]
MODES = {"True": "sample", "False": "integrate"}


def images(scenario):
    """Rows of ground truth are class, difficult and corners, those of detections class, score and corners."""

    def columns(rows):
        return [row[2:] for row in rows], [row[0] for row in rows], [row[1] for row in rows]

    return (
        [ImageBoxes.of(*columns(rows)) for rows in scenario["gt"]],
        [Detections.of(*columns(rows)) for rows in scenario["det"]],
    )


def figures(which, start):
    """Each (scenario, how it was computed, what came out) of one evaluator."""
    return [
        pytest.param(scenario, key, value, id=f"{scenario['name']}-{key}")
        for scenario in SCENARIOS
        for key, value in scenario[which].items()
        if key.startswith(start)
    ]


@pytest.mark.parametrize(("scenario", "how", "expected"), figures("common", ""))
def test_ssd_and_yolo(scenario, how, expected):
    mode, threshold = how.split("@")
    found = average_precision(
        *images(scenario),
        scenario["class_names"],
        mode=mode.lower(),
        iou_threshold=float(threshold),
        confidence_threshold=scenario["conf_thres"],
    )
    assert list(found.per_class) == scenario["class_names"]
    assert list(found.per_class.values()) == pytest.approx(expected["AP"], abs=1e-9)
    assert found.mean == pytest.approx(expected["mAP"], abs=1e-9)


@pytest.mark.parametrize(("scenario", "how", "expected"), figures("faster_rcnn", "use_voc07"))
def test_faster_rcnn(scenario, how, expected):
    flag, threshold = how.split("@")
    [found] = strict_average_precision(
        *images(scenario),
        scenario["class_names"],
        mode=MODES[flag.split("=")[1]],
        iou_thresholds=[float(threshold)],
        confidence_threshold=scenario["conf_thres"],
    )
    rows = expected["per_class[AP,precision,recall,TP,FP,FN]"]
    assert list(found.per_class) == sorted(rows)
    for name, each in found.per_class.items():
        shown = [each.ap, each.precision, each.recall, each.true, each.false, each.missed]
        assert shown == pytest.approx(rows[name], abs=1e-9)
    assert found.mean == pytest.approx(expected["mAP"], abs=1e-9)


@pytest.mark.parametrize(("scenario", "how", "lines"), figures("faster_rcnn", "printed"))
def test_what_faster_rcnn_prints(scenario, how, lines):
    starts = (line.split()[0] for line in lines if line.startswith("mAP@") and "[" not in line)
    found = strict_average_precision(
        *images(scenario),
        scenario["class_names"],
        mode=MODES[how.split("=")[1]],
        iou_thresholds=[float(start.removeprefix("mAP@")) for start in starts],
        confidence_threshold=scenario["conf_thres"],
    )
    assert strict_block(found).split("\n") == lines


def test_a_missed_box_is_missed_at_a_confidence_threshold_of_0():
    defect = GOLDEN["upstream_defects_executed"][0]
    for threshold in (0.0, 0.01):
        found = average_precision(*images(defect), ["a"], confidence_threshold=threshold)
        assert found.mean == pytest.approx(defect["SAMPLE_AP_conf_0.01"][0], abs=1e-9)
    assert found.mean < defect["SAMPLE_AP_conf_0"][0] - 0.2


def test_a_class_with_difficult_boxes_only_does_not_occur():
    truths = [ImageBoxes.of([[10, 10, 60, 60], [100, 100, 150, 150]], [0, 1], [True, False])]
    found = [Detections.of([[11, 10, 60, 61], [101, 100, 150, 151]], [0, 1], [0.9, 0.8])]
    [strict] = strict_average_precision(truths, found, ["hard", "plain"])
    assert list(strict.per_class) == ["plain"]
    assert strict.mean == pytest.approx(1)
    [nothing] = strict_average_precision(truths, found, ["hard", "plain"], confidence_threshold=0.95)
    assert nothing.per_class["plain"].missed == 1  # it is still there to be found
    with pytest.raises(ValueError, match="must be above 0, not 0"):
        strict_average_precision(truths, found, ["hard", "plain"], confidence_threshold=0)
