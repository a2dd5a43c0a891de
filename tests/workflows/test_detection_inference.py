"""Inference from files to files: where boxes land, what is written, and what is said of files that can't be read."""

import json
import logging

import cv2
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from tests.data.dicoms import dataset_of
from tests.models.detectors import small_detector
from xraycls.errors import DataError, RunError, TrainingError, UsageError
from xraycls.models.detection.base import Suppression
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.models.detection.ssd import SSDDetector
from xraycls.types import Detections
from xraycls.workflows.detection.inference import infer

RED = (255, 0, 0)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "ssd_squeezenet_epoch_001.tlt"
    save_detector(small_detector("squeezenet"), path, key="k")
    return path


@pytest.fixture
def told(monkeypatch):
    """What the detector is made to tell of every picture: boxes in pixels of its 64 × 64 input."""

    def tell(*found: tuple[tuple[float, ...], int, float]) -> None:
        boxes, classes, scores = ([each[part] for each in found] for part in range(3))
        detections = Detections.of(boxes, classes, scores)
        monkeypatch.setattr(SSDDetector, "detect", lambda self, raw: [detections] * len(raw[0]))

    return tell


def draw(path, height=128, width=256):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), RNG.integers(0, 200, (height, width), dtype=np.uint8))
    return path


def labels_of(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*.txt"))}


def test_boxes_are_in_pixels_of_the_picture(model, told, tmp_path):
    told(((8, 16, 32, 48), 1, 0.87), ((-1.5, 60, 10, 70.25), 0, 0.5))
    draw(tmp_path / "in" / "a.png", 128, 256)
    draw(tmp_path / "in" / "b.png", 64, 96)
    done = infer(model, tmp_path / "in", tmp_path / "out", key="k")
    assert (done.images, done.objects, done.failures) == (2, 4, {})
    assert labels_of(tmp_path / "out" / "labels") == {
        "a.txt": "opacity 0 0 0 32.0 32.0 128.0 96.0 0 0 0 0 0 0 0 0.87\n"
        "nodule 0 0 0 -6.0 120.0 40.0 140.5 0 0 0 0 0 0 0 0.5\n",
        "b.txt": "opacity 0 0 0 12.0 16.0 48.0 48.0 0 0 0 0 0 0 0 0.87\n"
        "nodule 0 0 0 -2.25 60.0 15.0 70.25 0 0 0 0 0 0 0 0.5\n",
    }


def test_the_network_decides(model, tmp_path):
    """A picture of the input's own size is not resampled, so the labels must be the detector's own words."""
    picture = cv2.imread(str(draw(tmp_path / "in" / "a.png", 64, 64)), cv2.IMREAD_GRAYSCALE)
    detector, _ = load_detector(model, key="k")
    with torch.inference_mode():
        (found,) = detector.detect(detector(torch.from_numpy(picture)[None, None]))
    expected = "".join(
        f"{detector.config.classes[label]} 0 0 0 {' '.join(map(str, box))} 0 0 0 0 0 0 0 {score!s}\n"
        for box, label, score in zip(found.boxes, found.labels.tolist(), found.scores, strict=True)
        if score >= 0.3
    )
    done = infer(model, tmp_path / "in" / "a.png", tmp_path / "out", key="k", precision="fp32", device="cpu")
    assert labels_of(tmp_path / "out" / "labels") == {"a.txt": expected}
    assert done.objects == expected.count("\n") > 0


def test_the_threshold_itself_is_kept(model, told, tmp_path):
    told(*[((1, 2, 3, 4), 0, score) for score in (0.3, 0.29999, 0.30001)])
    infer(model, draw(tmp_path / "a.png"), tmp_path / "out", key="k")
    assert [line.split()[-1] for line in (tmp_path / "out/labels/a.txt").read_text().splitlines()] == ["0.30001", "0.3"]


def test_nothing_found_is_an_empty_file_and_an_untouched_picture(model, told, tmp_path):
    told()
    source = draw(tmp_path / "in" / "a.png")
    done = infer(model, source, tmp_path / "out", key="k")
    assert done.objects == 0
    assert (tmp_path / "out/labels/a.txt").read_bytes() == b""
    annotated = np.asarray(Image.open(tmp_path / "out/images_annotated/a.png"))
    assert np.array_equal(annotated, np.repeat(cv2.imread(str(source), 0)[:, :, None], 3, 2))


def test_annotated_pictures_have_the_name_and_the_size_of_theirs(model, told, tmp_path):
    told(((8, 16, 32, 48), 0, 0.87))
    for name in ("a.png", "b.JPG", "sub/c.jpeg", "d.bmp", "e.tiff", "f.pgm"):
        draw(tmp_path / "in" / name, 150, 200)
    infer(model, tmp_path / "in", tmp_path / "out", key="k", batch_size=4)
    folder = tmp_path / "out" / "images_annotated"
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.*"))
    assert found == ["a.png", "b.JPG", "d.bmp", "e.tiff", "f.png", "sub/c.jpeg"]
    assert set(labels_of(tmp_path / "out" / "labels")) == {"a.txt", "b.txt", "d.txt", "e.txt", "f.txt", "sub/c.txt"}
    for name in found:
        with Image.open(folder / name) as picture:
            assert (picture.size, picture.mode) == ((200, 150), "RGB")
    annotated = np.asarray(Image.open(folder / "a.png"))
    # 64 pixels of the input are 200 across and 150 down; the first class is red.
    assert (annotated[[38, 111], 25:100] == RED).all()
    assert (annotated[38:112, 25] == RED).all()
    assert not (annotated[112:, :] == RED).all(axis=2).any()


def test_dicom_becomes_png(model, told, tmp_path):
    told(((0, 0, 32, 32), 0, 0.9))
    (tmp_path / "in").mkdir()
    ramp = np.tile(np.arange(80, dtype=np.uint16) * 50, (60, 1))
    pydicom.dcmwrite(tmp_path / "in" / "1.2.840.113619.2", dataset_of(ramp), enforce_file_format=True)
    pydicom.dcmwrite(tmp_path / "in" / "chest.dcm", dataset_of(ramp), enforce_file_format=True)
    done = infer(model, tmp_path / "in", tmp_path / "out", key="k")
    assert done.images == 2
    assert set(labels_of(tmp_path / "out" / "labels")) == {"1.2.840.113619.2.txt", "chest.txt"}
    for name in ("1.2.840.113619.2.png", "chest.png"):
        with Image.open(tmp_path / "out" / "images_annotated" / name) as picture:
            assert picture.size == (80, 60)
    assert "nodule 0 0 0 0.0 0.0 40.0 30.0 0" in (tmp_path / "out/labels/chest.txt").read_text()


def test_pictures_that_share_a_name_keep_their_results_apart(model, told, tmp_path, caplog):
    told(((0, 0, 32, 32), 0, 0.9))
    draw(tmp_path / "in" / "a.png", 64, 64)
    draw(tmp_path / "in" / "a.jpg", 128, 128)
    draw(tmp_path / "in" / "b" / "a.png", 32, 32)
    infer(model, tmp_path / "in", tmp_path / "out", key="k")
    sides = {name: text.split()[6] for name, text in labels_of(tmp_path / "out" / "labels").items()}
    assert sides == {"a.txt": "64.0", "a.png.txt": "32.0", "b/a.txt": "16.0"}
    assert (tmp_path / "out" / "images_annotated" / "a.png.png").is_file()
    assert "shares its name with another picture: its label file is a.png.txt" in caplog.text


def test_results_among_the_pictures_are_not_looked_at_again(model, told, tmp_path):
    told(((0, 0, 32, 32), 0, 0.9))
    draw(tmp_path / "a.png")
    for _ in range(2):
        done = infer(model, tmp_path, tmp_path, key="k")
        assert (done.images, done.folders) == (1, (tmp_path / "labels", tmp_path / "images_annotated"))


def test_results_above_the_pictures_hide_none(model, told, tmp_path):
    told()
    draw(tmp_path / "data" / "images" / "a.png")
    folders = {"annotated": tmp_path / "data", "labels": tmp_path / "data" / "labels"}
    assert infer(model, tmp_path / "data" / "images", **folders, key="k").images == 1
    (tmp_path / "data" / "a.png").unlink()
    with pytest.raises(DataError, match=r"There are no images in .*data but results in .*images\.$"):
        infer(model, tmp_path / "data", annotated=tmp_path / "data" / "images", key="k")


def test_files_that_can_not_be_read_are_counted_and_named(model, told, tmp_path, caplog):
    told(((0, 0, 32, 32), 0, 0.9))
    draw(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "in" / "c.jpg").write_bytes(b"")
    seen = []
    done = infer(
        model,
        tmp_path / "in",
        tmp_path / "out",
        key="k",
        batch_size=2,
        progress=lambda d, total: seen.append((d, total)),
    )
    assert done.images == 1
    assert set(done.failures) == {str(tmp_path / "in" / "b.png"), str(tmp_path / "in" / "c.jpg")}
    assert "c.jpg is empty (0 bytes)" in done.failures[str(tmp_path / "in" / "c.jpg")]
    assert "c.jpg is empty (0 bytes); it is left out." in caplog.text
    assert set(labels_of(tmp_path / "out" / "labels")) == {"a.txt"}  # no label says that nothing is there
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_folders_of_tlt(model, told, tmp_path):
    told(((0, 0, 32, 32), 0, 0.9))
    source = draw(tmp_path / "in" / "a.png")
    infer(model, source, annotated=tmp_path / "pictures", labels=tmp_path / "texts", key="k")
    assert {p.name for p in tmp_path.iterdir()} == {"in", "pictures", "texts"}
    infer(model, source, labels=tmp_path / "only", key="k")
    assert [p.name for p in (tmp_path / "only").iterdir()] == ["a.txt"]
    infer(model, source, tmp_path / "out", labels=tmp_path / "own", key="k")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"images_annotated", "status.json"}


