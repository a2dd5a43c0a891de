"""From an architecture to a network with a new head, before any weights are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from xraycls.errors import UsageError
from xraycls.models.zoo import Architecture

_DRAWING = frozenset(
    "normal_ uniform_ trunc_normal_ kaiming_normal_ kaiming_uniform_ xavier_normal_ xavier_uniform_ erfinv_".split()
)
"""Functions of ``torch.nn.init`` and of tensors that fill them with random numbers."""


class Undrawn(TorchFunctionMode):
    """Within it, modules are built without random weights: for networks whose every tensor is then loaded.

    Drawing the weights of a network takes longer than reading them.

    Example:
        >>> import torch
        >>> before = torch.get_rng_state()
        >>> with Undrawn():
        ...     layer = torch.nn.Linear(2, 3)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Returns the tensor as it is where it would be filled with random numbers; calls all other functions."""
        options = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWING:
            return args[0] if args else options["tensor"]
        return func(*args, **options)


def build_net(
    architecture: Architecture, classes: int, *, size: int | None = None, dropout: float | None = None
) -> nn.Module:
    """A network with random weights whose head has one output a class.

    The head starts from weights of N(0, 0.01²) and no bias, so that every class starts about equally likely and the
    first loss is near ``log(classes)``.

    Args:
        classes: number of classes.
        size: side of the square input in pixels; None for the architecture's own.
        dropout: probability of dropping a feature in front of the head, 0–1; None leaves what the network has.
            Where the network has no dropout there, it is added; the names of the weights stay the same.

    Raises:
        UsageError: the network can't take images of that size, or the dropout isn't a probability.
    """
    size = architecture.input_size if size is None else size
    if size < architecture.min_size:
        raise UsageError(
            f"{architecture.name} needs images of at least {architecture.min_size} pixels, but --size is {size}"
        )
    if dropout is not None and not 0 <= dropout < 1:
        raise UsageError(f"--dropout must be at least 0 and below 1, not {dropout}")
    build = _build_timm if architecture.library == "timm" else _build_torchvision
    net = build(architecture, classes, size, dropout)
    head = net.get_submodule(head_name(net, architecture))
    if isinstance(head, (nn.Linear, nn.Conv2d)):
        nn.init.normal_(head.weight, std=0.01)
        if head.bias is not None:
            nn.init.zeros_(head.bias)
    if size != architecture.input_size and not architecture.stages:
        _check_size(net, architecture, size)
    return net


def head_name(net: nn.Module, architecture: Architecture) -> str:
    """Module path of the last layer: the table's, else the last linear layer, else the last convolution."""
    if architecture.head is not None:
        return architecture.head
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    convolutions = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    name: str = (linear or convolutions)[-1]
    return name


def under(name: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a module path or the name of a tensor is one of the prefixes or lies below one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def timm_options(architecture: Architecture, size: int) -> dict[str, Any]:
    """What ``timm.create_model`` must be told of the input size: only transformers fix it when they are built."""
    import timm

    config: Any = timm.get_pretrained_cfg(architecture.builder)
    return {"img_size": size} if config.fixed_input_size and size != architecture.input_size else {}


def _build_torchvision(architecture: Architecture, classes: int, size: int, dropout: float | None) -> nn.Module:
    from xraycls.models.torchvision import models

    options: dict[str, bool] = {}
    if architecture.auxiliary:
        options = {"aux_logits": size >= architecture.auxiliary_size, "init_weights": True}
    net: nn.Module = models.get_model(architecture.builder, weights=None, num_classes=classes, **options)
    if architecture.channels != 3:
        _take_channels(net, architecture.channels)
    if dropout is not None:
        _set_dropout(net, head_name(net, architecture), dropout)
    return net


def _take_channels(net: nn.Module, channels: int) -> None:
    """Give a network a new first convolution for that many channels."""
    name, first = next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight)
    net.set_submodule(name, new)


def _build_timm(architecture: Architecture, classes: int, size: int, dropout: float | None) -> nn.Module:
    import timm

    options = timm_options(architecture, size)
    if dropout is not None:
        options["drop_rate"] = dropout
    try:
        net: nn.Module = timm.create_model(architecture.builder, num_classes=classes, **options)
    except (AssertionError, ValueError, RuntimeError, TypeError) as error:
        raise _unfit(architecture, size, error) from error
    return net


class _DropoutLinear(nn.Linear):
    """A linear layer that drops features on their way in; its weights keep the names of a plain one."""

    def __init__(self, linear: nn.Linear, dropout: float) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.dropout = dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(F.dropout(features, self.dropout, self.training))


def _set_dropout(net: nn.Module, head: str, dropout: float) -> None:
    siblings = net.get_submodule(head.rpartition(".")[0]).children()
    own = [module for module in siblings if isinstance(module, nn.Dropout)]
    for module in own:
        module.p = dropout
    linear = net.get_submodule(head)
    if not own and isinstance(linear, nn.Linear):
        net.set_submodule(head, _DropoutLinear(linear, dropout))


def _check_size(net: nn.Module, architecture: Architecture, size: int) -> None:
    """Only the network itself knows which sizes its windows and poolings divide, so it is tried."""
    training = net.training
    try:
        with torch.inference_mode():
            net.eval()(torch.zeros(1, architecture.channels, size, size))
    except (AssertionError, ValueError, RuntimeError) as error:
        raise _unfit(architecture, size, error) from error
    net.train(training)


def _unfit(architecture: Architecture, size: int, error: Exception) -> UsageError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UsageError(
        f"{architecture.name} can't take images of {size} pixels ({reason})",
        f"Leave --size out to use its own, {architecture.input_size}",
    )
