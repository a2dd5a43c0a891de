"""A detector trained from YAML and from Python: the same as from a spec, in a run folder of its own."""

import json
import re
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

import xraycls
from tests.models.detectors import small_detector
from xraycls.data.box_sources import BoxData, BoxSource, read_boxes
from xraycls.data.depth import bits_of
from xraycls.data.phantom import write_phantom
from xraycls.errors import RunError, UsageError
from xraycls.inference.load import load_detector_model
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.training.job import DetectionJob
from xraycls.training.reporter import Silent
from xraycls.training.run_folder import RunFolder, find_runs

DETECTOR = {"network": "ssd", "backbone": "resnet10", "width": 64, "height": 64}
RATE = {"kind": "soft_start_annealing", "lowest": 1e-5, "highest": 1e-3, "soft_start": 0.2, "annealing": 0.6}
SETTINGS = {
    "detector": DETECTOR,
    "batch_size": 4,
    "rate": RATE,
    "loop": {"epochs": 2},
    "regularizer": {"kind": "L2", "weight": 1e-5},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Films of SIIM's layout, whose boxes are in a table."""
    root = tmp_path_factory.mktemp("films") / "siim"
    write_phantom(root, images=16, size=80, layout="siim")
    return root


@pytest.fixture(scope="module")
def done(films, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "run"
    return xraycls.train_detector(data=str(films), output=output, device="cpu", precision="fp32", **SETTINGS)


def test_a_run_describes_itself(done, films):
    run = done.run
    assert (run.is_of_detector(), run.exists()) == (True, False)
    assert find_runs(run.path.parent) == []  # of classifiers
    assert DetectionJob.read(run.config) == done.job
    environment = json.loads(run.environment.read_text())
    assert environment["classes"] == list(done.job.detector.classes)
    assert environment["counts"]["train"]["images"] + environment["counts"]["val"]["images"] == 16
    assert environment["precision"] == "fp32"
    assert done.model == run.last
    assert not (run.path / "status.json").exists()


def test_a_job_of_relative_paths_is_read_back_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = DetectionJob.parse({"detector": DETECTOR, "data": "films", "weights": "start.safetensors"})
    job.write(Path("job.yaml"))
    monkeypatch.chdir("/")
    read = DetectionJob.read(tmp_path / "job.yaml")
    assert (read.data.training[0].path, read.weights) == (tmp_path / "films", tmp_path / "start.safetensors")


def test_a_job_file_trains_the_same_model(done, films, tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, "data": str(films)}))
    again = xraycls.train_detector(path, output=tmp_path / "run", device="cpu", precision="fp32")
    one, other = (load_detector(each.model)[0].state_dict() for each in (done, again))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_class_without_an_object_is_reported_with_the_mean_of_the_others(films, tmp_path, caplog):
    model = tmp_path / "two.safetensors"
    save_detector(small_detector(classes=("nodule", "opacity")), model)
    average = xraycls.evaluate_detector(model, films, results=tmp_path, device="cpu").average
    assert average.per_class["nodule"] == 0
    assert average.mean == pytest.approx(average.per_class["opacity"] / 2)
    assert (
        "No validation image has an object of nodule: average precision is 0 there and counts in the mean"
        in caplog.text
    )
    assert f"over the other classes the mean is {average.per_class['opacity']:.4f}" in caplog.text


def test_sixteen_bit_films_have_the_depth_that_the_training_had(tmp_path, caplog):
    folder, model = tmp_path / "data", tmp_path / "run"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    levels = np.linspace(0, 1, 64 * 64).reshape(64, 64)
    for number in range(6):
        picture = (levels * (700 if number == 0 else 3000)).astype(np.uint16)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture)
        (folder / "labels" / f"{number}.txt").write_text("opacity 0 0 0 5 5 40 40 0 0 0 0 0 0 0\n")
    data = BoxData(training=(BoxSource(labels=folder / "labels", images=folder / "images"),))
    assert {bits_of(sample) for sample in read_boxes(data).table} == {12}
    xraycls.train_detector(
        data=str(folder), output=model, device="cpu", precision="fp32", **SETTINGS | {"loop": {"epochs": 1}}
    )
    assert load_detector_model(model).bits == 12