def test_the_status_file(model, told, tmp_path):
    told()
    infer(model, draw(tmp_path / "a.png"), tmp_path / "out", key="k")
    with pytest.raises(UsageError):
        infer(model, tmp_path / "a.png", tmp_path / "out", key="wrong")
    lines = [json.loads(line) for line in (tmp_path / "out" / "status.json").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["STARTED", "SUCCESS", "STARTED", "FAILURE"]
    assert "The key doesn't open" in lines[-1]["message"]


SPEC = """random_seed: 42
ssd_config { aspect_ratios_global: "[1.0, 2.0, 0.5]" scales: "[0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85]"
  two_boxes_for_ar1: true variances: "[0.1, 0.1, 0.2, 0.2]" arch: "squeezenet" }
training_config { batch_size_per_gpu: 2 num_epochs: 1
  learning_rate { soft_start_annealing_schedule {
    min_learning_rate: 5e-5 max_learning_rate: 2e-2 soft_start: 0.1 annealing: 0.6 } }
  regularizer { type: L1 weight: 3e-5 } }
eval_config { validation_period_during_training: 1 average_precision_mode: SAMPLE batch_size: 2
  matching_iou_threshold: 0.5 }
nms_config { confidence_threshold: 0.4 clustering_iou_threshold: 0.25 top_k: 3 }
augmentation_config { output_width: 64 output_height: 64 output_channel: 3 }
dataset_config { data_sources { label_directory_path: "/l" image_directory_path: "/i" }
  target_class_mapping { key: "opacity" value: "opacity" } }
"""


def test_a_spec_brings_its_own_suppression(model, tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr(SSDDetector, "detect", lambda self, _: used.append(self.config.suppression) or NOTHING)
    (tmp_path / "spec.txt").write_text(SPEC)
    source = draw(tmp_path / "a.png")
    infer(model, source, tmp_path / "out", key="k")
    infer(model, source, tmp_path / "out", key="k", spec=tmp_path / "spec.txt")
    (trained, by_spec) = used
    assert trained == Suppression(0.02, 0.45, 7)
    assert (by_spec.confidence, by_spec.iou, by_spec.top_k) == (pytest.approx(0.4), 0.25, 3)
    (tmp_path / "spec.txt").write_text(SPEC.replace("ssd_config", "yolov4_config"))
    with pytest.raises(UsageError, match="is a model of SSD, and not of YOLOv4"):
        infer(model, source, tmp_path / "out", key="k", spec=tmp_path / "spec.txt")


NOTHING = [Detections.of()]


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1, 30, float("nan")])
def test_a_threshold_out_of_range(model, tmp_path, threshold):
    with pytest.raises(UsageError, match="--threshold must lie between 0 and 1"):
        infer(model, draw(tmp_path / "a.png"), tmp_path / "out", key="k", threshold=threshold)


