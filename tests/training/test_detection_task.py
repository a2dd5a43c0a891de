"""What the loss of a detector adds to that of anchors."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.steps import synthetic_objects
from tests.models.detectors import small_detector
from xraycls.models.pruning_plan import is_depthwise
from xraycls.training.detection import Detection, Regularizer


@pytest.mark.parametrize("kind", ["L1", "L2"])
@pytest.mark.parametrize("backbone", ["resnet10", "mobilenet_v2"])
def test_kernels_are_held_down_but_for_depthwise_ones(kind, backbone):
    """Once a picture, as the loop divides by pictures; those that could not be read add nothing."""
    batch = replace(synthetic_objects(3, 64), weights=torch.tensor([1.0, 0.0, 1.0]))
    detector = small_detector(backbone)
    detector.freeze((0,), statistics=False)  # frozen kernels count, as in TAO
    kernels = [m.weight for m in detector.modules() if isinstance(m, nn.Conv2d) and not is_depthwise(m)]
    expected = sum(float((k.abs() if kind == "L1" else k**2).detach().sum()) for k in kernels)
    with torch.inference_mode():
        plain, held = (
            float(Detection(regularizer, lambda *_: {}, lambda *_: None).loss(detector, batch))
            for regularizer in (Regularizer(), Regularizer(kind, 1e-4))
        )
    assert held - plain == pytest.approx(2 * 1e-4 * expected, rel=1e-3)