def test_evaluation_of_a_run_is_its_validation(done, tmp_path):
    found = xraycls.evaluate_detector(done.run.path, results=tmp_path, device="cpu")
    best = max(row["val_mAP"] for row in done.outcome.rows)
    assert found.average.mean == pytest.approx(best, abs=1e-6)
    assert found.precision == "fp32"  # as in training, whatever the device has
    assert json.loads((tmp_path / "evaluation.json").read_text())["images"] == found.report.images


def test_a_finished_run_is_left_alone_when_it_goes_on(done):
    before = done.model.read_bytes(), done.run.config.read_bytes()
    again = xraycls.train_detector(done.run.config, output=done.run.path, resume=True, device="cpu")
    assert (done.model.read_bytes(), done.run.config.read_bytes()) == before
    assert [row["epoch"] for row in again.outcome.rows] == [1, 2]
    with pytest.raises(UsageError, match="already holds a training"):
        xraycls.train_detector(done.run.config, output=done.run.path, device="cpu")


def test_a_run_does_not_go_on_with_other_data(done, films):
    data = {"training": str(films), "val_fraction": 0.3}
    settings = {"data": data, "output": done.run.path, "resume": True, "device": "cpu"}
    with pytest.raises(RunError, match="no longer holds the same images and labels"):
        xraycls.train_detector(**settings, **SETTINGS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 2}, "batch_size is 2, and the training in .* began with 4. Give the settings of .*config.yaml"),
        ({"rate": {**RATE, "highest": 0.1}}, "rate.highest is 0.1, and the training in .* began with 0.001"),
        ({"detector": {**DETECTOR, "backbone": "resnet18"}}, "detector.backbone is resnet18, and the training in"),
        ({"recipe": {"flip": 0.0}}, "recipe.flip is 0.0, and the training in .* began with 0.5"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings(done, films, changes, sentence):
    settings = {"data": str(films), "output": done.run.path, "resume": True, "device": "cpu"}
    with pytest.raises(UsageError, match=sentence):
        xraycls.train_detector(**{**SETTINGS, **settings, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"detector": {**DETECTOR, "network": "sdd"}}, "Unknown detector 'sdd'.* Did you mean ssd"),
        ({"detector": {**DETECTOR, "widht": 3}}, "detector.widht: there is no such field"),
        ({"loop": {"epochs": "many"}}, "loop.epochs: should be a valid integer"),
        ({"loop": {"epochs": 0}}, "loop.epochs.* must be 1 or more"),
        ({"loop": {"ema": 1.0}}, "loop.ema must be at least 0 and below 1, not 1"),
        ({"optimizer": {"weight_decay": -1}}, "optimizer.weight_decay must be 0 or more, not -1"),
        (
            {"detector": {**DETECTOR, "suppression": {"iou": 3}}},
            "detector.suppression.iou must lie between 0 and 1",
        ),
        ({"rate": {"kind": "sine"}}, "rate.kind: 'sine' is none of schedule, soft_start_annealing"),
        ({"recipe": {"flop": 1}}, "recipe.flop: there is no such field"),
        ({"optimiser": "sgd"}, "Unknown setting 'optimiser'.* Did you mean optimizer"),
        ({"optimizer": {"name": "sgd", "options": {"mass": 1}}}, "The optimiser sgd doesn't take these settings"),
    ],
)
def test_what_a_job_can_not_be_is_one_sentence(films, tmp_path, changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        xraycls.train_detector(**{**SETTINGS, "data": str(films), "output": tmp_path / "run", **changes})


def test_a_schedule_of_classifiers_drives_a_detector():
    job = DetectionJob.parse(
        {
            "detector": DETECTOR,
            "data": "x",
            "loop": {"epochs": 10},
            "rate": {"kind": "schedule", "name": "cosine", "base": 0.1},
        }
    )
    assert [job.rate.at(step, 100) for step in (0, 100)] == [pytest.approx(0.1), pytest.approx(0.0)]
    assert DetectionJob.parse(job.described()) == job


def test_the_mark_is_the_first_line(done):
    assert done.run.config.read_text().startswith("kind: detector\n")
    assert RunFolder(done.run.path).is_of_detector()


def documented() -> list[dict]:
    """The jobs on the page of detectors: that of SSD in full, and what is different in those of the others."""
    page = (Path(__file__).parents[2] / "docs/detection.md").read_text()
    blocks = re.findall(r"^ *```yaml\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(textwrap.dedent(text)) for text in blocks]


def default_of(network: str) -> dict:
    detector = {"network": network, "backbone": "resnet18", "height": 512, "width": 512}
    return DetectionJob.parse({"detector": detector, "data": "films"}).described()


def test_the_documented_job_has_every_field_at_its_default():
    whole = documented()[0]
    assert whole == default_of("ssd")
    assert DetectionJob.parse(whole).described() == whole


@pytest.mark.parametrize("network", ["yolo_v4", "faster_rcnn"])
def test_the_page_shows_what_is_different_in_the_job_of_another_network(network):
    (shown,) = [each for each in documented() if each["detector"]["network"] == network]
    common, default = default_of("ssd"), default_of(network)
    for group, values in default.items():
        if isinstance(values, dict):
            before = common[group] if common[group].get("kind") == values.get("kind") else {}
            values = {name: value for name, value in values.items() if before.get(name, ...) != value}
        elif values == common[group]:
            continue
        assert shown.pop(group, {}) == values, group
    assert not shown


def test_a_network_trains_by_its_own_rule_where_nothing_is_said():
    job = DetectionJob.parse({"detector": {**DETECTOR, "network": "yolo_v4"}, "data": "x", "loop": {"epochs": 3}})
    assert type(job.recipe).__name__ == "YoloV4Recipe"
    assert (job.loop.epochs, job.loop.ema, job.optimizer.name) == (3, 0.999, "keras_adam")
    assert job.rate.at(30, 100) == pytest.approx(1e-4)  # the peak of TAO's sample specs
    changed = {"rate": {"highest": 0.01}, "optimizer": {"name": "adam"}, "recipe": {"mosaic": 0.0}}
    job = DetectionJob.parse({"detector": {**DETECTOR, "network": "yolo_v4"}, "data": "x", **changed})
    assert job.rate.at(30, 100) == pytest.approx(0.01)
    assert (job.optimizer.name, dict(job.optimizer.options), job.recipe.mosaic) == ("adam", {}, 0.0)


@pytest.mark.walkthrough
def test_a_usual_batch_larger_than_the_data_shrinks_with_a_line_and_one_that_is_asked_for_does_not(tmp_path):
    write_phantom(tmp_path / "few", images=6, size=80, layout="siim")
    said = []

    class Noted(Silent):
        def message(self, text):
            said.append(text)

    settings = {name: value for name, value in SETTINGS.items() if name != "batch_size"} | {"loop": {"epochs": 1}}
    options = {"data": str(tmp_path / "few"), "device": "cpu", "precision": "fp32", "reporter": Noted(), **settings}
    done = xraycls.train_detector(output=tmp_path / "run", **options)
    most = done.job.batch_size
    assert most < 6
    assert f"The batch size is {most}, as there are fewer training images than the usual 8." in said
    assert DetectionJob.read(done.run.config).batch_size == most
    with pytest.raises(UsageError, match=f"A batch of 9 is larger than the {most} training images"):
        xraycls.train_detector(output=tmp_path / "other", batch_size=9, **options)
