"""What training leaves in a results folder, in the very letters of TAO's."""

import json
import math
from datetime import datetime
from types import SimpleNamespace

import pytest

from tests.evaluation.detection.test_ap_faster_rcnn_text import CLASSES, GOLDEN, scene
from xraycls.data.table import SampleTable
from xraycls.errors import XrayclsError
from xraycls.loaders.views import Canvas
from xraycls.tao.results import Results, StrictReporter, TaoReporter, reported
from xraycls.tao.status import StatusLog
from xraycls.training.job import EvaluationConfig
from xraycls.training.reporter import Silent
from xraycls.workflows.detection.evaluator import Evaluator

EVALUATED = {
    "epoch": 1.0,
    "learning_rate": 0.02,
    "train_loss": 2.5,
    "val_loss": 41.86811065673828,
    "val_mAP": 0.4535,
    "val_AP_opacity": 0.5,
    "val_AP_Nodule": 0.407,
    "seconds": 65.25,
    "waiting": 0.1,
}
NOT_EVALUATED = {"epoch": 2.0, "learning_rate": 5e-05, "train_loss": 1.75, "seconds": 60.0, "waiting": 0.1}


class Heard(Silent):
    def __init__(self):
        self.rows = []

    def epoch(self, row, improved):
        self.rows.append((row, improved))


def lines(folder):
    return [json.loads(line) for line in (folder / "status.json").read_text().splitlines()]


@pytest.mark.parametrize(
    ("network", "table", "arch", "epoch", "suffix", "weights", "log"),
    [
        ("ssd", "", "resnet18", 80, ".tlt", "weights/ssd_resnet18_epoch_080.tlt", "ssd_training_log_resnet18.csv"),
        ("dssd", "ssd", "vgg16", 1, ".hdf5", "weights/dssd_vgg16_epoch_001.hdf5", "ssd_training_log_vgg16.csv"),
        ("ssd", "", "vgg19", 1000, "", "weights/ssd_vgg19_epoch_1000", "ssd_training_log_vgg19.csv"),
        ("yolov4", "", "vgg16", 7, ".tlt", "weights/yolov4_vgg16_epoch_007.tlt", "yolov4_training_log_vgg16.csv"),
    ],
)
def test_names(tmp_path, network, table, arch, epoch, suffix, weights, log):
    results = Results(tmp_path, network, arch, table=table)
    assert results.weights(epoch, suffix) == tmp_path / weights
    assert results.log == tmp_path / log
    assert results.events == tmp_path / "events"


def reporter(folder, classes=("opacity", "Nodule"), listener=None):
    results = Results(folder, "ssd", "resnet18")
    return TaoReporter(results, StatusLog(folder), 3, classes, listener or Silent())


def test_the_table_of_a_training(tmp_path):
    heard = Heard()
    tao = reporter(tmp_path, listener=heard)
    tao.epoch(EVALUATED, True)
    tao.epoch(NOT_EVALUATED, False)
    tao.epoch(EVALUATED | {"epoch": 3.0, "val_mAP": math.nan}, False)
    assert (tmp_path / "ssd_training_log_resnet18.csv").read_text() == (
        "epoch,AP_Nodule,AP_opacity,loss,lr,mAP,validation_loss\n"
        "1,0.407,0.5,2.5,0.02,0.4535,41.86811065673828\n"
        "2,nan,nan,1.75,5e-05,nan,nan\n"
        "3,0.407,0.5,2.5,0.02,nan,41.86811065673828\n"
    )
    assert heard.rows[:2] == [(EVALUATED, True), (NOT_EVALUATED, False)]


def test_the_table_starts_anew(tmp_path):
    reporter(tmp_path).epoch(EVALUATED, True)
    tao = reporter(tmp_path)
    assert (tmp_path / "ssd_training_log_resnet18.csv").read_text().count("\n") == 1
    tao.epoch(EVALUATED | {"epoch": 41.0}, True)
    assert (tmp_path / "ssd_training_log_resnet18.csv").read_text().splitlines()[1].startswith("41,")


def test_without_validation_there_are_two_figures(tmp_path):
    reporter(tmp_path, classes=()).epoch(NOT_EVALUATED, False)
    assert (tmp_path / "ssd_training_log_resnet18.csv").read_text() == "epoch,loss,lr\n2,1.75,5e-05\n"
    assert lines(tmp_path)[0]["graphical"] == {"loss": "1.75", "learning_rate": "5e-05"}
    assert "kpi" not in lines(tmp_path)[0]


def test_a_status_line_an_epoch(tmp_path):
    tao = reporter(tmp_path)
    tao.epoch(EVALUATED, True)
    tao.epoch(NOT_EVALUATED, False)
    first, second = lines(tmp_path)
    assert first["status"] == "RUNNING"
    assert (first["epoch"], first["max_epoch"]) == (1, 3)
    assert (first["time_per_epoch"], first["eta"]) == ("0:01:05.250000", "0:02:10.500000")
    assert first["graphical"] == {
        "loss": "2.5",
        "validation_loss": "41.86811065673828",
        "mean average precision": "0.4535",
        "learning_rate": "0.02",
    }
    assert first["kpi"] == {"mean average precision": "0.4535"}
    assert second["kpi"] == {"mean average precision": "nan"}
    assert second["graphical"]["validation_loss"] == "nan"


