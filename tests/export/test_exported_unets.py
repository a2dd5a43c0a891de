"""Exported U-Nets: their maps become boxes as in torch, and every command that takes detectors takes them."""

import cv2
import numpy as np
import pytest
import torch

import xraycls
from tests.export import networks
from xraycls.errors import RunError, UsageError
from xraycls.inference.exported import ExportedFile
from xraycls.inference.exported_detections import detections_of
from xraycls.models.detection.base import Suppression
from xraycls.models.detection.files import save_detector
from xraycls.models.detection.map_boxes import BoxRule
from xraycls.models.detection.registry import build_detector
from xraycls.models.detection.unet import UNetConfig
from xraycls.models.detection.unet_original import OriginalUNetConfig
from xraycls.workflows.export import export_model
from xraycls.workflows.unet.predict import predict_boxes

NAMES = ("masks", "pictures", "centres", "boxes")
RULES = [
    BoxRule(threshold=0.5, smallest=0.0, tail=0.3, gate=0.5, shrink=0.9),
    BoxRule(source="centres", smallest=0.005, connectivity=8),
    BoxRule(threshold=0.4, tail=0.0),
]


def description(rule: BoxRule | None, classes: tuple[str, ...], outputs: tuple[str, ...]) -> ExportedFile:
    return ExportedFile(
        file="model.onnx",
        sha256="",
        kind="detector",
        network="unet",
        classes=classes,
        height=64,
        width=96,
        input="uint8",
        form="maps",
        precision="fp32",
        opset=20,
        outputs={name: ["batch"] for name in outputs},
        rendering="squeezed",
        fill=None,
        confidence=0.02,
        iou=0.4,
        top_k=30,
        boxes=rule,
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("centres", [True, False])
def test_maps_of_a_file_become_the_boxes_that_torch_finds(rule, centres):
    suppression = Suppression(confidence=0.02, iou=0.4, top_k=30)
    config = {"classes": ("opacity", "nodule"), "height": 64, "width": 96, "suppression": suppression, "boxes": rule}
    detector = build_detector(UNetConfig(backbone="resnet10", centres=centres, **config))
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 2, 16, 24), (3, 2), (3, 2, 16, 24), (3, 4, 16, 24)][: 4 if centres else 2]
    raw = tuple(torch.randn(shape, generator=generator) * 2 for shape in shapes)
    outputs = {name: part.numpy() for name, part in zip(NAMES, detector.probability_maps(raw), strict=False)}
    expected = detector.detect(raw)
    found = detections_of(outputs, description(rule, config["classes"], tuple(outputs)))
    for own, theirs in zip(found, expected, strict=True):
        assert len(own) == len(theirs) > 5
        assert np.array_equal(own.labels, theirs.labels)
        assert np.allclose(own.boxes, theirs.boxes, atol=1e-4)
        assert np.allclose(own.scores, theirs.scores, atol=1e-6)


def test_maps_of_an_earlier_version_are_refused():
    outputs = {"masks": np.zeros((1, 1, 4, 4), np.float32), "pictures": np.zeros((1, 1), np.float32)}
    with pytest.raises(RunError, match=r"was exported before its maps could be read\. Export the model again"):
        detections_of(outputs, description(None, ("opacity",), ("masks", "pictures")))


def test_a_runtime_that_a_model_does_not_have_is_refused(tmp_path):
    save_detector(networks.unet(), tmp_path / "model.safetensors")
    cv2.imwrite(str(tmp_path / "film.png"), np.zeros((40, 40), np.uint8))
    with pytest.raises(UsageError, match=r"is no exported folder, so --runtime openvino can't compute it"):
        predict_boxes(tmp_path / "model.safetensors", tmp_path / "film.png", tmp_path / "out", runtime="openvino")
    assert not (tmp_path / "out").exists()


@pytest.mark.walkthrough
@pytest.mark.parametrize("kind", ["unet", pytest.param("original", marks=pytest.mark.exhaustive)])
def test_an_exported_unet_detects_as_in_torch(kind, tmp_path):
    if kind == "original":
        torch.manual_seed(0)
        detector = build_detector(OriginalUNetConfig(classes=("opacity",), height=64, width=96)).eval()
    else:
        detector = networks.unet()
    save_detector(detector, tmp_path / "model.safetensors")
    grey = np.random.default_rng(0).integers(0, 256, (8, 12), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "film.png"), cv2.resize(grey, (240, 160)))
    done = export_model(tmp_path / "model.safetensors", tmp_path / "exported", images=tmp_path / "film.png")
    settings = {"threshold": 0.0, "device": "cpu"}
    (expected,), _ = xraycls.detect(
        tmp_path / "model.safetensors", tmp_path / "film.png", precision="fp32", loader="torch", **settings
    )
    (found,), classes = xraycls.detect(done.path.parent, tmp_path / "film.png", **settings)
    assert classes == ("opacity",)
    assert len(found.output) == len(expected.output) > 0
    assert np.allclose(found.output.boxes, expected.output.boxes, atol=1e-2)
    assert np.allclose(found.output.scores, expected.output.scores, atol=1e-4)
    trained = predict_boxes(tmp_path / "model.safetensors", tmp_path / "film.png", tmp_path / "torch", device="cpu")
    runtime = predict_boxes(done.path.parent, tmp_path / "film.png", tmp_path / "runtime", device="cpu")
    assert runtime.detections["film"].boxes == pytest.approx(trained.detections["film"].boxes, abs=1e-2)
    other = predict_boxes(
        done.path.parent, tmp_path / "film.png", tmp_path / "other", runtime="openvino", device="cpu", pictures=False
    )
    assert other.detections["film"].boxes == pytest.approx(trained.detections["film"].boxes, abs=0.1)
    pictures = [cv2.imread(str(tmp_path / name / "images" / "film.png")).astype(int) for name in ("torch", "runtime")]
    assert np.abs(pictures[0] - pictures[1]).max() <= 2