def test_mistakes_are_one_sentence(model, told, tmp_path, monkeypatch):
    source = draw(tmp_path / "in" / "a.png")
    before = source.read_bytes()
    with pytest.raises(DataError, match=r"There is no file or folder .*none\.$"):
        infer(model, tmp_path / "none", tmp_path / "out", key="k")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="There are no images"):
        infer(model, tmp_path / "empty", tmp_path / "out", key="k")
    with pytest.raises(UsageError, match="Give a folder with -r"):
        infer(model, source, key="k")
    for images in (source, source.parent):
        with pytest.raises(UsageError, match="would take the place of those in"):
            infer(model, images, annotated=tmp_path / "in" / ".." / "in", key="k")
    assert source.read_bytes() == before
    with pytest.raises(RunError, match="There is no model"):
        infer(tmp_path / "none.tlt", source, tmp_path / "out")
    told(((0, 0, float("inf"), 9), 0, 0.9))
    with pytest.raises(
        RunError, match=r"boxes that aren't numbers for .*a.png\. Use --precision fp32 where it was half; otherwise the"
    ):
        infer(model, source, tmp_path / "out", key="k")

    def full(self, images):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(SSDDetector, "detect", full)
    with pytest.raises(TrainingError, match=r"Out of memory at --batch-size 4\. Try --batch-size 2"):
        infer(model, source, tmp_path / "out", key="k", batch_size=4)


def test_the_key_is_written_nowhere(model, told, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    told(((0, 0, 32, 32), 0, 0.9))
    secret = "a-very-secret-key"
    save_detector(small_detector("squeezenet"), tmp_path / "m.tlt", key=secret)
    infer(tmp_path / "m.tlt", draw(tmp_path / "in" / "a.png"), tmp_path / "out", key=secret)
    assert secret not in caplog.text
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
