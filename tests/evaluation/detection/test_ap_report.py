"""The report: the same figures as the functions beside it, as JSON, as a table and as pictures."""

import json
import logging
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from xraycls.errors import DataError
from xraycls.evaluation.detection.average_precision import average_precision, strict_average_precision
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.plots import detection_pr_plot, froc_plot, write_pictures
from xraycls.evaluation.detection.summary import detection_class_table, detection_table
from xraycls.evaluation.detection.table import FIGURES, PER_CLASS, detection_report
from xraycls.types import Detections

NAMES = ["opacity", "effusion", "never"]


@pytest.fixture(scope="module")
def made(scene):
    truths, found = scene(4, images=30, difficult=0.1)
    return truths, found, detection_report(truths, found, NAMES, resamples=60)


def test_all_figures_are_of_the_same_boxes(made):
    truths, found, report = made
    for mode in ("sample", "integrate"):
        plain = average_precision(truths, found, NAMES, mode=mode)
        assert report.figures[f"ap_{mode}"].value == pytest.approx(plain.mean)
        assert {n: row[f"ap_{mode}"].value for n, row in report.per_class.items()} == pytest.approx(plain.per_class)
        [strict] = strict_average_precision(truths, found, NAMES, mode=mode)
        assert report.figures[f"voc_ap_{mode}"].value == pytest.approx(strict.mean)
        for name in NAMES[:2]:
            assert report.per_class[name][f"voc_ap_{mode}"].value == pytest.approx(strict.per_class[name].ap)
        assert math.isnan(report.per_class["never"][f"voc_ap_{mode}"].value)
    assert report.per_class["never"]["ap_sample"].value == 0
    for name, estimate in report.figures.items():
        if not name.startswith("coco"):
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.low < estimate.high
    assert report.images == 30
    assert report.negatives == sum(len(one.classes) == 0 for one in truths) > 0
    assert report.difficult == sum(one.difficult.sum() for one in truths) > 0
    assert sum(report.boxes.values()) == sum((~one.difficult).sum() for one in truths)
    assert report.detections == sum(len(one.scores) for one in found)


def test_json_holds_every_figure_and_no_nan(made):
    *_, report = made
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(report.figures) <= set(content)
    assert content["ap_sample"]["interval"][0] < content["ap_sample"]["value"]
    assert content["per_class"]["never"] == {
        **{name: report.per_class["never"][name].to_dict() for name in PER_CLASS},
        "boxes": 0,
    }
    assert content["per_class"]["never"]["voc_ap_sample"]["value"] is None
    assert content["bootstrap"] == {"confidence": 0.95, "resamples": 60, "groups": None}


def test_the_table_has_a_row_a_figure(made):
    *_, report = made
    header, *rows = detection_table(report)
    assert header == ("", "IoU 0.5")
    assert [title for title, _ in rows] == [FIGURES[name] for name in report.figures]
    estimate = report.figures["ap_sample"]
    assert rows[0][1] == f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"
    header, *rows = detection_class_table(report)
    assert [row[:2] for row in rows] == [(name, str(report.boxes[name])) for name in NAMES]
    assert rows[2][2:] == ("0.000 (0.000–0.000)", "0.000 (0.000–0.000)", "–", "–", "–")
    assert len(header) == len(rows[0])


def test_figures_without_an_interval_stand_alone(scene):
    truths, found = scene(4)
    for _, shown in detection_table(detection_report(truths, found, ["a", "b"], resamples=0))[1:]:
        assert shown == "–" or float(shown) >= 0


def test_patients_make_groups_only_where_they_have_several_images(scene):
    truths, found = scene(4)
    patients = [f"patient {i // 2}" for i in range(12)]
    assert detection_report(truths, found, ["a", "b"], groups=patients, resamples=5).groups == 6
    assert detection_report(truths, found, ["a", "b"], groups=range(12), resamples=5).groups is None


def test_the_centre_rule_finds_more(scene):
    truths, found = scene(4)
    shrunk = [
        Detections((one.boxes + one.boxes[:, [2, 3, 0, 1]]) / 2 + [-2, -2, 2, 2], one.labels, one.scores)
        for one in found
    ]
    by = {hit: detection_report(truths, shrunk, ["a", "b"], hit=hit, resamples=0) for hit in ("iou", "centre")}
    assert by["iou"].figures["froc"].value == 0
    assert by["centre"].figures["froc"].value > 0.3
    assert by["centre"].figures["ap_sample"].value == 0


def test_without_the_package_coco_is_left_out_with_a_word(scene, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with caplog.at_level(logging.WARNING):
        report = detection_report(*scene(4), ["a", "b"], resamples=0)
    assert "COCO's figures are left out: faster-coco-eval is not installed" in caplog.text
    assert not any(name.startswith("coco") for name in report.figures)
    assert "ap_sample" in report.figures


def test_nothing_to_evaluate():
    with pytest.raises(DataError, match="not one image"):
        detection_report([], [], ["a"])


def line(axes, start):
    return next(found for found in axes.get_lines() if str(found.get_label()).startswith(start)).get_xydata()


def test_the_area_below_the_curve_is_the_average_precision(made):
    *_, report = made
    axes = detection_pr_plot(report).axes[0]
    for name in NAMES[:2]:
        points = line(axes, f"{name}: AP")
        area = np.sum(np.diff(points[:, 0]) * points[1:, 1])
        assert area == pytest.approx(report.per_class[name]["ap_integrate"].value)
    assert len(axes.get_lines()) == 2


def test_the_froc_curve_goes_through_its_points(made):
    *_, report = made
    axes = froc_plot(report).axes[0]
    curve, points = axes.get_lines()[0].get_xydata(), line(axes, "mean sensitivity")
    for rate, sensitivity in points:
        assert curve[curve[:, 0] <= rate][-1, 1] == pytest.approx(sensitivity)
    assert points[:, 1].mean() == pytest.approx(report.figures["froc"].value)


@pytest.mark.parametrize("boxes", [[], [[0, 0, 50, 50]]])
def test_pictures_are_written_even_of_nothing(tmp_path, boxes):
    truths, found = [ImageBoxes.of(boxes, [0] * len(boxes))], [Detections.of()]
    report = detection_report(truths, found, ["opacity"], resamples=5)
    paths = write_pictures(report, tmp_path)
    assert [path.name for path in paths] == ["PR_curve.png", "FROC_curve.png"]
    assert all(Image.open(path).width > 500 for path in paths)
    notes = [text.get_text() for text in detection_pr_plot(report).axes[0].texts]
    assert notes == ([] if boxes else ["no curve: there is no box to find"])


def test_nothing_heavy_is_imported_before_it_is_needed():
    program = """
import sys
import xraycls.evaluation.detection.plots, xraycls.evaluation.detection.printed
heavy = {"matplotlib", "sklearn", "torch", "faster_coco_eval"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)
