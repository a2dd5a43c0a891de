"""Exported folders predict and detect as the models do that they are made from, and without torch."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

import xraycls
from xraycls.errors import MissingExtra, UsageError
from xraycls.evaluation.detection.overlap import box_iou
from xraycls.inference import runtimes
from xraycls.inference.exported_detections import suppressed
from xraycls.inference.runtimes import open_session
from xraycls.models.detection.suppression import suppress
from xraycls.workflows.detection.evaluate import evaluate_detector
from xraycls.workflows.detection.inference import infer
from xraycls.workflows.inference_bench import bench_inference, plot_timings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(((90, 70), (64, 96), (200, 300))):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (height, width), dtype=np.uint8))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return folder


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """Pictures with KITTI labels of both classes."""
    folder = tmp_path_factory.mktemp("boxes")
    rng = np.random.default_rng(1)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), rng.integers(0, 256, (64, 96), dtype=np.uint8))
        rows = ("nodule 0 0 0 10 10 40 40", "opacity 0 0 0 30 5 80 60")
        (folder / "labels" / f"{number}.txt").write_text("".join(f"{row} 0 0 0 0 0 0 0\n" for row in rows))
    return folder


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_folder_predicts_as_its_model(runtime, exported_classifier, classifier_file, films, caplog):
    expected, _ = xraycls.predict(classifier_file, films, device="cpu", precision="fp32", loader="torch")
    caplog.set_level("INFO")
    found, classes = xraycls.predict(exported_classifier.path.parent, films, runtime=runtime)
    assert classes == ("NORMAL", "PNEUMONIA")
    for own, theirs in zip(found, expected, strict=True):
        assert (own.name, own.predicted, own.error) == (theirs.name, theirs.predicted, theirs.error)
        assert np.allclose(own.probabilities, theirs.probabilities, atol=1e-5)
    assert [prediction.predicted is None for prediction in found].count(True) == 1
    assert "not marked: exported models have no check for it" in caplog.text


def test_a_folder_averages_views_as_its_model(exported_classifier, classifier_file, films):
    settings = {"device": "cpu", "tta": "flip,shift"}
    expected, _ = xraycls.predict(classifier_file, films, precision="fp32", loader="torch", **settings)
    found, _ = xraycls.predict(exported_classifier.path.parent, films, runtime="onnxruntime", **settings)
    for own, theirs in zip(found, expected, strict=True):
        assert np.allclose(own.probabilities, theirs.probabilities, atol=1e-5)
        assert np.allclose(own.uncertainty, theirs.uncertainty, atol=1e-5)
    assert max(max(each.uncertainty, default=0) for each in found) > 0


def test_a_folder_detects_as_its_model(exported_detector, detector_file, films):
    settings = {"threshold": 0.1, "device": "cpu"}
    expected, _ = xraycls.detect(detector_file, films, precision="fp32", loader="torch", **settings)
    found, classes = xraycls.detect(exported_detector.path, films, **settings)
    assert classes == ("nodule", "opacity")
    for own, theirs in zip(found, expected, strict=True):
        assert own.error == theirs.error
        if own.output is not None:
            assert own.output.labels.tolist() == theirs.output.labels.tolist()
            overlap = box_iou(own.output.boxes.astype(float), theirs.output.boxes.astype(float))
            assert np.diagonal(overlap).min() > 0.999


def test_a_folder_explains_as_its_model(exported_classifier, classifier_file, films):
    picture = films / "2.png"
    for target in ("NORMAL", "PNEUMONIA", None):
        (expected,) = xraycls.cam(classifier_file, picture, target=target, device="cpu")
        (found,) = xraycls.cam(exported_classifier.path.parent, picture, target=target)
        assert (found.class_name, found.picture.shape) == (expected.class_name, expected.picture.shape)
        assert np.abs(found.map - expected.map).max() < 1e-3
    with pytest.raises(UsageError, match="gives the maps of gradcam, not of method scorecam"):
        xraycls.cam(exported_classifier.path.parent, picture, method="scorecam")


def test_predicting_with_a_folder_imports_no_torch(exported_classifier, films, tmp_path):
    code = (
        "import sys\nfrom xraycls.cli import main\n"
        f"try:\n    main(['predict', {str(exported_classifier.path.parent)!r}, {str(films / '0.png')!r}, '--json'])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'torchvision', 'timm', 'sklearn', 'matplotlib', 'onnx', 'PIL', 'yaml', 'rich.progress'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["predicted"] in ("NORMAL", "PNEUMONIA")


@pytest.mark.slow
def test_an_exported_detector_is_judged_and_finds_as_in_torch(exported_detector, detector_file, boxes, tmp_path):
    ours, theirs = (
        evaluate_detector(model, boxes, results=tmp_path / name, precision="fp32", loader=loader)
        for model, name, loader in ((exported_detector.path.parent, "onnx", "auto"), (detector_file, "torch", "torch"))
    )
    assert ours.precision == "fp32"
    assert ours.average.per_class == pytest.approx(theirs.average.per_class, abs=1e-6)
    found = [
        infer(model, boxes / "images", tmp_path / name / "inference", threshold=0.1)
        for model, name in ((exported_detector.path, "onnx"), (detector_file, "torch"))
    ]
    assert found[0].objects == found[1].objects > 0
    labels = [sorted((tmp_path / name / "inference" / "labels").rglob("*.txt")) for name in ("onnx", "torch")]
    for one, other in zip(*labels, strict=True):
        assert len(one.read_text().splitlines()) == len(other.read_text().splitlines())


@pytest.mark.slow
def test_bench_takes_turns_and_tells_how_far_answers_are_apart(exported_classifier, classifier_file, tmp_path):
    timings = bench_inference(
        [classifier_file, exported_classifier.path.parent], batches=(1, 2), rounds=1, device="cpu"
    )
    runtimes = {each.runtime for each in timings}
    assert {"torch", "onnxruntime"} <= runtimes
    assert [each.batch for each in timings] == [1] * len(runtimes) + [2] * len(runtimes)
    assert all(each.apart < 1e-3 and each.milliseconds > 0 for each in timings)
    plot_timings(timings, tmp_path / "timings.png")
    assert (tmp_path / "timings.png").stat().st_size > 1000


def test_bench_refuses_models_of_different_sizes(classifier_file, detector_file):
    with pytest.raises(UsageError, match="different sizes: 64 × 64, 96 × 64"):
        bench_inference([classifier_file, detector_file], batches=(1,), rounds=1, device="cpu")


def test_a_runtime_that_is_not_installed_is_told_with_the_command(exported_classifier, monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"onnxruntime is not installed. Install it with: pip install"):
        open_session(exported_classifier.path)


def test_a_runtime_is_for_exported_folders_and_torch_for_others(exported_classifier, classifier_file, films):
    with pytest.raises(UsageError, match=r"is no exported folder.*Export it first with: xraycls export"):
        xraycls.predict(classifier_file, films, runtime="onnxruntime")
    with pytest.raises(UsageError, match="is an ONNX file, which runtime=torch can't compute"):
        xraycls.predict(exported_classifier.path, films, runtime="torch")
    with pytest.raises(UsageError, match="Unknown runtime 'onnx'"):
        xraycls.predict(exported_classifier.path, films, runtime="onnx")
    with pytest.raises(UsageError, match=r"TensorRT computes engines, not ONNX files.*exported with --engine"):
        open_session(exported_classifier.path, "tensorrt")


def test_a_precision_that_the_file_does_not_have_is_refused(exported_classifier, films):
    with pytest.raises(UsageError, match="onnxruntime computes in the precision of the file"):
        xraycls.predict(exported_classifier.path, films, precision="bf16", runtime="onnxruntime")


@pytest.mark.parametrize("own_boxes", [False, True])
def test_suppression_without_torch_keeps_what_the_detectors_own_keeps(own_boxes):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand((200, 3, 2) if own_boxes else (200, 2), generator=generator) * 60
    boxes = torch.cat([corner, corner + 5 + torch.rand(corner.shape, generator=generator) * 40], dim=-1)
    scores = (torch.rand(200, 3, generator=generator) * 50).round() / 50  # with ties
    for confidence, iou, top_k in ((0.1, 0.4, 500), (0.5, 0.7, 12), (0.99, 0.3, 5)):
        kept = suppress(scores, boxes, confidence=confidence, iou=iou, top_k=top_k)
        found = suppressed(scores.numpy(), boxes.numpy(), confidence=confidence, iou=iou, top_k=top_k)
        assert np.array_equal(found.boxes, kept[0].numpy())
        assert found.labels.tolist() == kept[1].tolist()
