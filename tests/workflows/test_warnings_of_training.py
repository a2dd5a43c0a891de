"""What a training says early, so that nobody finds it out at the end."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

import xraycls
from tests.workflows.test_training_runs import FAST
from xraycls.data.source import read_table
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, RunError, UsageError, WeightsError, XrayclsError
from xraycls.training.config import parse_config
from xraycls.training.loop import Messages, Training
from xraycls.training.reporter import Silent
from xraycls.types import UNCERTAIN, Sample
from xraycls.workflows.task import absent_classes, check_task


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_a_split_without_a_class_and_a_metric_that_is_no_number_are_reported(draw_folder, tmp_path):
    data = draw_folder(tmp_path / "data", {"train": 6, "val": 3})
    for picture in (data / "val" / "PNEUMONIA").iterdir():
        picture.unlink()
    listener = Listener()
    settings = {name: value for name, value in FAST.items() if name != "batch_size"} | {
        "epochs": 2,
        "test_fraction": 0.0,
    }
    result = xraycls.train(data=data, output=tmp_path / "run", monitor="auroc", reporter=listener, **settings)
    said = "\n".join(listener.messages)
    assert "No validation image is of class PNEUMONIA" in said
    assert "--monitor auroc may be none" in said
    assert said.count("auroc is no number on the validation images") == 1
    assert math.isnan(result.outcome.best)
    assert "--batch-size is 12, as there are fewer training images than the usual 32." in said
    assert result.config.batch_size == result.run.read_config().batch_size == 12


def test_a_batch_size_that_is_asked_for_is_not_changed(tiny, tmp_path):
    with pytest.raises(UsageError, match=r"A batch of 64 is larger than the 24 training images"):
        xraycls.train(data=tiny, output=tmp_path / "run", **FAST | {"batch_size": 64})


def test_a_class_that_is_not_trained_is_reported(draw_folder, tmp_path):
    data = draw_folder(tmp_path / "data", {"train": 2, "val": 2})
    for picture in (data / "train" / "NORMAL").iterdir():
        picture.unlink()
    assert absent_classes(read_table(data), "loss") == ["No training image is of class NORMAL: it can't be learned."]


def table_of_findings(*names: str, **targets: list[tuple[float | None, ...]]) -> SampleTable:
    """A table of findings, a row an image of each split."""
    samples = [
        Sample(Path(f"{split}{row}.png"), None, split=split, findings=values)
        for split, rows in targets.items()
        for row, values in enumerate(rows)
    ]
    return SampleTable(tuple(samples), ("No Finding", "Finding"), Path("data"), "csv", findings=names)


def test_findings_that_a_split_lacks_are_named():
    told = {"train": [(1.0, 0.0, 1.0), (0.0, 0.0, 1.0)], "val": [(1.0, None, 0.0), (1.0, 1.0, 0.5)]}
    table = table_of_findings("Edema", "Mass", "Hernia", **told)
    left = "what never differs can't be learned, and --labels names the findings to train"
    kept = "figures leave it out, and it is called from a probability of 0.5."
    assert absent_classes(table, "auroc") == [
        f"No training image is known to be with Mass: {left}.",
        f"No training image is known to be without Hernia: {left}.",
        f"No validation image is known to be with Hernia: {kept}",
        f"No validation image is known to be without Edema, Mass: {kept}",
    ]


def test_an_uncertain_label_may_be_the_one_that_a_finding_is_learned_from():
    table = table_of_findings("Edema", train=[(0.0,), (UNCERTAIN,)], val=[(0.0,), (1.0,)])
    assert not absent_classes(table, "auroc", "ones")
    check_task(parse_config({"uncertain": "ones"}), table)
    (said,) = absent_classes(table, "auroc", "zeros")
    assert said.startswith("No training image is known to be with Edema")


@pytest.mark.parametrize(
    ("policy", "rows"),
    [
        ("ignore", [(1.0, 0.0), (1.0, 0.0)]),
        ("ignore", [(None, UNCERTAIN), (1.0, UNCERTAIN)]),
        ("zeros", [(0.0, UNCERTAIN), (0.0, 0.0)]),
        ("smooth", [(UNCERTAIN, None), (UNCERTAIN, None)]),
    ],
)
def test_findings_of_which_nothing_can_be_learned_are_refused(policy, rows):
    table = table_of_findings("Edema", "Mass", train=rows, val=[(0.0, 1.0), (1.0, 0.0)])
    with pytest.raises(DataError, match=r"nothing to learn .* each of Edema, Mass is .* --labels"):
        check_task(parse_config({"uncertain": policy}), table)


@pytest.mark.parametrize(
    ("losses", "is_said"),
    [([4e8], True), ([0.7, 120.0], True), ([0.7, 0.6], False), ([0.001, 0.9], False), ([8000.0, 3000.0], False)],
)
def test_a_loss_that_has_exploded_is_reported(losses, is_said):
    listener = Listener()
    training = SimpleNamespace(
        rows=[{"train_loss": loss} for loss in losses[:-1]],
        epoch=len(losses) - 1,
        reporter=listener,
        messages=Messages("Lower --learning-rate", ""),
        _warned=False,
    )
    Training._warn(training, losses[-1], None)
    assert bool(listener.messages) is is_said
    if is_said:
        assert "diverges. Lower --learning-rate." in listener.messages[0]


def test_weights_that_are_missing_are_found_out_before_the_data_is_read(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()  # which the data's reader would refuse
    with pytest.raises(WeightsError, match="no weights at"):
        xraycls.train(data=tmp_path / "empty", output=tmp_path / "run", **FAST | {"weights": str(tmp_path / "w.pth")})
    with pytest.raises(RunError, match="no model"):
        xraycls.train_detector(
            detector={"network": "ssd", "backbone": "resnet10", "width": 64, "height": 64},
            data=str(tmp_path / "gone"),
            weights=str(tmp_path / "w.tlt"),
            output=tmp_path / "run",
        )

    def offline(*_):
        raise WeightsError("The ImageNet weights can't be fetched")

    monkeypatch.setattr("xraycls.models.weights.is_cached", lambda _: False)
    monkeypatch.setattr("xraycls.models.weights.fetch_imagenet", offline)
    with pytest.raises(WeightsError, match="can't be fetched"):
        xraycls.train(data=tmp_path / "empty", output=tmp_path / "run", **FAST | {"weights": "imagenet"})
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_found_out_before_the_data_is_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(XrayclsError, match="could not be written"):
        xraycls.train(data=tmp_path / "gone", output=tmp_path / "file" / "run", **FAST)
