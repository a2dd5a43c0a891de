"""Models that earlier versions wrote load, and compute what they computed then."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from xraycls.models.classifier import load_classifier
from xraycls.models.detection.files import load_detector, save_detector

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
@pytest.mark.parametrize("name", ["classifier-whole", "classifier-pruned"])
def test_classifiers_of_the_first_formats_answer_as_they_did(name, tmp_path):
    classifier, metadata = load_classifier(file_of(name, tmp_path))
    assert classifier.classes == ("NORMAL", "PNEUMONIA")
    assert metadata["threshold"] == "0.25"
    assert torch.allclose(classifier(PICTURES), torch.tensor(EXPECTED[name]["logits"]), atol=1e-5)
