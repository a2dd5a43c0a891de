"""VGG with batch normalisation, by default with strided convolutions in the place of pooling."""

from __future__ import annotations

from torch import nn

from xraycls.models.backbones.base import Layout, Stage, letter
from xraycls.models.backbones.options import BodyOptions

_REPEATS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)


def vgg(layers: int, options: BodyOptions) -> Layout:
    """VGG-16 or 19 (Simonyan and Zisserman 2015), of stride 16."""
    body = Layout(f"vgg{layers}")
    inputs, theirs = 3, 0
    for number, (channels, repeats) in enumerate(zip(_CHANNELS, _REPEATS[layers], strict=True), start=1):
        paths = [f"block{number}.{index}" for index in range(repeats)]
        if options.pooling and number > 1:
            body.parts[f"pool{number - 1}"] = nn.MaxPool2d(2)
        for index, path in enumerate(paths):
            strided = index == 0 and number > 1 and not options.pooling
            body.parts[path] = options.unit(inputs, channels, 3, 2 if strided else 1)
            name = f"block_{number}{letter(index)}"
            body.layers.update({f"{path}.0": f"{name}_conv_1", f"{path}.1": f"{name}_bn_1"})
            body.known_as.update({f"features.{theirs + part}": f"{path}.{part}" for part in (0, 1)})
            inputs, theirs = channels, theirs + 3
        theirs += 1  # torchvision's pooling
        body.blocks[number] = tuple(paths)
        body.stages.append(Stage(f"block_{number}", paths[-1], 2 ** (number - 1), channels))
    return body
