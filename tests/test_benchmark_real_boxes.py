"""benchmarks.real_boxes: films, parts, figures and the settings of each network, without training."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import real_boxes, real_films, real_networks
from benchmarks.localisation import PUBLISHED, RULES, localisation_accuracy
from xraycls.data.formats.kitti import read_kitti
from xraycls.errors import DataError
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.tao.networks.ssd import ssd_job
from xraycls.tao.networks.ssd_spec import SSDSpec
from xraycls.tao.programs import open_spec
from xraycls.training.job import DetectionJob
from xraycls.types import Detections

RSNA = """image,x,y,width,height,Target
00000001_000.png,10,20,30,40,1
00000001_000.png,60,20,20,30,1
00000001_001.png,,,,,0
00000002_000.png,5,5,50,60,1
00000003_000.png,,,,,0
"""
BOXES = """image,label,x,y,width,height
00000001_000.png,Mass,10,20,30,40
00000002_000.png,Nodule,60,20,20,30
"""
IMAGES = """image,patient,split
00000001_000.png,00000001,train
00000002_000.png,00000002,val
"""


def draw(folder: Path, text: str) -> Path:
    (folder / "images").mkdir(parents=True)
    for name in {line.partition(",")[0] for line in text.splitlines()[1:]}:
        cv2.imwrite(str(folder / "images" / name), np.full((100, 100), 90, np.uint8))
    return folder


@pytest.fixture
def films(tmp_path):
    folder = draw(tmp_path / "rsna", RSNA)
    (folder / "labels.csv").write_text(RSNA)
    drawn = real_films.rsna_films(folder / "labels.csv", folder / "images", tmp_path / "work", folds=2)
    return real_films.write_parts(drawn, tmp_path / "work")


@pytest.fixture
def nih(tmp_path):
    folder = draw(tmp_path / "nih", IMAGES)
    (folder / "boxes.csv").write_text(BOXES)
    (folder / "images.csv").write_text(IMAGES)
    return folder


def test_no_patient_is_in_two_folds(films):
    patients = [{real_films.patient_of(film) for film in films.parts[part]} for part in films.tested]
    assert len(films.judged) == 4
    assert not patients[0] & patients[1]


def test_the_written_labels_hold_the_boxes(films, tmp_path):
    for part, expected in films.parts.items():
        folder = tmp_path / "work" / "rsna" / part
        read = {s.path.stem: s.boxes for s in read_kitti(folder / "labels", images=folder / "images")}
        assert {film.path.stem: len(film.boxes) for film in expected} == {n: len(each) for n, each in read.items()}
        for film in expected:
            assert [(b.label, b.left, b.bottom) for b in film.boxes] == [
                (b.label, b.left, b.bottom) for b in read[film.path.stem]
            ]


def test_wide_films_and_their_boxes_are_reduced_alike(nih, tmp_path):
    cv2.imwrite(str(nih / "images" / "00000001_000.png"), np.zeros((800, 1024), np.uint8))
    written = real_films.write_parts(real_films.nih_films(nih), tmp_path / "work").parts["train"][0]
    assert cv2.imread(str(written.path)).shape[:2] == (400, 512)
    assert (written.boxes[0].left, written.boxes[0].bottom) == (5, 30)


def test_nih_films_are_in_their_splits(nih):
    films = real_films.nih_films(nih)
    assert films.classes == ("Mass", "Nodule")
    assert [film.path.stem for film in films.judged] == ["00000002_000"]


def test_a_patient_in_both_splits_is_refused(nih):
    (nih / "images.csv").write_text(IMAGES.replace("00000002,val", "00000001,val"))
    with pytest.raises(DataError, match="The patient 00000001 is in both splits"):
        real_films.nih_films(nih)


def test_networks_learn_first_from_opacities_of_patients_who_are_not_tested(nih, tmp_path):
    (nih / "images.csv").write_text(IMAGES.replace("val", "train") + "00000003_000.png,00000003,train\n")
    (nih / "boxes.csv").write_text(BOXES + "00000003_000.png,Cardiomegaly,1,2,3,4\n")
    cv2.imwrite(str(nih / "images" / "00000003_000.png"), np.zeros((100, 100), np.uint8))
    others = real_films.films_of_others(nih, {"00000001"})
    first = real_films.write_parts(others, tmp_path / "work").parts["train"]
    assert {film.path.stem: [box.label for box in film.boxes] for film in first} == {
        "00000002_000": ["opacity"],
        "00000003_000": [],  # a large heart is no opacity
    }
    cell = real_networks.Cell("ssd", "first", tmp_path / "work" / "others")
    made = DetectionJob.parse(
        real_networks.job(cell, others, real_networks.Training("resnet18", 160, {"ssd": 2}, None))
    )
    assert [source.labels for source in made.data.training] == [tmp_path / "work" / "others" / "train" / "labels"]


def test_epochs_are_those_of_each_network(nih, monkeypatch, capsys):
    start = ["real_boxes", "--nih", str(nih), "--networks", "faster_rcnn", "ssd"]
    monkeypatch.setattr("sys.argv", [*start, "--epochs", "7", "9"])
    given = real_boxes.parse()
    assert given.epochs == {"faster_rcnn": 7, "ssd": 9}
    assert given.nih_epochs == {name: real_boxes.EPOCHS["nih-epochs"][0][name] for name in ("faster_rcnn", "ssd")}
    monkeypatch.setattr("sys.argv", [*start, "--first-epochs", "7"])
    with pytest.raises(SystemExit):
        real_boxes.parse()
    assert "give --first-epochs for each of --networks" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["real_boxes", "--nih", f"{nih}-not-there"])
    with pytest.raises(SystemExit):
        real_boxes.parse()
    assert f"there is no {nih}-not-there" in capsys.readouterr().err


@pytest.mark.parametrize("network", real_networks.NETWORKS)
def test_settings_of_a_network_make_a_job_that_never_sees_the_tested_part(network, films, tmp_path):
    cell = real_networks.Cell(network, "fold1", tmp_path / "work" / "rsna")
    settings = real_networks.Training("mobilenet_v2", 160, {network: 3}, None)
    made = DetectionJob.parse(real_networks.job(cell, films, settings))
    assert (made.detector.network, made.loop.epochs, made.detector.width) == (network, 3, 160)
    assert [source.labels.parent.name for source in made.data.training] == ["fold0"]
    assert made.data.validation == ()
    assert made.data.val_fraction == 0.0


def test_ssd_is_trained_by_the_spec_of_the_example(films, tmp_path):
    spec = ssd_job(open_spec(Path(__file__).parents[1] / "examples" / "siim_ssd" / "train.txt", SSDSpec)).described()
    cell = real_networks.Cell("ssd", "fold1", tmp_path / "work" / "rsna")
    settings = real_networks.Training("resnet18", 512, {"ssd": 80}, None)
    made = DetectionJob.parse(real_networks.job(cell, films, settings)).described()
    for name in ("optimizer", "rate", "regularizer", "batch_size", "freeze_blocks", "recipe"):
        assert rounded(made[name]) == rounded(spec[name])
    for name in ("loss", "anchors", "suppression"):
        assert rounded(made["detector"][name]) == rounded(spec["detector"][name])
    for name in ("epochs", "seed", "ema", "clip_norm"):
        assert made["loop"][name] == spec["loop"][name]


def rounded(value):
    """Numbers to the precision of a spec's."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value


