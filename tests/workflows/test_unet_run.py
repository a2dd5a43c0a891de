"""U-Net to boxes on RSNA's layout: from the features table to a trained run, its figures and its boxes."""

import json
from pathlib import Path

import numpy as np
import pytest

import xraycls
from xraycls.cli import main
from xraycls.data.phantom import write_phantom
from xraycls.data.rsna_features import RsnaSources, write_rsna_features
from xraycls.errors import DataError, UsageError
from xraycls.models.detection.files import load_detector
from xraycls.training.run_folder import RunFolder
from xraycls.workflows.detection.choose import CHOICE, nested_of
from xraycls.workflows.unet.settings import Asked, unet_job

FLAGS = "--backbone resnet10 --size 64 --epochs 1 --batch-size 8 --device cpu --precision fp32 --set loop.ema_warmup=1"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A phantom of RSNA's challenge with its features tables."""
    root = tmp_path_factory.mktemp("rsna")
    write_phantom(root, images=24, size=96, layout="rsna")
    write_rsna_features(RsnaSources.below(root), root)
    return root


@pytest.fixture(scope="module")
def run(films, tmp_path_factory):
    output = tmp_path_factory.mktemp("unet") / "run"
    where = ["--data", str(films / "stage_2_train_images"), "--labels", str(films / "train.csv"), "--save", str(output)]
    with pytest.raises(SystemExit) as end:
        main(["unet", "train", *where, *FLAGS.split()])
    assert not end.value.code
    return output


def test_a_features_table_trains_a_run_that_keeps_its_operating_point(run):
    detector = load_detector(run / "checkpoints" / "best.safetensors")[0]
    assert detector.config.network == "unet"
    assert detector.config.classes == ("Lung Opacity",)
    kept = RunFolder(run)
    assert kept.is_of_detector()
    if (run / CHOICE).is_file():  # one epoch may find nothing at all
        assert json.loads((run / CHOICE).read_text())["score"] == detector.config.boxes.score
        assert "judged by the choice of the others" in nested_of(run)


def test_evaluation_prints_the_figure_of_the_challenge_and_of_the_ancestor(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["unet", "evaluate", str(run), "--output", str(tmp_path), "--device", "cpu"])
    assert not end.value.code
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    rsna = figures["rsna"]["value"] or 0.0
    share = figures["rsna_images"] / figures["images"]
    assert f"Total Average Precision: {rsna * share:.4f}" in printed


def test_detect_reports_from_the_score_that_was_chosen(run, films):
    model = run / "checkpoints" / "last.safetensors"
    least = load_detector(model)[0].config.boxes.score
    (film, *_) = sorted((films / "stage_2_test_images").iterdir())
    (some,), classes = xraycls.detect(model, film, device="cpu")
    (everything,), _ = xraycls.detect(model, film, threshold=0.0, device="cpu")
    assert classes == ("Lung Opacity",)
    assert (some.output.scores >= np.float32(least)).all()
    assert len(some.output) == (everything.output.scores >= np.float32(least)).sum()


def test_a_job_takes_the_defaults_of_the_network_field_by_field():
    job = unet_job(Asked(data=Path("films"), epochs=3, optimizer="sgd", momentum=0.8, box_threshold=0.2))
    assert (job.loop.epochs, job.loop.ema, job.rate.epochs) == (3, 0.99, 3)
    assert (job.optimizer.name, job.optimizer.options) == ("sgd", {"momentum": 0.8})
    assert job.detector.boxes.threshold == 0.2
    assert type(job).parse(job.described()) == job


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        (Asked(), UsageError, "Nothing says what to learn from"),
        (Asked(labels=Path("nowhere.csv")), DataError, "There is no table nowhere.csv"),
        (Asked(data=Path("x"), momentum=0.9), UsageError, "--momentum is for the optimiser sgd, not for adamw"),
        (Asked(data=Path("x"), settings={"loop.ecpochs": 3}), UsageError, "loop.ecpochs: there is no such field"),
    ],
)
def test_mistakes_are_said_in_a_sentence(asked, error, said):
    with pytest.raises(error, match=said):
        unet_job(asked)


def test_a_table_without_a_positive_film_is_refused(films, tmp_path):
    table = tmp_path / "train.csv"
    lines = (films / "train.csv").read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if ",,,,0," in line)]) + "\n")
    job = unet_job(Asked(data=films / "stage_2_train_images", labels=table, size=64, backbone="resnet10"))
    with pytest.raises(DataError, match="has no images of class POSITIVE"):
        xraycls.train_detector(job, output=tmp_path / "run", device="cpu")
