"""The layer whose output a class activation map weighs, and that output as maps."""

from __future__ import annotations

from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import nn

from xraycls.errors import UsageError
from xraycls.models.build import under

_NO_FEATURES = (nn.Identity, nn.Dropout, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.MaxPool2d)
_TOKEN_NORMS = ("norm1", "ln_1")  # the first norm of a transformer's block, in timm and in torchvision


def find_layer(net: nn.Module, image: torch.Tensor, preferred: str | None, head: str) -> str:
    """The layer for class activation maps: the preferred one, unless its map has a single position.

    Otherwise it is the last layer to finish whose output is a map of several positions: the last convolution block
    of a CNN, the first norm of the last block of a transformer (whose patch tokens still reach the class there).

    Args:
        net: in evaluation mode.
        image: float [1, 3, S, S], as the network takes it.
        preferred: module path; None where the architecture names none.
        head: module path of the last layer, whose section of the network holds no features.

    Raises:
        UsageError: no layer keeps several positions.
    """
    found: list[str] = []

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(module, _NO_FEATURES) or not isinstance(output, torch.Tensor) or len(output) != 1:
            return
        if output.ndim == 4 or (output.ndim == 3 and name.endswith(_TOKEN_NORMS)):
            try:
                side = to_maps(output, prefix_tokens(net)).shape[-1]
            except ValueError:
                return
            if side > 1:
                found.append(name)

    section = head.partition(".")[0]
    hooks = [
        module.register_forward_hook(partial(note, name))
        for name, module in net.named_modules()
        if name and not under(name, (section,))
    ]
    try:
        with torch.no_grad():
            net(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise UsageError(f"Images of {image.shape[-1]} pixels leave no map to explain", "Train with a larger --size")
    return preferred if preferred in found else found[-1]


class MapLayer(nn.Module):
    """A layer, with its output shown as maps [B, C, h, w] to who hooks or replaces ``maps``; the values stay.

    Args:
        layer: any layer whose output is a grid of positions; see :func:`to_maps`.
        prefix: class and register tokens in front of those of the patches; None where that is not known.
    """

    def __init__(self, layer: nn.Module, prefix: int | None) -> None:
        super().__init__()
        self.layer = layer
        self.prefix = prefix
        self.maps = nn.Identity()

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """What the layer gives, in its own shape."""
        output = self.layer(*args, **kwargs)
        return from_maps(self.maps(to_maps(output, self.prefix)), output)


def prefix_tokens(net: nn.Module) -> int | None:
    """How many tokens a transformer of timm has in front of those of the patches; None for other networks."""
    number: int | None = getattr(net, "num_prefix_tokens", None)
    return number


def to_maps(output: torch.Tensor, prefix: int | None = None) -> torch.Tensor:
    """Maps [B, C, h, w] of an output [B, C, h, w] (CNN), [B, h, w, C] (Swin) or [B, tokens, C] (ViT).

    The shape alone tells them apart: images are square, and so are grids of positions.

    Args:
        prefix: tokens in front of those of the patches; None: as many as a square grid leaves over.

    Raises:
        ValueError: the output is no grid.
    """
    if output.ndim == 4 and output.shape[2] == output.shape[3]:
        return output
    if output.ndim == 4 and output.shape[1] == output.shape[2]:
        return output.permute(0, 3, 1, 2)
    if output.ndim == 3:
        tokens = output.shape[1]
        prefix = tokens - isqrt(tokens) ** 2 if prefix is None else prefix
        side = isqrt(tokens - prefix)
        if side**2 == tokens - prefix:
            return output[:, prefix:].reshape(len(output), side, side, -1).permute(0, 3, 1, 2)
    raise ValueError(f"an output of shape {list(output.shape)} is no grid of positions")


def from_maps(maps: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`to_maps`, in the shape of ``output``, whose tokens in front of the patches are kept."""
    if output.ndim == 3:
        patches = maps.flatten(2).transpose(1, 2)
        return torch.cat([output[:, : output.shape[1] - patches.shape[1]], patches], dim=1)
    if output.shape == maps.shape:
        return maps.clone()  # some networks go on in place (DenseNet), which must not change what was noted
    return maps.permute(0, 2, 3, 1)
