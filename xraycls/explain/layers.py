"""The layer whose output a class activation map weighs, and that output as maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import isqrt

import torch
from torch import nn

from xraycls.errors import UsageError
from xraycls.models.build import under

_NO_FEATURES = (nn.Identity, nn.Dropout, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.MaxPool2d)
_TOKEN_NORMS = ("norm1", "ln_1")  # the first norm of a transformer's block, in timm and in torchvision


@dataclass(frozen=True)
class CamLayer:
    """A layer whose output is a map of several positions.

    Attributes:
        name: module path in the network.
        channels_last: whether the channels are the last axis of its output, as in transformers.
        prefix_tokens: class and register tokens in front of those of the patches; None: as many as are left over
            from a square grid.
    """

    name: str
    channels_last: bool
    prefix_tokens: int | None

    def maps(self, output: torch.Tensor) -> torch.Tensor:
        """Maps [B, C, h, w] of this layer's output, or of another's in the same network."""
        # A copy, because some networks go on in place (DenseNet) and would change what was noted.
        return to_maps(output, self.prefix_tokens).clone()


def to_maps(output: torch.Tensor, prefix_tokens: int | None = None) -> torch.Tensor:
    """Maps [B, C, h, w] of an output [B, C, h, w] (CNN), [B, h, w, C] (Swin) or [B, tokens, C] (ViT).

    The shape alone tells them apart: images are square, and so are grids of positions.

    Raises:
        ValueError: the output is no grid.
    """
    if output.ndim == 4 and output.shape[2] == output.shape[3]:
        return output
    if output.ndim == 4 and output.shape[1] == output.shape[2]:
        return output.permute(0, 3, 1, 2)
    if output.ndim == 3:
        tokens = output.shape[1]
        prefix = tokens - isqrt(tokens) ** 2 if prefix_tokens is None else prefix_tokens
        side = isqrt(tokens - prefix)
        if side**2 == tokens - prefix:
            return output[:, prefix:].reshape(len(output), side, side, -1).permute(0, 3, 1, 2)
    raise ValueError(f"an output of shape {list(output.shape)} is no grid of positions")


def find_layer(net: nn.Module, image: torch.Tensor, preferred: str | None, head: str) -> CamLayer:
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
    prefix_tokens = getattr(net, "num_prefix_tokens", None)
    found: dict[str, CamLayer] = {}

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(module, _NO_FEATURES) or not isinstance(output, torch.Tensor) or len(output) != 1:
            return
        if output.ndim == 4 or (output.ndim == 3 and name.endswith(_TOKEN_NORMS)):
            try:
                maps = to_maps(output, prefix_tokens)
            except ValueError:
                return
            if maps.shape[-1] > 1:
                found[name] = CamLayer(name, maps.shape[1] != output.shape[1], prefix_tokens)

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
    last = list(found.values())[-1]
    return found.get(preferred, last) if preferred else last
