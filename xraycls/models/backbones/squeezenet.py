"""SqueezeNet 1.0."""

from __future__ import annotations

from torch import nn

from xraycls.models.backbones.base import Layout, Stage
from xraycls.models.backbones.options import BodyOptions, he_normal
from xraycls.models.torchvision import models

# Of each fire module the channels of what squeezes and of each half of what expands; then its position in torchvision.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_POSITIONS = (3, 4, 5, 7, 8, 9, 10, 12)
_POOLS = (2, 6, 11)


def squeezenet(options: BodyOptions) -> Layout:
    """SqueezeNet 1.0 (Iandola et al. 2016) up to its ninth fire module, padded so that sizes halve exactly; it has no
    batch normalisation, and nothing in it depends on the arithmetic."""
    body = Layout("squeezenet")
    parts: dict[int, nn.Module] = {0: nn.Conv2d(3, 96, 7, 2, 3), 1: nn.ReLU(inplace=True)}
    parts |= {index: nn.MaxPool2d(3, 2, padding=1) for index in _POOLS}
    body.layers["network.0"] = "conv1"
    body.stages.append(Stage("conv1", "network.1", 2, 96))
    body.blocks[0] = ("network.0",)
    inputs = 96
    for number, (index, (squeezed, expanded)) in enumerate(zip(_POSITIONS, _FIRES, strict=True), start=2):
        parts[index] = models.squeezenet.Fire(inputs, squeezed, expanded, expanded)
        path, inputs = f"network.{index}", 2 * expanded
        body.layers[f"{path}.squeeze"] = f"fire{number}_squeeze_conv"
        body.layers.update({f"{path}.expand{k}": f"fire{number}_expand_conv{k}" for k in ("1x1", "3x3")})
        body.stages.append(Stage(f"fire{number}", path, 2 * 2 ** sum(pool < index for pool in _POOLS), inputs))
        body.blocks[number - 1] = (path,)
    body.parts.update({f"network.{index}": parts[index] for index in sorted(parts)})
    for part in body.parts.values():
        he_normal(part)
    return body
