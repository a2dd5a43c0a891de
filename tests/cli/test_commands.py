"""The command line as a user meets it: verbs, exit codes, and one sentence for every mistake."""

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.cli import main
from xraycls.cli.abbreviations import normalised
from xraycls.inference.load import load_classifier_model
from xraycls.training.run_folder import RunFolder

FAST = "--weights none --size 32 --batch-size 6 --warmup-epochs 0 --device cpu --threads 1".split()


def run(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def workplace(tiny, tmp_path_factory) -> Path:
    """A folder in which `runs/` holds one trained ResNet18."""
    folder = tmp_path_factory.mktemp("work")
    code = run(
        "train", "--data", tiny, "--base_model", "ResNet18", "--epoch", 6, "--learning_rate", 1e-3,
        "-o", folder / "runs" / "first", *FAST,
    )  # fmt: skip
    assert code == 0
    return folder


@pytest.fixture
def here(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return workplace


def test_the_ancestors_flags_become_todays():
    given = ["train", "--base_model=VGG16", "--epoch", "3", "--nvidiadali", "--colab", "--batch_size", "4", "a_b.jpg"]
    assert normalised(given) == [
        "train", "--base-model=VGG16", "--epochs", "3", "--dali", "--colab", "--batch-size", "4", "a_b.jpg",
    ]  # fmt: skip


def test_training_tells_where_the_run_is_and_what_comes_next(tiny, tmp_path, capfd):
    assert run("train", tiny, "--epochs", 1, "-o", tmp_path / "a run", *FAST) == 0
    out, err = capfd.readouterr()
    assert f"xraycls test '{tmp_path / 'a run'}'" in out
    assert "epoch   1" in err
    assert run("train", "-o", tmp_path / "a run", "--resume", "auto") == 0
    assert f"{tmp_path / 'a run'} has finished all of its 1 epochs" in capfd.readouterr().err


def test_the_data_may_stand_alone(tiny, tmp_path, capfd):
    assert run("train", tiny, "--data", tmp_path, "-o", tmp_path / "run") == 2
    assert f"{tiny} and --data {tmp_path} don't go together" in capfd.readouterr().err
    assert run("train", tmp_path / "gone", "-o", tmp_path / "run") == 1
    assert f"There is no file or folder {tmp_path / 'gone'}" in capfd.readouterr().err


def test_training_prints_json_for_programs(tiny, tmp_path, capfd):
    assert run("train", "--data", tiny, "--epochs", 2, "-o", tmp_path / "run", "--json", *FAST) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["run"] == str(tmp_path / "run")
    assert len(result["epochs"]) == 2


@pytest.mark.exhaustive
def test_flags_win_over_a_config_file(tiny, here, tmp_path):
    config = here / "runs" / "first" / "config.yaml"
    assert run("train", "--config", config, "--epochs", 1, "-o", tmp_path / "again") == 0
    found = RunFolder(tmp_path / "again").read_config()
    assert (found.epochs, found.size, found.batch_size) == (1, 32, 6)


def test_test_writes_figures_predictions_pictures_and_a_page(here, capfd):
    assert run("test", "runs/first", "--resamples", 50) == 0
    assert "AUROC" in capfd.readouterr().out
    folder = here / "runs" / "first"
    figures = json.loads((folder / "test.json").read_text())
    assert 0 <= figures["auroc"]["interval"][0] <= figures["auroc"]["value"] <= 1
    assert figures["n"] == 8
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert len(rows) == 8
    for picture in ("roc", "pr", "reliability", "confusion"):
        assert cv2.imread(str(folder / "pictures" / f"{picture}.png")) is not None
    page = (folder / "report.html").read_text()
    assert "8 images with 4 of the rarest class are few" in page
    assert "Settings of the training" in page
    assert figures["metadata"]["date"][:10] in page
    assert (folder / "pictures" / "training.png").is_file()


def test_test_on_other_data_leaves_the_runs_own_figures(here, draw_folder, tmp_path, capfd):
    other = draw_folder(tmp_path / "other", {"test": 5})
    assert run("test", "runs/first", "--data", other, "--resamples", 50, "--json") == 0
    assert json.loads(capfd.readouterr().out)["n"] == 10
    assert (here / "runs" / "first" / "test-other-test" / "test.json").is_file()


def test_predict_goes_on_after_a_bad_file(here, tiny, tmp_path, capfd):
    folder = tmp_path / "new"
    shutil.copytree(tiny / "test" / "NORMAL", folder)
    (folder / "bad.jpeg").write_bytes(b"\xff\xd8 nothing")
    next(folder.glob("test*")).rename(folder / "line\nbreak\x1b[31m.jpeg")
    assert run("predict", "ResNet18", folder, tiny / "test" / "PNEUMONIA", "-o", tmp_path) == 1
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert len(rows) == 9
    failed = [row for row in rows if row["error"]]
    assert [Path(row["name"]).name for row in failed] == ["bad.jpeg"]
    for row in rows:
        if not row["error"]:
            assert float(row["p_NORMAL"]) + float(row["p_PNEUMONIA"]) == pytest.approx(1)
    assert [row["name"] for row in json.loads((tmp_path / "predictions.json").read_text())] == [r["name"] for r in rows]
    out, err = capfd.readouterr()
    assert "1 of 9 files could not be read" in err
    assert len(out.splitlines()) == 9 + 1, "a line a picture, whatever its name"
    assert r"line\nbreak\x1b[31m.jpeg: " in out
    assert re.search(r"(NORMAL|PNEUMONIA) at threshold 0\.\d+: NORMAL 0\.\d+, PNEUMONIA 0\.\d+\n", out)


def test_cam_of_a_models_name_takes_its_newest_run(here, tiny, capfd):
    image = sorted((tiny / "test" / "PNEUMONIA").iterdir())[0]
    assert run("cam", "resnet18", image) == 0
    picture = cv2.imread("CAM_ResNet18.jpg")
    assert picture is not None
    assert picture.shape[1] > picture.shape[0]
    threshold = load_classifier_model("runs/first").at_threshold()
    assert re.search(rf"(NORMAL|PNEUMONIA){threshold}: 0\.\d+ → CAM_ResNet18\.jpg", capfd.readouterr().out)
    assert run("cam", "runs/first", image, "--json") == 0
    explained = json.loads(capfd.readouterr().out)["images"]
    assert [row["picture"] for row in explained] == ["CAM_ResNet18-2.jpg"]
    assert np.ptp(picture.astype(int), axis=2).max() > 60, "no colours: the overlay is missing"


def test_cam_of_many_images_names_each_and_goes_on_after_a_bad_one(here, tiny, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"")
    assert run("cam", "runs/first", tiny / "test" / "NORMAL", tmp_path / "bad.jpg", "-o", tmp_path) == 1
    assert len(list(tmp_path.glob("CAM_ResNet18_test-NORMAL-*.jpg"))) == 4


@pytest.mark.exhaustive
def test_validation_figures_and_the_runs_own_data_by_name_keep_apart(here, tiny, capfd):
    assert run("test", "runs/first", "--resamples", 50, "--json") == 0
    own = json.loads(capfd.readouterr().out)
    before = (here / "runs" / "first" / "test.json").read_text()
    assert run("test", "runs/first", "--split", "val", "--resamples", 50) == 0
    assert (here / "runs" / "first" / "test-val" / "test.json").is_file()
    assert (here / "runs" / "first" / "test.json").read_text() == before
    capfd.readouterr()
    assert run("test", "runs/first", "--data", tiny, "--resamples", 50, "--json") == 0
    assert json.loads(capfd.readouterr().out)["auroc"] == own["auroc"]


def test_testing_on_images_that_were_trained_with_warns(here, tiny, tmp_path, capfd):
    lines = ["path,label"] + [f"{p},{p.parent.name}" for p in sorted((tiny / "train").rglob("*.jpeg"))[8:16]]
    (tmp_path / "seen.csv").write_text("\n".join(lines))
    assert run("test", "runs/first", "--data", tmp_path / "seen.csv", "--resamples", 50) == 0
    assert "8 of 8 images were trained or chosen with" in " ".join(capfd.readouterr().err.split())


def test_quiet_leaves_only_results(tiny, tmp_path, capfd):
    assert run("train", "--data", tiny, "--epochs", 1, "-o", tmp_path / "run", "--quiet", *FAST) == 0
    out, err = capfd.readouterr()
    assert "epoch" not in err
    assert "Run folder" in out


def test_models_doctor_and_version_answer(capfd):
    assert run("models") == 0
    assert "Inception" in capfd.readouterr().out
    assert run("doctor", "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["Versions"]["torch"] != "not installed"
    assert run("--version") == 0
    assert capfd.readouterr().out.startswith("xraycls ")


def test_data_list_counts_splits_and_classes(tiny, capfd):
    assert run("data", "list", tiny) == 0
    assert "train: 12 NORMAL, 12 PNEUMONIA" in capfd.readouterr().out


def test_colab_without_a_drive_is_one_sentence(tiny, capfd):
    assert run("train", "--colab", "--data", tiny, *FAST) == 2
    assert "not mounted" in capfd.readouterr().err


@pytest.mark.walkthrough
def test_colab_writes_below_the_drive_and_says_so(tiny, tmp_path, monkeypatch, capfd):
    from xraycls.workflows import colab

    monkeypatch.setattr(colab.drive_runs, "__defaults__", (tmp_path,))
    assert run("train", "--colab", "--data", tiny, "--epochs", 1, *FAST) == 0
    assert str(tmp_path) in capfd.readouterr().err
    assert run("train", "--colab", "--data", tiny, "--epochs", 2, "--resume", "auto", *FAST) == 0
    (found,) = (tmp_path / "xraycls" / "runs").iterdir()
    assert len(RunFolder(found).read_metrics()) == 2


MISTAKES = {
    "no such folder": (["train", "--data", "no/such"], 1, "no/such"),
    "unknown model": (["train", "--base-model", "ResNet19"], 2, "Did you mean ResNet"),
    "unknown optimiser": (["train", "--optimizer", "adan"], 2, "Did you mean adam"),
    "unknown metric": (["train", "--monitor", "auc"], 2, "Did you mean auroc"),
    "number out of range": (["train", "--epochs", "0"], 2, "--epochs"),
    "not a number": (["train", "--epochs", "many"], 2, "--epochs"),
    "unknown flag": (["train", "--epochz", "3"], 2, "--epochs"),
    "nothing to resume": (["train", "--resume", "no/run"], 1, "Nothing to resume"),
    "too many gpus": (["train", "--gpus", "99", "--device", "cuda"], 2, "--gpus 99"),
    "no such run": (["test", "no/run"], 1, "no/run"),
    "unknown split": (["test", "runs/first", "--split", "tests"], 2, "Did you mean test"),
    "no such image": (["cam", "runs/first", "gone.jpg"], 1, "gone.jpg"),
    "unknown method": (["cam", "runs/first", "IMAGE", "--method", "gradcamp"], 2, "Did you mean gradcam"),
    "unknown class": (["cam", "runs/first", "IMAGE", "--target", "PNEUMONA"], 2, "PNEUMONIA"),
    "empty folder": (["predict", "runs/first", "EMPTY"], 1, "no images"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_the_right_exit_code(mistake, here, tiny, tmp_path, capfd):
    arguments, code, words = MISTAKES[mistake]
    image = sorted((tiny / "test" / "NORMAL").iterdir())[0]
    stand_ins = {"IMAGE": image, "EMPTY": tmp_path}
    assert run(*(stand_ins.get(a, a) for a in arguments)) == code
    err = capfd.readouterr().err
    assert words in " ".join(err.split())
    assert "Traceback" not in err


def test_other_classes_than_the_models_are_one_sentence(here, tmp_path, draw_folder, capfd):
    folder = draw_folder(tmp_path / "other", {"test": 3})
    (folder / "test" / "NORMAL").rename(folder / "test" / "COVID")
    assert run("test", "runs/first", "--data", folder) == 1
    assert "COVID, PNEUMONIA, but the model knows NORMAL, PNEUMONIA" in " ".join(capfd.readouterr().err.split())


def test_weights_that_are_a_pickle_bomb_are_refused(tiny, tmp_path, capfd):
    import os

    import torch

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"weights": Bomb()}, tmp_path / "bomb.pth")
    assert run("train", "--data", tiny, "--weights", tmp_path / "bomb.pth", "--size", 32) != 0
    assert "bomb.pth" in capfd.readouterr().err
    assert not (tmp_path / "executed").exists()


def test_debug_shows_the_traceback():
    from xraycls.errors import XrayclsError

    with pytest.raises(XrayclsError):
        main(["test", "no/run", "--debug"])


def test_keep_masks_takes_masks_for_pictures(here, tmp_path, capfd):
    for number in range(4):
        film = np.random.default_rng(number).integers(20, 200, (40, 40), dtype=np.uint8)
        film[:9, :9] += 10 * np.uint8(number)
        for name, picture in (("images", film), ("masks", np.uint8(255) * (film > 110))):
            (tmp_path / "set/A" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "set/A" / name / f"{number}.png"), picture)
    shutil.copytree(tmp_path / "set/A/images", tmp_path / "set/B")
    for flags, masks in (([], 0), (["--keep-masks"], 4)):
        assert run("data", "list", tmp_path / "set", "--json", *flags) == 0
        assert json.loads(capfd.readouterr().out)["parts"]["all"]["images"] == {"A": 4 + masks, "B": 4}
    for flags, count in (([], 4), (["--keep-masks"], 8)):
        assert run("predict", "ResNet18", tmp_path / "set/A", "-o", tmp_path / "made", "--json", *flags) == 0
        assert len(json.loads(capfd.readouterr().out)) == count
