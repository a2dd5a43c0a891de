"""The optimisers by name, and which parameters they decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from xraycls.errors import UsageError, unknown
from xraycls.training.keras_optimizers import KerasAdam, KerasSGD

# One kernel for all parameters, on every device that torch has it for.
_FUSED = ("adam", "adamw", "sgd")
_FACTOR = "factor"
"""Of the learning rate, in a parameter group."""

OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "adamax": (torch.optim.Adamax, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {}),
    "adadelta": (torch.optim.Adadelta, {}),
    "keras_sgd": (KerasSGD, {"momentum": 0.9}),
    "keras_adam": (KerasAdam, {}),
}


def build_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    weight_decay: float,
    given: Mapping[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """Returns an optimiser of the trainable parameters; biases and normalisation scales are not decayed.

    Args:
        name: one of :data:`OPTIMIZERS`.
        parameters: of the model.
        learning_rate: of the first step.
        weight_decay: of kernels.
        given: arguments of the optimiser instead of the defaults in :data:`OPTIMIZERS`.

    Raises:
        UsageError: no such optimiser, or one that hasn't such an option; names the nearest.
    """
    if name.lower() not in OPTIMIZERS:
        raise unknown("optimiser", name, OPTIMIZERS, "--optimizer")
    build, options = OPTIMIZERS[name.lower()]
    trainable = [p for p in parameters if p.requires_grad]
    fused = {"fused": True} if name.lower() in _FUSED else {}
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    settings = {"lr": learning_rate, **options, **(given or {}), **fused}
    return _built(name, build, [g for g in groups if g["params"]], settings)


def _built(
    name: str, build: Callable[..., torch.optim.Optimizer], parameters: list[Any], settings: Mapping[str, Any]
) -> torch.optim.Optimizer:
    try:
        return build(parameters, **settings)
    except TypeError as error:
        raise UsageError(f"The optimiser {name} doesn't take these settings ({error})") from error
    except ValueError as error:
        raise UsageError(f"The optimiser {name} refuses a setting: {error}") from error


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """An optimiser of torch with its settings.

    Attributes:
        name: one of :data:`OPTIMIZERS`.
        weight_decay: of kernels; biases and normalisation scales are not decayed.
        options: further arguments of the optimiser, such as ``momentum`` and ``nesterov``, instead of the defaults
            in :data:`OPTIMIZERS`.
        backbone: factor of the learning rate of the backbone, which may have learned already; above 0.
    """

    name: str = "sgd"
    weight_decay: float = 0.0
    options: Mapping[str, float | bool | tuple[float, float]] = field(default_factory=dict)
    backbone: float = 1.0

    def build(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        backbone: Iterable[nn.Parameter] = (),
    ) -> torch.optim.Optimizer:
        """Returns the optimiser of the trainable parameters.

        Args:
            parameters: of the network.
            learning_rate: of the first step.
            backbone: those of them whose learning rate has the factor ``backbone``.

        Raises:
            UsageError: no such optimiser, or one that hasn't such an option.
        """
        if self.name not in OPTIMIZERS:
            raise unknown("optimiser", self.name, OPTIMIZERS)
        if self.backbone != 1.0:
            return self._in_two_parts(list(parameters), learning_rate, {id(p) for p in backbone})
        if self.weight_decay:
            return build_optimizer(self.name, parameters, learning_rate, self.weight_decay, self.options)
        build, options = OPTIMIZERS[self.name]
        fused = {"fused": True} if self.name in _FUSED else {}
        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        return _built(self.name, build, trainable, {"lr": learning_rate, **options, **self.options, **fused})

    def _in_two_parts(
        self, parameters: list[nn.Parameter], learning_rate: float, slow: set[int]
    ) -> torch.optim.Optimizer:
        parts = [([p for p in parameters if (id(p) in slow) is own], own) for own in (True, False)]
        optimizers = [
            (build_optimizer(self.name, part, learning_rate, self.weight_decay, self.options), own)
            for part, own in parts
            if any(p.requires_grad for p in part)
        ]
        (joined, own), *others = optimizers
        for group in joined.param_groups:
            group[_FACTOR] = self.backbone if own else 1.0
        for other, own in others:
            for group in other.param_groups:
                joined.add_param_group({**group, _FACTOR: self.backbone if own else 1.0})
        return joined


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every parameter group, times its factor where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get(_FACTOR, 1.0)
