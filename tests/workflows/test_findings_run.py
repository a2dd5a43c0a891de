"""A classifier of several findings an image from its table to predictions, heat maps and what is left of it."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import xraycls
from xraycls.cli.app import app
from xraycls.data.options import ReadOptions
from xraycls.data.source import read_table
from xraycls.errors import DataError, RunError, UsageError
from xraycls.inference.load import load_classifier_model
from xraycls.models.classifier import build_classifier, load_classifier, save_classifier
from xraycls.training.interrupt import Interrupted
from xraycls.training.reporter import Silent
from xraycls.training.run_folder import RunFolder
from xraycls.workflows.prune import prune

SETTINGS = {
    "base_model": "ResNet18",
    "weights": "none",
    "size": 32,
    "batch_size": 6,
    "epochs": 2,
    "warmup_epochs": 0,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
    "labels": "Edema,Mass",
    "monitor": "auroc",
}


def draw(folder: Path, count: int, seed: int = 0) -> Path:
    """Films with a bright corner for each of two findings, of two images a patient; some labels are unknown."""
    rng = np.random.default_rng(seed)
    lines = ["path,patient,split,Edema,Mass,Sex"]
    for number in range(count):
        split = ("train", "train", "val", "test")[number // 2 % 4]
        edema, mass = rng.integers(0, 2, 2)
        picture = rng.integers(20, 90, (40, 44), dtype=np.uint8)
        picture[:18, :18] += np.uint8(120 * edema)
        picture[-18:, -18:] += np.uint8(120 * mass)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        cells = [str(edema), str(mass)]
        if number % 7 == 0:
            cells[number % 2] = "" if number % 3 else "-1"
        lines.append(f"{number}.png,{number // 2},{split},{','.join(cells)},{'MF'[number // 8 % 2]}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return draw(tmp_path_factory.mktemp("findings"), 64)


class Listener(Silent):
    """Keeps messages, and presses Ctrl-C after a step."""

    def __init__(self, stop: tuple[int, int] | None = None) -> None:
        self.stop, self.messages = stop, []

    def message(self, text):
        self.messages.append(text)

    def step(self, report):
        if (report.epoch, report.step) == self.stop:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def run(table, listener, tmp_path_factory) -> RunFolder:
    output = tmp_path_factory.mktemp("run") / "run"
    return xraycls.train(data=table, output=output, reporter=listener, **SETTINGS).run


def test_a_training_says_its_task_and_notes_a_figure_of_every_finding(run, listener):
    assert any(line.startswith("Several findings an image (--task single") for line in listener.messages)
    assert run.read_config().task == "multi"
    row = run.read_metrics()[-1]
    assert row["val_auroc"] == pytest.approx((row["val_auroc_Edema"] + row["val_auroc_Mass"]) / 2, abs=1e-5)
    assert run.read_environment().classes == ("Edema", "Mass")


def test_thresholds_of_every_finding_travel_with_the_weights(run):
    model = load_classifier_model(run.path)
    assert model.multi_label
    assert model.threshold is None
    assert model.thresholds is not None
    assert len(model.thresholds) == 2
    assert all(0 < threshold < 1 for threshold in model.thresholds)


@pytest.mark.walkthrough
def test_a_resumed_training_ends_with_the_same_weights(table, tmp_path):
    settings = SETTINGS | {
        "balance": True,
        "class_weights": "balanced",
        "uncertain": "ones,Mass=zeros",
        "loss": "focal",
    }
    whole = xraycls.train(data=table, output=tmp_path / "whole", **settings).run
    with pytest.raises(Interrupted):
        xraycls.train(data=table, output=tmp_path / "run", reporter=Listener((0, 3)), **settings)
    resumed = xraycls.train(output=tmp_path / "run", resume="auto").run
    first, second = load_file(whole.last), load_file(resumed.last)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert whole.read_metrics()[-1]["val_loss"] == resumed.read_metrics()[-1]["val_loss"]


def test_a_test_has_a_row_a_finding_and_agrees_with_its_predictions(run, table):
    result = xraycls.test(run.path, device="cpu", resamples=20)
    report = json.loads((run.path / "test.json").read_text())
    assert list(report["per_finding"]) == ["Edema", "Mass"]
    model = load_classifier_model(run.path)
    assert [each["threshold"] for each in report["per_finding"].values()] == list(model.thresholds or ())
    rows = list(csv.DictReader((run.path / "predictions.csv").open()))
    for name, threshold in zip(model.classes, model.thresholds or (), strict=True):
        called = [name in row["predicted"].split("|") for row in rows]
        assert called == [float(row[f"p_{name}"]) >= threshold for row in rows]
    assert result.report.n == len(rows) == 16
    assert [(each["group"], each["images"]) for each in report["subgroups"]] == [("female", 8), ("male", 8)]
    assert list(report["subgroups"][0]["figures"]) == ["mean", "Edema", "Mass"]
    assert "Subgroups" in (run.path / "report.html").read_text()
    assert (run.path / "subgroups.csv") in result.files
    assert "Edema" in (run.path / "report.html").read_text()


def test_a_test_on_other_data_takes_the_findings_by_name(run, table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("Edema,Mass", "Fluid,mass"))
    options = ReadOptions(labels="Fluid,mass", class_map="Fluid=edema")
    found = xraycls.test(run.path, data=other, images=table.parent, output=tmp_path, options=options, resamples=20)
    assert list(found.report.to_dict()["per_finding"]) == ["Edema", "Mass"]
    other.write_text("path,label\n0.png,x\n1.png,y\n")
    with pytest.raises(DataError, match="tells one label an image, and not Edema, Mass"):
        xraycls.test(run.path, data=other, images=table.parent, output=tmp_path)


def test_predict_has_one_column_a_finding(run, table, tmp_path):
    films = [str(table.parent / f"{number}.png") for number in range(3)]
    bad = tmp_path / "bad.png"
    bad.write_text("nothing")
    done = CliRunner().invoke(app, ["predict", str(run.path), *films, str(bad), "-o", str(tmp_path), "--device", "cpu"])
    assert done.exit_code == 1
    assert "Edema" in done.stdout
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert list(rows[0]) == ["name", "label", "predicted", "p_Edema", "p_Mass", "error"]
    assert rows[0]["predicted"] in ("No Finding", "Edema", "Mass", "Edema|Mass")
    assert rows[3]["error"]
    assert not rows[3]["predicted"]
    assert all(0 <= float(row["p_Mass"]) <= 1 for row in rows[:3])


def test_cam_explains_one_finding_or_all(run, table, tmp_path):
    film = str(table.parent / "0.png")
    (one,) = xraycls.cam(run.path, film, target="mass", device="cpu")
    assert one.class_name == "Mass"
    (likeliest,) = xraycls.cam(run.path, film, device="cpu")
    assert likeliest.class_name in ("Edema", "Mass")
    done = CliRunner().invoke(
        app, ["cam", str(run.path), film, "--finding", "all", "-o", str(tmp_path), "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == {"CAM_ResNet18_Edema.jpg", "CAM_ResNet18_Mass.jpg"}
    probabilities = xraycls.predict(run.path, film, device="cpu")[0][0].probabilities
    assert one.probability == pytest.approx(probabilities[1], abs=1e-5)


@pytest.mark.exhaustive
def test_a_pruned_and_an_exported_classifier_say_the_same(run, table, tmp_path):
    pytest.importorskip("torch_pruning")
    pytest.importorskip("onnxruntime")
    pruned = prune(run.path, tmp_path / "pruned", threshold=0.0).path
    film = table.parent / "1.png"
    (before,), classes = xraycls.predict(run.path, film, device="cpu", precision="fp32")
    (after,), _ = xraycls.predict(pruned, film, device="cpu", precision="fp32")
    assert after.positive == before.positive
    assert after.probabilities == pytest.approx(before.probabilities, abs=1e-5)
    assert xraycls.calibrate(run.path, table, device="cpu", split="val", options=SITE).path.is_file()
    (calibrated,), _ = xraycls.predict(run.path, film, device="cpu", precision="fp32")
    xraycls.export_model(run.path, tmp_path / "calibrated")
    assert xraycls.predict(tmp_path / "calibrated", film)[0][0].probabilities == pytest.approx(
        calibrated.probabilities, abs=1e-4
    )
    assert calibrated.probabilities != before.probabilities
    assert xraycls.remove_calibration(run.path)
    for form in ("logits", "probabilities"):
        xraycls.export_model(run.path, tmp_path / form, form=form)
        (exported,), names = xraycls.predict(tmp_path / form, film)
        assert names == classes
        assert exported.positive == before.positive
        assert exported.probabilities == pytest.approx(before.probabilities, abs=1e-4)
    (explained,) = xraycls.cam(tmp_path / "logits", film, target="Edema")
    assert explained.probability == pytest.approx(before.probabilities[0], abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"uncertain": "twos"}, "Unknown policy 'twos'"),
        ({"loss": "focal", "labels": None, "label_column": "split"}, "loss focal is of several findings an image"),
        ({"labels": "Edema,Nodule"}, "no column 'Nodule'"),
    ],
)
def test_settings_of_the_other_task_are_one_sentence(table, tmp_path, settings, words):
    with pytest.raises((UsageError, DataError), match=words):
        xraycls.train(data=table, output=tmp_path / "run", **SETTINGS | settings)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_run_of_an_earlier_version_keeps_its_single_label(run, tmp_path):
    old = RunFolder(tmp_path)
    lines = run.config.read_text().splitlines(keepends=True)
    old.config.write_text("".join(line for line in lines if not line.startswith("task:")))
    assert old.read_config().task == "single"
    assert read_table(Path(run.read_config().data or ""), options=run.read_config().read_options).findings


@pytest.fixture(scope="module")
def other(run, tmp_path_factory) -> Path:
    """The same classifier with another head and other thresholds, a bare file of weights."""
    classifier, _ = load_classifier(run.best)
    with torch.no_grad():
        classifier.net.fc.bias += torch.tensor([1.0, -1.0])
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    save_classifier(classifier, path, extra={"thresholds": json.dumps({"Edema": 0.2, "Mass": 0.8})})
    return path


def test_several_models_give_the_mean_of_their_probabilities(run, other, table, tmp_path):
    films = [table.parent / f"{number}.png" for number in range(4)]
    each = [xraycls.predict(model, films, device="cpu", precision="fp32")[0] for model in (run.path, other)]
    both, _ = xraycls.predict([run.path, other], films, device="cpu", precision="fp32")
    thresholds = load_classifier_model(run.path).thresholds or ()
    mean = [(first + second) / 2 for first, second in zip(thresholds, (0.2, 0.8), strict=True)]
    for one, two, pooled in zip(*each, both, strict=True):
        expected = np.mean([one.probabilities, two.probabilities], axis=0)
        np.testing.assert_allclose(pooled.probabilities, expected, rtol=1e-6)
        assert pooled.positive == tuple(np.flatnonzero(expected >= mean).tolist())
    flags = ["-o", str(tmp_path), "--device", "cpu", "--precision", "fp32"]
    done = CliRunner().invoke(app, ["predict", str(run.path), str(other), *map(str, films), *flags])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [float(row["p_Mass"]) for row in rows] == pytest.approx([p.probabilities[1] for p in both], abs=1e-6)


def test_several_models_are_tested_as_one(run, other, tmp_path):
    result = xraycls.test([run.path, other], output=tmp_path, device="cpu", resamples=20)
    assert result.report.n == 16
    about = json.loads((tmp_path / "test.json").read_text())["metadata"]
    assert str(other) in about["weights"]
    assert about["model"] == "ResNet18+ResNet18"


def test_members_of_an_ensemble_know_the_same(run, table, tmp_path):
    stranger, _ = build_classifier("resnet18", ["Edema", "Mass"], weights="none", size=32)
    save_classifier(stranger, tmp_path / "stranger.safetensors")
    with pytest.raises(UsageError, match=r"tells the classes Edema, Mass, and .* the findings Edema, Mass"):
        xraycls.predict([run.path, tmp_path / "stranger.safetensors"], table.parent / "0.png", device="cpu")


@pytest.fixture
def copied(run, tmp_path) -> RunFolder:
    """The run in a folder of its own, to be calibrated."""
    return RunFolder(Path(shutil.copytree(run.path, tmp_path / "copied")))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Films of another site."""
    return draw(tmp_path_factory.mktemp("site"), 48, seed=1)


