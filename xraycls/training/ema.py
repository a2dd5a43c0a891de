"""A moving average of weights whose decay rises at first (``model_ema`` of TAO's YOLOv4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

_Tensors = tuple[Tensor, ...] | list[Tensor]


def moving_average(model: nn.Module, decay: float, warmup: float = 0.0) -> AveragedModel:
    """Returns the moving average of a model's weights and statistics; ``update_parameters`` after every step.

    After n steps the decay is ``decay * (1 - exp(-n / warmup))``, as in TAO with a warm-up of 2000 steps: at first the
    average follows the weights closely.

    Args:
        model: whose weights are the average before the first step, or with no warm-up after it.
        decay: 0–1, exclusive.
        warmup: steps; 0 for the same decay from the first step.

    Example:
        >>> import torch
        >>> from xraycls.training.ema import moving_average
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> average = moving_average(model, 0.9, warmup=1.0)
        >>> with torch.no_grad():
        ...     before = model.weight.item()
        ...     _ = model.weight.add_(1.0)
        >>> average.update_parameters(model)
        >>> round(average.module.weight.item() - before, 4)
        0.4311
    """

    @torch.no_grad()
    def follow(average: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        share = decay * -math.expm1(-int(count) / warmup) if warmup else decay
        for old, new in zip(average, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new.to(old.dtype), 1.0 - share)
            else:
                old.copy_(new)

    averaged = AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
    if warmup:  # the weights before the first step count; else the first step would replace them
        averaged.n_averaged.fill_(1)
    return averaged
