"""U-Net to boxes on RSNA's layout: from the features table to a trained run, its figures and its boxes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import xraycls
from xraycls.cli import main
from xraycls.data.box_sources import read_boxes, read_validation
from xraycls.data.formats.kitti import parse_kitti
from xraycls.data.open import open_image
from xraycls.data.phantom import write_phantom
from xraycls.data.rows import read_rows
from xraycls.data.rsna_features import RsnaSources, write_rsna_features
from xraycls.errors import DataError, UsageError
from xraycls.inference.fusion import weighted_boxes_fusion
from xraycls.models.detection.files import load_detector
from xraycls.models.detection.map_boxes import BoxRule
from xraycls.models.detection.unet import UNetDetector
from xraycls.models.detection.unet_original import OriginalUNetDetector
from xraycls.training.job import DetectionJob
from xraycls.training.run_folder import RunFolder
from xraycls.types import Sample
from xraycls.workflows.detection.choose import CHOICE, nested_of
from xraycls.workflows.unet.folds import fold_jobs, pool_folds, write_pooled
from xraycls.workflows.unet.predict import predict_boxes, prediction_string
from xraycls.workflows.unet.settings import Asked, original_job, unet_job

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
    with pytest.raises(DataError, match="training images has an object"):
        xraycls.train_detector(job, output=tmp_path / "run", device="cpu")


@pytest.mark.parametrize("make", [unet_job, original_job])
def test_masks_beside_films_are_learnt_by_their_outlines(make, tmp_path, monkeypatch):
    for number in range(8):
        film = np.random.default_rng(number).integers(20, 90, (64, 64), dtype=np.uint8)
        mask = np.triu(np.ones((64, 64), np.uint8), 16) * 255  # half of its box
        for name, pixels in (("images", film + mask // 3), ("masks", mask)):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    shares = []

    class Enough(Exception):
        pass

    def loss(self, images, objects, weights):
        shares.append(float(objects.masks.float().mean() / 255))
        raise Enough

    detector = UNetDetector if make is unet_job else OriginalUNetDetector
    monkeypatch.setattr(detector, "loss", loss)
    backbone = "resnet10" if make is unet_job else None
    asked = Asked(
        data=tmp_path, backbone=backbone, size=64, val_fraction=0.25, batch_size=4, settings={"tensorboard": False}
    )
    with pytest.raises(Enough):
        xraycls.train_detector(make(asked), output=tmp_path / "run", device="cpu")
    assert shares == [pytest.approx(48 * 48 / 2 / 64**2, abs=0.08)]  # twice as much would be the box


def test_predictions_are_written_in_every_form_in_pixels_of_the_film(run, films, tmp_path):
    folder = films / "stage_2_test_images"
    done = predict_boxes(run, folder, tmp_path / "plain", threshold=0.01, device="cpu")
    sizes = {path.stem: open_image(Sample(path)).pixels().shape[::-1] for path in folder.iterdir()}
    names = set(sizes)
    assert set(done.detections) == names
    plain = json.loads((tmp_path / "plain" / "annotations.json").read_text())
    rows = {row["patientId"]: row["PredictionString"] for row in read_rows(tmp_path / "plain" / "submission.csv")}
    coco = json.loads((tmp_path / "plain" / "coco_results.json").read_text())
    assert sum(map(len, plain.values())) == len(coco) == sum(map(len, done.detections.values())) > 0
    for name, found in done.detections.items():
        assert rows[name] == prediction_string(found)
        assert len(rows[name].split()) == 5 * len(found)
        kitti = parse_kitti((tmp_path / "plain" / "labels" / f"{name}.txt").read_text(), tmp_path)
        assert [each.box.left for each in kitti] == pytest.approx([box["x"] for box in plain[name]])
        with Image.open(tmp_path / "plain" / "images" / f"{name}.png") as picture:
            assert picture.size == sizes[name]
    (film, *_) = sorted(folder.iterdir())
    (same,), _ = xraycls.detect(run, film, threshold=0.01, device="cpu")
    assert done.detections[film.stem].boxes == pytest.approx(same.output.boxes, abs=1e-3)


def test_the_original_annotations_are_a_string_a_film(run, films, tmp_path):
    source = str(films / "stage_2_test_images")
    flags = ["--data", source, "--annotations", "original", "--no-save-images", "-t", "0.01", "--device", "cpu"]
    with pytest.raises(SystemExit) as end:
        main(["unet", "predict", str(run), "--output", str(tmp_path / "o"), *flags])
    assert not end.value.code
    strings = json.loads((tmp_path / "o" / "annotations.json").read_text())
    assert all(isinstance(each, str) for each in strings.values())
    assert not (tmp_path / "o" / "images").exists()


def test_several_runs_are_fused(run, films, tmp_path):
    source = films / "stage_2_test_images"
    alone = predict_boxes(run, source, tmp_path / "one", threshold=0.0, pictures=False, device="cpu")
    twice = predict_boxes([run, run], source, tmp_path / "two", threshold=0.0, pictures=False, device="cpu")
    for name, found in alone.detections.items():
        expected = weighted_boxes_fusion([found, found], iou_threshold=0.4)
        assert twice.detections[name].boxes == pytest.approx(expected.boxes, abs=1e-3)


def test_truth_is_drawn_where_it_is_known(run, films, tmp_path):
    source = films / "stage_2_train_images"
    for name, labels in (("with", films / "train.csv"), ("without", None)):
        predict_boxes(run, source, tmp_path / name, labels=labels, threshold=1.0, device="cpu")
    differ = {
        path.stem
        for path in (tmp_path / "with" / "images").iterdir()
        if path.read_bytes() != (tmp_path / "without" / "images" / path.name).read_bytes()
    }
    assert differ == {row["patientId"] for row in read_rows(films / "train.csv") if row["Target"] == "1"}


def test_a_threshold_above_every_score_is_told_with_the_highest(run, films, tmp_path, caplog):
    predict_boxes(run, films, tmp_path / "x", threshold=1.0, pictures=False)
    assert re.search(r"No box is reported: the highest score is 0\.\d+, and --threshold 1$", caplog.text, re.M)


def test_a_detector_without_maps_and_a_threshold_out_of_range_are_refused(run, films, tmp_path):
    with pytest.raises(UsageError, match="--threshold must lie between 0 and 1"):
        predict_boxes(run, films, tmp_path / "x", threshold=2.0)
    ssd = Path(__file__).parents[1] / "compat" / "ssd-pruned.safetensors"
    with pytest.raises(UsageError, match="which has no maps"):
        predict_boxes(ssd, films, tmp_path / "x", device="cpu")
    with pytest.raises(UsageError, match="There is no model"):
        predict_boxes([], films, tmp_path / "x")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_original_recipe_trains_and_leaves_its_files(films, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TRAINML_DATA_PATH", str(films))
    monkeypatch.setenv("TRAINML_MODEL_PATH", str(films))
    monkeypatch.setenv("TRAINML_OUTPUT_PATH", str(tmp_path / "run"))
    flags = "--recipe original --rf 32 -e 1 --bs 12 -o sgd --lr 0.01 -m 0.5 --al 0.05 --device cpu --precision fp32"
    with pytest.raises(SystemExit) as end:
        main(["unet", "train", *flags.split(), "--set", "tensorboard=false"])
    assert not end.value.code
    printed = capsys.readouterr().out
    assert "Mended are" in printed
    assert "Total Average Precision: " in printed
    detector, _ = load_detector(tmp_path / "run" / "final.pth.tar")
    kept, _ = load_detector(tmp_path / "run" / "checkpoints" / "best.safetensors")
    assert kept.config.slope == 0.05
    assert all(torch.equal(t, detector.net.state_dict()[name]) for name, t in kept.net.state_dict().items())
    assert list((tmp_path / "run" / "images").glob("*.png"))


def test_flags_of_the_original_belong_to_it():
    with pytest.raises(UsageError, match="--alpha-leaky is a setting of the original network"):
        unet_job(Asked(data=Path("x"), alpha_leaky=0.1))
    with pytest.raises(UsageError, match="--backbone is for the modern recipe"):
        original_job(Asked(data=Path("x"), backbone="resnet18"))


@pytest.mark.parametrize("name", ["adam", "adamw", "adamax", "sgd", "adagrad"])
def test_the_original_rates_are_halved_each_epoch_but_for_adagrad(name):
    job = original_job(Asked(data=Path("x"), optimizer=name, epochs=4))
    rates = [job.rate.at(step, 40) for step in (0, 9, 10, 39)]
    assert rates == ([0.5] * 4 if name == "adagrad" else [0.5, 0.5, 0.25, 0.0625])
    job.optimizer.build([torch.nn.Parameter(torch.zeros(2, 2))], 0.5)


def test_folds_are_a_partition_by_patient(films):
    job = unet_job(Asked(data=films / "stage_2_train_images", labels=films / "train.csv", backbone="resnet10", size=64))
    tables = [read_boxes(each.data) for each in fold_jobs(job, 3)]
    tested = [{sample.path for sample in each.validation} for each in tables]
    everything = {sample.path for sample in tables[0].table}
    assert set.union(*tested) == everything
    assert sum(map(len, tested)) == len(everything)
    for each in tables:
        assert not {s.patient for s in each.training} & {s.patient for s in each.validation}
        assert any(sample.boxes for sample in each.validation)


def test_pooled_figures_are_of_the_films_that_a_run_did_not_learn_from(run, films, tmp_path):
    pooled = pool_folds([RunFolder(run)], device="cpu")
    job = DetectionJob.read(RunFolder(run).config)
    assert [each.path for each in pooled.pictures] == [s.path for s in read_validation(job.data).validation]
    assert pooled.report.images == len(pooled.detections)
    centres = pool_folds([RunFolder(run)], {"boxes": BoxRule(source="centres", tail=0.0)}, device="cpu")
    assert [each.scores.max() for each in centres.detections] != [each.scores.max() for each in pooled.detections]
    assert json.loads(write_pooled(pooled, tmp_path).read_text())["images"] == pooled.report.images


def test_folds_need_two_and_no_validation_data():
    job = unet_job(Asked(data=Path("films")))
    with pytest.raises(UsageError, match="--folds 1 makes no folds"):
        fold_jobs(job, 1)
    own = replace(job, data=replace(job.data, validation=job.data.training))
    with pytest.raises(UsageError, match="there are validation data, too"):
        fold_jobs(own, 3)
