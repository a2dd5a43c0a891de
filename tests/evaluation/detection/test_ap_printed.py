"""The printed blocks, character for character."""

import pytest

from xraycls.evaluation.detection.average_precision import AveragePrecision, ClassFigures, StrictAveragePrecision
from xraycls.evaluation.detection.printed import average_precision_block, strict_block, validation_block

FOUND = AveragePrecision({"opacity": 0.4921951, "effusion": 1.0}, 0.74609755)


def test_ssd_evaluate():
    assert average_precision_block(FOUND) == (
        "*******************************\n"
        "opacity       AP    0.492\n"
        "effusion      AP    1.0\n"
        "              mAP   0.746\n"
        "*******************************"
    )


def test_during_training():
    assert validation_block(FOUND, 3.25) == (
        "*******************************\n"
        "opacity       AP    0.4922\n"
        "effusion      AP    1.0\n"
        "              mAP   0.7461\n"
        "*******************************\n"
        "Validation loss: 3.25"
    )


@pytest.mark.parametrize("recall", [None, {"opacity": 0.875}])
def test_faster_rcnn(recall):
    figures = ClassFigures(ap=0.8484848, precision=0.5, recall=1.0, true=2, false=2, missed=0)
    found = [
        StrictAveragePrecision(0.5, {"opacity": figures}, 0.8484848),
        StrictAveragePrecision(0.1 * 6, {"opacity": figures}, 0.7484848),  # 0.6000000000000001
    ]
    header = f"{'Class':<20}{'AP':<20}{'precision':<20}{'recall':<20}" + (f"{'RPN_recall':<20}" if recall else "")
    row = f"{'opacity':<20}{'0.8485':<20}{'0.5000':<20}{'1.0000':<20}" + (f"{'0.8750':<20}" if recall else "")
    assert strict_block(found, recall).split("\n") == [
        "=" * 90,
        header,
        "-" * 90,
        row,
        "-" * 90,
        f"mAP@0.5 = {'0.8485':<20}",
        "=" * 90,
        header,
        "-" * 90,
        row,
        "-" * 90,
        f"mAP@0.6 = {'0.7485':<20}",
        f"mAP@[0.5:0.6] = {'0.7985':<20}",
    ]
    assert "mAP@[" not in strict_block(found[:1])
