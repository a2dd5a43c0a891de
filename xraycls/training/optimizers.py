"""The optimisers by name, and which parameters they decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from xraycls.errors import unknown

# One kernel for all parameters, on every device that torch has it for.
_FUSED = ("adam", "adamw", "sgd")

OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "adamax": (torch.optim.Adamax, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.9}),
    "adagrad": (torch.optim.Adagrad, {}),
    "adadelta": (torch.optim.Adadelta, {}),
}


def build_optimizer(
    name: str, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimiser over the trainable parameters; biases and normalisation scales are not decayed.

    Raises:
        UsageError: no such optimiser; names the nearest.
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
    return build([g for g in groups if g["params"]], lr=learning_rate, **options, **fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
