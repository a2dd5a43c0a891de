"""Models that earlier versions wrote load, and compute what they computed then."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from xraycls.models.classifier import load_classifier, save_classifier
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.models.detection.registry import parse_detector_config

FILES = Path(__file__).parents[1] / "compat"
EXPECTED = json.loads((FILES / "expected.json").read_text())
PICTURES = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def file_of(name: str, folder: Path) -> Path:
    """Models that aren't pruned are stored compressed: their weights repeat a pattern."""
    path = FILES / f"{name}.safetensors"
    if path.is_file():
        return path
    unpacked = folder / path.name
    unpacked.write_bytes(gzip.decompress(path.with_name(path.name + ".gz").read_bytes()))
    return unpacked


@torch.inference_mode()
@pytest.mark.parametrize("name", ["ssd-whole", "ssd-pruned", "dssd-pruned"])
def test_detectors_of_the_first_format_find_what_they_found(name, tmp_path):
    detector, extra = load_detector(file_of(name, tmp_path))
    expected = EXPECTED[name]
    assert extra == {"epoch": "3"}
    assert detector.config.network == name.partition("-")[0]
    assert detector.config.arithmetic == ("mixed" if detector.config.backbone == "mobilenet_v2" else "tao")
    assert detector.config.suppression.top_k == 7
    for _ in range(2):
        raw = detector(PICTURES)
        for output, name_ in zip(raw, ("logits", "offsets"), strict=True):
            sums = [float(output.double().sum()), float(output.double().square().sum())]
            assert sums == pytest.approx(expected[name_], rel=1e-4)
        for found, scores, labels in zip(detector.detect(raw), expected["scores"], expected["labels"], strict=True):
            assert found.scores.tolist() == pytest.approx(scores, abs=1e-5)
            assert found.labels.tolist() == labels
        save_detector(detector, tmp_path / "again.safetensors")
        detector, _ = load_detector(tmp_path / "again.safetensors")


@torch.inference_mode()
def test_a_detector_of_the_third_format_finds_what_it_found(tmp_path):
    """The network and the weights of the SSD are those of the first format's file."""
    detector, extra = load_detector(FILES / "ssd-format3.safetensors")
    first, _ = load_detector(FILES / "ssd-pruned.safetensors")
    assert extra == {"epoch": "3"}
    assert detector.config == first.config
    assert all(map(torch.equal, detector(PICTURES), first(PICTURES)))


@torch.inference_mode()
def test_a_faster_rcnn_of_the_third_format_finds_what_it_found(tmp_path):
    detector, extra = load_detector(file_of("faster_rcnn-format3", tmp_path))
    expected, raw = EXPECTED["faster_rcnn-format3"], detector(PICTURES)
    assert extra == {"epoch": "3"}
    for output, sums in zip(raw, expected["sums"], strict=True):
        assert [float(output.double().sum()), float(output.double().square().sum())] == pytest.approx(sums, rel=1e-4)
    for each, scores, labels in zip(detector.detect(raw), expected["scores"], expected["labels"], strict=True):
        assert each.scores.tolist() == pytest.approx(scores, abs=1e-5)
        assert each.labels.tolist() == labels


def test_the_configuration_of_a_yolo_v4_of_the_third_format_is_read():
    described = EXPECTED["yolo_v4-format3"]
    assert json.loads(json.dumps(parse_detector_config(described).described())) == described


@torch.inference_mode()
@pytest.mark.parametrize("name", ["classifier-whole", "classifier-pruned"])
def test_classifiers_of_the_first_formats_answer_as_they_did(name, tmp_path):
    classifier, metadata = load_classifier(file_of(name, tmp_path))
    assert classifier.classes == ("NORMAL", "PNEUMONIA")
    assert metadata["threshold"] == "0.25"
    for _ in range(2):
        assert torch.allclose(classifier(PICTURES), torch.tensor(EXPECTED[name]["logits"]), atol=1e-5)
        save_classifier(classifier, tmp_path / "again.safetensors")
        classifier, _ = load_classifier(tmp_path / "again.safetensors")