SITE = ReadOptions(labels="Edema,Mass")


@pytest.mark.walkthrough
def test_a_calibration_is_used_by_later_commands_and_can_be_taken_back(copied, site, tmp_path):
    films = [site.parent / f"{number}.png" for number in range(12)]
    before, _ = xraycls.predict(copied.path, films, device="cpu")
    done = xraycls.calibrate(copied.path, site, method="platt", options=SITE, device="cpu", split="train")
    assert done.path == copied.path / "checkpoints" / "best.calibration.json"
    after, _ = xraycls.predict(copied.path, films, device="cpu")
    for one, two in zip(before, after, strict=True):
        expected = [float(map_(np.array(p))) for map_, p in zip(done.calibration.maps, one.probabilities, strict=True)]
        assert two.probabilities == pytest.approx(expected, abs=1e-5)
        assert two.positive == one.positive
    assert any(one.probabilities != two.probabilities for one, two in zip(before, after, strict=True))
    xraycls.test(copied.path, output=tmp_path / "test", device="cpu", resamples=10)
    report = json.loads((tmp_path / "test/test.json").read_text())
    assert report["metadata"]["probabilities"][0]["calibration"]["method"] == "platt"
    assert [each["threshold"] for each in report["per_finding"].values()] == list(done.calibration.thresholds or ())
    flags = ["calibrate", str(copied.path), "--remove"]
    assert "is removed" in CliRunner().invoke(app, flags).stdout
    assert "has no calibration" in CliRunner().invoke(app, flags).stdout
    assert xraycls.predict(copied.path, films, device="cpu")[0] == before


