"""What the loss of a detector adds to that of anchors."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.steps import synthetic_objects
from tests.models.detectors import small_detector
from xraycls.models.detection.detector import freeze
from xraycls.training.detection import Detection, DetectionLoss


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_kernels_that_learn_are_held_down(kind):
    """Once a picture, as the loop divides by pictures; those that could not be read add nothing."""
    batch = replace(synthetic_objects(3, 64), weights=torch.tensor([1.0, 0.0, 1.0]))
    detector = small_detector()
    freeze(detector, (0,), statistics=False)
    convolutions = {name: m for name, m in detector.net.named_modules() if isinstance(m, nn.Conv2d)}
    learning = [m for name, m in convolutions.items() if name != "backbone.conv1"]
    total = sum(float((m.weight.abs() if kind == "L1" else m.weight**2).detach().sum()) for m in learning)
    with torch.inference_mode():
        plain, held = (
            float(Detection(loss, lambda _: {}, lambda *_: None).loss(detector, batch))
            for loss in (DetectionLoss(), DetectionLoss(regularizer=kind, regularizer_weight=1e-4))
        )
    assert held - plain == pytest.approx(2 * 1e-4 * total, rel=1e-3)
