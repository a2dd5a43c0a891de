"""Layers that 8 bits hurt most: they stay in floating point, and the others are quantised.

A few layers, such as the first depthwise convolution of a MobileNet, whose channels differ by orders of magnitude, may
make most of the error of a network (Wu et al., arXiv 2004.09602, section 5.2). Which they are is measured on
calibration pictures: no labels are needed, and nothing is chosen on validation or test images.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xraycls.models.classifier import Classifier
from xraycls.models.detection.base import Detector
from xraycls.models.quantization import QuantizationPlan, plan_of, quantize, quantizers_of, remove_quantization

logger = logging.getLogger(__name__)

NOISE = 0.01
"""The most that rounding may add to the outputs of the network, a share of their variance: 20 dB."""

MOST = 0.25
"""The most of a network that may stay in floating point. Where more of it is hurt, leaving some out doesn't help."""

_SINGLE = 0.05  # of it, that any one layer may add, however many there are
_PICTURES, _BATCH = 16, 8


def without_sensitive_layers(model: Classifier | Detector, pictures: npt.NDArray[np.uint8]) -> Classifier | Detector:
    """Returns a model of which the layers that rounding hurts most compute in floating point.

    Groups of layers are quantised alone. One that adds no more than its part of :data:`NOISE` stays quantised; any
    other is divided, down to the single layer with what it takes. A network that is well as it is isn't divided.

    Args:
        model: calibrated, on the CPU, in evaluation mode.
        pictures: uint8 [n, 1, H, W], some of which are looked at.
    """
    search = _Search.of(model, pictures)
    units = units_of(plan_of(model.net))
    sensitive = search.sensitive(units, len(units))
    if len(sensitive) > MOST * len(units):
        logger.warning(
            "Rounding hurts %d of %d parts of the network, so all are quantised: is it trained?",
            len(sensitive),
            len(units),
        )
        return model
    if not sensitive:
        return model
    return search.quantized(joined(unit for unit in units if unit not in sensitive))


def units_of(plan: QuantizationPlan) -> list[QuantizationPlan]:
    """Returns the parts of a plan that can be left out alone: layers with the input that they take, and outputs."""
    units = {path: QuantizationPlan(inputs=(path,)) for path in plan.inputs}
    for layer in plan.layers:
        owner = max((path for path in units if f"{layer}.".startswith(f"{path}.")), key=len, default=layer)
        units[owner] = joined([units.get(owner, QuantizationPlan()), QuantizationPlan(layers=(layer,))])
    return [*units.values(), *(QuantizationPlan(outputs=(path,)) for path in plan.outputs)]


def joined(plans: Iterable[QuantizationPlan]) -> QuantizationPlan:
    """Returns several plans as one."""
    parts = [(each.layers, each.inputs, each.outputs) for each in plans]
    layers, inputs, outputs = (tuple(path for part in parts for path in part[kind]) for kind in range(3))
    return QuantizationPlan(layers, inputs, outputs)


@dataclass(frozen=True, slots=True)
class _Search:
    """Measures what rounding adds.

    Attributes:
        plain: the network in floating point.
        limits: of its quantisers by path.
        pictures: uint8 [n, 1, H, W].
        outputs: of the network in floating point.
    """

    plain: Classifier | Detector
    limits: dict[str, Tensor]
    pictures: Tensor
    outputs: list[Tensor]

    @classmethod
    def of(cls, model: Classifier | Detector, pictures: npt.NDArray[np.uint8]) -> _Search:
        rows = np.unique(np.linspace(0, len(pictures) - 1, _PICTURES).round().astype(int))
        chosen = torch.from_numpy(pictures[rows])
        plain = copy.deepcopy(model)
        remove_quantization(plain.net)
        limits = {path: quantizer.limit for path, quantizer in quantizers_of(model.net).items()}
        return cls(plain, limits, chosen, _outputs(plain, chosen))

    def quantized(self, plan: QuantizationPlan) -> Classifier | Detector:
        """The network with the parts of a plan in 8 bits."""
        made = copy.deepcopy(self.plain)
        quantize(made.net, plan)
        for path, quantizer in quantizers_of(made.net).items():
            quantizer.limit.copy_(self.limits[path])
        return made

    def noise(self, units: Sequence[QuantizationPlan]) -> float:
        """What units add to the outputs, a share of their variance; the mean over outputs."""
        found = _outputs(self.quantized(joined(units)), self.pictures)
        pairs = zip(found, self.outputs, strict=True)
        shares = [float((ours - true).square().mean() / true.var().clamp_min(1e-12)) for ours, true in pairs]
        return sum(shares) / len(shares)

    def sensitive(self, units: Sequence[QuantizationPlan], of: int) -> list[QuantizationPlan]:
        """Those of some units that have to stay in floating point, ``of`` being the number of all."""
        if not units or self.noise(units) <= NOISE * max(len(units) / of, _SINGLE):
            return []
        if len(units) == 1:
            return [*units]
        half = len(units) // 2
        return self.sensitive(units[:half], of) + self.sensitive(units[half:], of)


def _outputs(model: Classifier | Detector, pictures: Tensor) -> list[Tensor]:
    """What all layers of a network give, without proposals that would be others after rounding."""
    with torch.no_grad():
        batches = (pictures[first : first + _BATCH] for first in range(0, len(pictures), _BATCH))
        found = [model.net(model.normalized(each)) for each in batches]
    parts = [each if isinstance(each, tuple) else (each,) for each in found]
    return [torch.cat([part.flatten(1) for part in each]) for each in zip(*parts, strict=True)]