def test_other_reports_are_passed_on(tmp_path):
    said = []
    listener = Silent()
    listener.message = said.append
    reporter(tmp_path, listener=listener).message("hello")
    assert said == ["hello"]


def test_a_folder_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(XrayclsError, match="could not be written"):
        reporter(tmp_path / "file")


def test_a_program_tells_how_it_ended(tmp_path):
    with reported(tmp_path, "SSD inference") as status:
        status.write("halfway", figures={"kpi": {"mAP": 0.5}})
    with pytest.raises(XrayclsError), reported(tmp_path, "SSD inference"):
        raise XrayclsError("the disk is full", "Free some space")
    with pytest.raises(KeyboardInterrupt), reported(tmp_path, "SSD inference"):
        raise KeyboardInterrupt
    assert [(line["status"], line["message"]) for line in lines(tmp_path)] == [
        ("STARTED", "Starting SSD inference."),
        ("RUNNING", "halfway"),
        ("SUCCESS", "SSD inference finished successfully."),
        ("STARTED", "Starting SSD inference."),
        ("FAILURE", "the disk is full. Free some space."),
        ("STARTED", "Starting SSD inference."),
        ("FAILURE", "SSD inference was interrupted"),
    ]
    with reported(None, "SSD inference"):
        pass


def test_the_first_error_is_the_one_that_is_told(tmp_path):
    def fill_the_disk():
        (tmp_path / "status.json").unlink()
        (tmp_path / "status.json").mkdir()
        raise XrayclsError("the disk is full")

    with pytest.raises(XrayclsError, match="the disk is full"), reported(tmp_path, "SSD training"):
        fill_the_disk()


def test_dates_and_times_have_no_zeros_before_them(tmp_path, monkeypatch):
    monkeypatch.setattr("xraycls.tao.status.datetime", SimpleNamespace(now=lambda: datetime(2023, 4, 5, 6, 7, 8)))
    StatusLog(tmp_path).write("x", figures={"kpi": {"mAP": 0.5}})
    assert (tmp_path / "status.json").read_text() == (
        '{"date": "4/5/2023", "time": "6:7:8", "status": "RUNNING", "verbosity": "INFO", "message": "x", '
        '"kpi": {"mAP": 0.5}}\n'
    )


@pytest.mark.parametrize("name", GOLDEN["results"])
def test_a_validation_of_faster_rcnn_is_printed_as_upstream_does(name, tmp_path):
    """Every overlap, the recall of the proposals where it is known, and no line for a class that doesn't occur."""
    ious = tuple(GOLDEN["iou_thresholds"] if "two thresholds" in name else GOLDEN["iou_thresholds"][:1])
    mode = "sample" if name.startswith("11-point") else "integrate"
    settings = EvaluationConfig(mode=mode, iou=ious[0], ious=ious, rule="voc")
    truths, found = scene()
    height, width = GOLDEN["image_hw"]
    table = SampleTable((), (), tmp_path, "boxes")
    evaluator = Evaluator(table, truths, tuple(CLASSES), Canvas(height, width), settings, GOLDEN["score_threshold"])
    figures = evaluator.figures(dict(enumerate(found)))
    assert math.isnan(figures["AP_zebra"])
    if "no RPN recall" not in name:
        hits = GOLDEN["rpn_recall_lists"]
        figures |= {f"RPN_recall_{key}": sum(each) / len(each) for key, each in hits.items()}
    told: list[str] = []
    listener = Silent()
    listener.message = told.append
    reporter = StrictReporter(listener, CLASSES, ious)
    reporter.epoch({"epoch": 3.0, **{f"val_{key}": value for key, value in figures.items()}}, True)
    first, *block, last = told
    assert (first, last) == ("Doing validation at epoch 3(1-based index)...", "Validation done!")
    assert "\n".join(block) + "\n" == GOLDEN["results"][name]["text"]


def test_the_recall_of_proposals_is_a_figure_of_a_validation(tmp_path):
    truths, found = scene()
    settings = EvaluationConfig(rule="voc")
    table = SampleTable((), (), tmp_path, "boxes")
    evaluator = Evaluator(table, truths, tuple(CLASSES), Canvas(240, 320), settings, 0.3)
    proposals = {row: truth.boxes.astype("float32") for row, truth in enumerate(truths)}
    figures = evaluator.figures(dict(enumerate(found)), proposals)
    assert figures["RPN_recall_cat"] == figures["RPN_recall_dog"] == 1.0
    assert math.isnan(figures["RPN_recall_zebra"])
