"""Keras' SGD and Adam where torch's differ: by them TAO's YOLOv4 and Faster R-CNN were trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class KerasSGD(torch.optim.Optimizer):
    """Gradient descent whose velocity holds the learning rate.

    ``v = momentum * v - lr * g``, then ``p += v``, or with Nesterov's look-ahead ``p += momentum * v - lr * g``. Where
    the rate changes, a step here goes on at the rate that it was taken with; torch multiplies all of the velocity by
    the present rate.

    Args:
        params: the parameters.
        lr: learning rate, 0 or more.
        momentum: 0 or more.
        nesterov: whether to look ahead.
        weight_decay: share of the parameters that is added to their gradients, as in torch.

    Example:
        >>> import torch
        >>> from xraycls.training.keras_optimizers import KerasSGD
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = KerasSGD([weight], lr=1.0, momentum=0.5)
        >>> for rate in (1.0, 0.1):
        ...     optimizer.param_groups[0]["lr"] = rate
        ...     weight.grad = torch.ones(1)
        ...     optimizer.step()
        >>> round(weight.item(), 4)
        -1.6
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if min(lr, momentum, weight_decay) < 0:
            raise ValueError(f"lr {lr:g}, momentum {momentum:g} and weight_decay {weight_decay:g} must be 0 or more")
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step along the gradients; returns what ``closure`` gives, the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moved = tuple(parameter for parameter in group["params"] if parameter.grad is not None)
            if moved:
                self._move(moved, group)
        return loss

    def _move(self, parameters: tuple[nn.Parameter, ...], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if "velocity" not in self.state[parameter]:
                self.state[parameter]["velocity"] = torch.zeros_like(parameter)
        gradients = tuple(parameter.grad for parameter in parameters if parameter.grad is not None)
        if group["weight_decay"]:
            gradients = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
        velocities = tuple(self.state[parameter]["velocity"] for parameter in parameters)
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, gradients, alpha=-group["lr"])
        if group["nesterov"]:
            torch._foreach_add_(parameters, velocities, alpha=group["momentum"])
            torch._foreach_add_(parameters, gradients, alpha=-group["lr"])
        else:
            torch._foreach_add_(parameters, velocities)


class KerasAdam(torch.optim.Adam):
    """Adam whose epsilon is added before the correction of the second moment.

    ``p -= lr * sqrt(1 - beta2 ** t) / (1 - beta1 ** t) * m / (sqrt(v) + eps)``, the form at the end of section 2 of
    Kingma and Ba 2015. In torch's, ``eps`` is added to the corrected root; that of step t is here
    ``eps / sqrt(1 - beta2 ** t)``. All parameters move in one kernel.

    Args:
        params: the parameters.
        lr: learning rate, 0 or more.
        betas: decay of the first and of the second moment, 0–1.
        eps: above 0.
        amsgrad: whether the greatest second moment so far counts.
        weight_decay: share of the parameters that is added to their gradients, as in torch.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, fused=True)
        for group in self.param_groups:
            group |= {"keras_eps": eps, "steps": 0}

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step along the gradients; returns what ``closure`` gives, the loss."""
        for group in self.param_groups:
            group["steps"] += 1
            group["eps"] = group["keras_eps"] / (1.0 - group["betas"][1] ** group["steps"]) ** 0.5
        loss: float | None = super().step(closure)
        return loss