def keep(films, network, folder, score):
    """Keep what readers drew as what a network found."""
    for part in films.tested:
        cell = real_networks.Cell(network, part, folder)
        cell.results.parent.mkdir(parents=True, exist_ok=True)
        found = {
            film.path.stem: {
                "boxes": [[b.left, b.top, b.right, b.bottom] for b in film.boxes],
                "labels": [films.classes.index(b.label) for b in film.boxes],
                "scores": [score] * len(film.boxes),
            }
            for film in films.parts[part]
        }
        cell.results.write_text(json.dumps({"cpu_minutes": 1.0, "detections": found}))


def test_what_readers_drew_is_found_perfectly_by_each_network_and_their_fusion(films, tmp_path, capsys):
    folder = tmp_path / "work" / "rsna"
    keep(films, "ssd", folder, 0.9)
    keep(films, "yolo_v4", folder, 0.5)
    found = real_boxes.with_fusion(real_boxes.all_detections(films, ["ssd", "yolo_v4", "faster_rcnn"], folder))
    assert list(found) == ["ssd", "yolo_v4", real_boxes.FUSION]
    told = real_boxes.tell(films, found, tmp_path / "work")
    assert [each["report"]["ap_integrate"]["value"] for each in told.values()] == [1.0, 1.0, 1.0]
    assert told["ssd"]["report"]["bootstrap"]["groups"] == 3
    assert told["ssd"]["cpu_minutes"] == 2.0
    assert (folder / "weighted_boxes_fusion.jpg").is_file()
    assert "SSD" in capsys.readouterr().out


def test_a_seed_without_folds_is_named(films, tmp_path):
    with pytest.raises(DataError, match=r"There are no folds in .*seed0"):
        real_networks.read_unet(tmp_path / "seed0", films)


def test_films_without_detections_count_as_missed(films):
    report = real_boxes.judged(films, [Detections.of()] * len(films.judged))
    assert report.figures["ap_integrate"].value == 0.0


def test_only_the_surest_box_of_a_class_is_localised():
    truth = [ImageBoxes.of([[0, 0, 10, 10]], [0])]
    right, wrong = [0, 0, 10, 8], [50, 50, 60, 60]
    sure = localisation_accuracy(truth, [Detections.of([wrong, right], [0, 0], [0.2, 0.9])], 1, ["a"])
    assert {key: each[0].value for key, each in sure.items()} == dict.fromkeys(sure, 1.0)
    unsure = localisation_accuracy(truth, [Detections.of([wrong, right], [0, 0], [0.9, 0.2])], 1, ["a"])
    assert unsure["IoU", 0.1][0].value == 0.0


def test_intersection_over_the_detected_box_forgives_a_small_one():
    truth = [ImageBoxes.of([[0, 0, 100, 100]], [0])]
    found = localisation_accuracy(truth, [Detections.of([[0, 0, 20, 10]], [0], [0.9])], 1, ["a"])
    assert found["IoBB", 0.5][0].value == 1.0
    assert found["IoU", 0.1][0].value == 0.0


def test_published_figures_stand_beside_every_threshold():
    assert set(PUBLISHED) == {(rule, threshold) for rule, thresholds in RULES.items() for threshold in thresholds}
    for rule, thresholds in RULES.items():  # a stricter threshold is met no more often
        rows = np.array([PUBLISHED[rule, threshold] for threshold in thresholds])
        assert (np.diff(rows, axis=0) <= 0).all()


def test_what_is_found_in_the_mirror_image_counts_where_it_lies_in_the_picture():
    one = Detections.of([[10, 20, 30, 40]], [0], [0.8])
    other = Detections.of([[70, 20, 90, 40], [0, 0, 20, 20]], [0, 0], [0.4, 0.6])
    found = real_networks.fused_with_mirrored(one, other, 100)
    assert found.boxes.tolist() == [[10, 20, 30, 40], [80, 0, 100, 20]]
    assert found.scores.tolist() == pytest.approx([0.6, 0.3])
