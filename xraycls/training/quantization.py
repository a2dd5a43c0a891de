"""Training that simulates the rounding of 8 bits (quantisation-aware training, QAT)."""

from __future__ import annotations

import torch

from xraycls.models.classifier import Classifier
from xraycls.models.detection.base import Detector
from xraycls.models.quantization import plan_quantization, quantize, unquantized


def simulate_8_bits(model: Classifier | Detector, picture: torch.Tensor) -> str:
    """Put quantisers into a model that is to be trained, in place; their ranges follow what they see.

    Args:
        model: with its weights, pruned or not.
        picture: uint8 [1, 1, H, W] on the model's device, to see what goes where.

    Returns:
        A sentence for the log: what is rounded, and what is left in floating point.
    """
    mode = model.training
    model.eval()
    plan = plan_quantization(model.net, lambda: model(picture))
    quantize(model.net, plan)
    model.train(mode)
    rest = unquantized(model.net)
    said = f"8 bits are simulated (QAT): {len(plan.layers)} layers, {len(plan.inputs) + len(plan.outputs)} activations"
    return f"{said}; {len(rest)} layers stay in floating point, the first being {rest[0]}." if rest else f"{said}."