def test_thresholds_are_chosen_anew_on_the_calibration_data_when_asked(copied, site):
    flags = ["--data", str(site), "--labels", "Edema,Mass", "--method", "isotonic", "--threshold", "sensitivity=0.9"]
    done = CliRunner().invoke(app, ["calibrate", str(copied.path), *flags, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    stored = json.loads(done.stdout)
    assert stored["threshold_method"] == "sensitivity=0.9"
    table = read_table(site, options=SITE)
    table = table.with_samples(s for s in table if s.split != "test")
    predictions, _ = xraycls.predict(copied.path, [s.path for s in table], device="cpu")
    scores = np.array([p.probabilities for p in predictions])
    for f, threshold in enumerate(stored["thresholds"]):
        assert (scores[table.targets[:, f] == 1, f] >= threshold).mean() >= 0.9
    assert stored["prevalence"] == pytest.approx([(t == 1).sum() / np.isin(t, (0, 1)).sum() for t in table.targets.T])


def test_images_of_the_training_and_its_test_split_are_refused(copied, table, tmp_path):
    moved = Path(shutil.copytree(table.parent, tmp_path / "moved")) / "table.csv"
    moved.write_text("\n".join(line for line in moved.read_text().splitlines() if ",val," not in line))
    with pytest.raises(RunError, match=r"32 of 32 images of .* was trained on"):
        xraycls.calibrate(copied.path, moved, options=SITE, device="cpu")
    with pytest.raises(UsageError, match="its test split is kept for testing"):
        xraycls.calibrate(copied.path, table, options=SITE, split="test", device="cpu")
    assert not (copied.path / "checkpoints/best.calibration.json").exists()


def test_a_calibration_of_other_weights_is_not_used(copied, site, caplog):
    weights = copied.best
    xraycls.calibrate(copied.path, site, method="platt", options=SITE, device="cpu")
    film = site.parent / "0.png"
    calibrated, _ = xraycls.predict(copied.path, film, device="cpu")
    classifier, extra = load_classifier(weights)
    save_classifier(classifier, weights, extra={"thresholds": extra["thresholds"]})
    plain, _ = xraycls.predict(copied.path, film, device="cpu")
    assert "was made for other weights" in caplog.text
    assert plain[0].probabilities != calibrated[0].probabilities
    path = copied.path / "checkpoints/best.calibration.json"
    path.write_text(path.read_text().replace('"slope":', '"slop":'))
    with pytest.raises(RunError, match=r"best.calibration.json is damaged"):
        xraycls.predict(copied.path, film, device="cpu")


def test_a_test_warns_of_images_that_the_model_was_calibrated_with(copied, site, tmp_path, caplog):
    xraycls.calibrate(copied.path, site, method="platt", options=SITE, split="train", device="cpu")
    xraycls.test(copied.path, data=site, split="train", options=SITE, output=tmp_path / "t", device="cpu", resamples=10)
    assert "24 of 24 images were trained or chosen with" in caplog.text


def test_a_finding_with_too_few_images_is_left_as_it_is(copied, site, tmp_path, caplog):
    films = sorted(site.parent.glob("*.png"))
    scores = np.array([found.probabilities[0] for found in xraycls.predict(copied.path, films, device="cpu")[0]])
    edema = (scores > np.median(scores)) ^ (np.arange(len(films)) % 7 == 0)  # a map fits, whatever was learnt
    rows = [f"{film.name},{number},train,{int(e)},1" for number, (film, e) in enumerate(zip(films, edema, strict=True))]
    (tmp_path / "table.csv").write_text("\n".join(["path,patient,split,Edema,Other", *rows]) + "\n")
    done = xraycls.calibrate(
        copied.path,
        tmp_path / "table.csv",
        method="platt",
        images=site.parent,
        options=ReadOptions(labels="Edema,Other"),
        device="cpu",
    )
    assert "Mass is left as it is: it takes 5 images with and 5 without, and there are 0 and 0" in caplog.text
    assert (done.outputs[0].left, done.calibration.maps[1].described()) == (None, {"slope": 1.0, "intercept": 0.0})


@pytest.mark.walkthrough
def test_another_prevalence_scales_the_odds_and_calls_the_same(run, table, tmp_path):
    films = [table.parent / f"{number}.png" for number in range(8)]
    before, _ = xraycls.predict(run.path, films, device="cpu")
    trained = load_classifier_model(run.path).prevalence or {}
    targets = read_table(table, options=SITE).split("train").targets
    shares = [(t == 1).sum() / np.isin(t, (0, 1)).sum() for t in targets.T]
    assert [trained[name] for name in ("Edema", "Mass")] == pytest.approx(shares)
    after, _ = xraycls.predict(run.path, films, device="cpu", prevalence="edema=0.02")
    factor = 0.02 / 0.98 / (trained["Edema"] / (1 - trained["Edema"]))
    for one, two in zip(before, after, strict=True):
        odds = one.probabilities[0] / (1 - one.probabilities[0]) * factor
        assert two.probabilities[0] == pytest.approx(odds / (1 + odds), rel=1e-6)
        assert two.probabilities[1] == pytest.approx(one.probabilities[1], rel=1e-9)
        assert two.positive == one.positive
    flags = ["-o", str(tmp_path), "--device", "cpu", "--prevalence", "0.02"]
    done = CliRunner().invoke(app, ["predict", str(run.path), str(films[0]), *flags])
    assert done.exit_code == 0, done.output
    (row,) = csv.DictReader((tmp_path / "predictions.csv").open())
    assert row["adjusted"] == "for a prevalence of Edema=0.02, Mass=0.02"
    assert float(row["p_Edema"]) == pytest.approx(after[0].probabilities[0], rel=1e-6)
    xraycls.test(run.path, output=tmp_path / "test", device="cpu", resamples=10, prevalence="Mass=0.1")
    about = json.loads((tmp_path / "test/test.json").read_text())["metadata"]["probabilities"]
    assert about == [{"prevalence": {"Mass": 0.1}, "prevalence_before": {"Mass": pytest.approx(trained["Mass"])}}]


@pytest.mark.parametrize(
    ("text", "words"),
    [("1.2", "no share between 0 and 1"), ("Edema", "no share between"), ("Hernia=0.1", "Unknown finding 'Hernia'")],
)
def test_a_prevalence_that_is_none_is_one_sentence(run, table, text, words):
    with pytest.raises(UsageError, match=words):
        xraycls.predict(run.path, table.parent / "0.png", device="cpu", prevalence=text)


def test_weights_that_tell_no_prevalence_are_refused(other, table):
    with pytest.raises(RunError, match=r"doesn't tell the prevalence of Edema, Mass .* xraycls calibrate"):
        xraycls.predict(other, table.parent / "0.png", device="cpu", prevalence="0.1")
