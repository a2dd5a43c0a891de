"""What pruning left of a network, as data: enough to build the narrower network anew and to load its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xraycls.models.build import under

Layer = nn.Conv2d | nn.Linear | _BatchNorm
Widths = tuple[int | None, int | None]
"""Output and input channels of a layer; None where pruning left them as they were built."""


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """The widths of the layers that pruning made narrower.

    Attributes:
        layers: module path → its widths. JSON can hold it as it is; :meth:`parse` takes it back.
    """

    layers: Mapping[str, Widths]

    @classmethod
    def parse(cls, layers: Mapping[str, Widths]) -> PrunePlan:
        """The plan that JSON held; raises ValueError or TypeError when it isn't one."""
        return cls({name: (_width(outputs), _width(inputs)) for name, (outputs, inputs) in dict(layers).items()})

    def without(self, prefixes: tuple[str, ...]) -> PrunePlan:
        """The same plan less the layers at or below some module paths."""
        return PrunePlan({name: left for name, left in self.layers.items() if not under(name, prefixes)})

    def then(self, later: PrunePlan) -> PrunePlan:
        """One plan for two prunings in a row."""
        joined = dict(self.layers)
        for name, (outputs, inputs) in later.layers.items():
            first_outputs, first_inputs = joined.get(name, (None, None))
            joined[name] = (outputs or first_outputs, inputs or first_inputs)
        return PrunePlan(joined)


def apply_plan(model: nn.Module, plan: PrunePlan) -> None:
    """Make a freshly built network as narrow as the pruned one, in place; its weights are then the first channels'.

    Raises:
        ValueError: the plan is that of another network; nothing is changed then.
    """
    layers = {name: layer for name, layer in model.named_modules() if can_narrow(layer)}
    for name, wanted in plan.layers.items():
        if name not in layers:
            raise ValueError(f"there is no layer {name} that could be pruned")
        there = widths(layers[name])
        if any(want is not None and want > (have or 0) for want, have in zip(wanted, there, strict=True)):
            raise ValueError(f"{name} is narrower than its plan")
    for name, wanted in plan.layers.items():
        keep_channels(layers[name], *(None if want is None else torch.arange(want) for want in wanted))


def plan_between(model: nn.Module, tensors: Mapping[str, Tensor]) -> PrunePlan:
    """The plan that gives a network the shapes that the tensors of its pruned self have.

    Args:
        model: the network before pruning.
        tensors: the state dict after it.
    """
    layers: dict[str, Widths] = {}
    for name, layer in model.named_modules():
        after = tensors.get(f"{name}.weight")
        if can_narrow(layer) and after is not None and after.shape != layer.weight.shape:
            (outputs, inputs), (left, right) = widths(layer), widths(layer, after)
            layers[name] = (None if left == outputs else left, None if right == inputs else right)
    return PrunePlan(layers)


def can_narrow(layer: nn.Module) -> TypeGuard[Layer]:
    """Whether channels of a layer can be taken out one by one: not where a convolution has groups of several."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 or is_depthwise(layer)
    return isinstance(layer, nn.Linear) or (isinstance(layer, _BatchNorm) and layer.affine)


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a layer is a convolution of one filter a channel."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


def widths(layer: Layer, weight: Tensor | None = None) -> Widths:
    """Output channels of a layer, and its input channels; None for the latter where they are the output channels.

    Args:
        layer: what the weight belongs to.
        weight: another weight of it; None for its own.
    """
    weight = layer.weight if weight is None else weight
    own_inputs = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    return len(weight), weight.shape[1] if own_inputs else None


def keep_channels(layer: Layer, outputs: Tensor | None = None, inputs: Tensor | None = None) -> None:
    """Keep some channels of a layer that :func:`can_narrow`, in place.

    Args:
        layer: to narrow.
        outputs: int64, the output channels to keep, ascending; None keeps all. Those of a depthwise convolution and
            of a batch normalisation are their inputs as well.
        inputs: likewise the input channels of the others.
    """
    if outputs is not None:
        depthwise = is_depthwise(layer)
        for name in ("weight", "bias", "running_mean", "running_var"):
            _select(layer, name, 0, outputs)
        width = len(outputs)
        if isinstance(layer, _BatchNorm):
            layer.num_features = width
        elif isinstance(layer, nn.Linear):
            layer.out_features = width
        else:
            layer.out_channels = width
            if depthwise:
                layer.in_channels = layer.groups = width
    if inputs is not None:
        _select(layer, "weight", 1, inputs)
        setattr(layer, "in_features" if isinstance(layer, nn.Linear) else "in_channels", len(inputs))


def _select(layer: nn.Module, name: str, dimension: int, kept: Tensor) -> None:
    tensor: Tensor | None = getattr(layer, name, None)
    if tensor is None:
        return
    chosen = tensor.detach().index_select(dimension, kept.to(tensor.device))
    parameter = isinstance(tensor, nn.Parameter)
    setattr(layer, name, nn.Parameter(chosen, tensor.requires_grad) if parameter else chosen)


def _width(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ValueError(f"{value!r} is no number of channels")
    return value
