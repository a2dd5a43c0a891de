"""VGG with batch normalisation, strided convolutions in the place of pooling."""

from __future__ import annotations

from torch import nn

from xraycls.models.detection.backbones.base import Backbone, Tapped, convolution, numbered

_REPEATS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)


def vgg(layers: int) -> Backbone:
    """VGG-16 or 19 (Simonyan and Zisserman 2015), stride 16; the maps are those of the last two blocks."""
    stages: dict[str, nn.Module] = {}
    known_as: dict[str, str] = {}
    inputs, place = 3, 0
    for number, (channels, repeats) in enumerate(zip(_CHANNELS, _REPEATS[layers], strict=True), start=1):
        convolutions = []
        for index in range(repeats):
            convolutions.append(convolution(inputs, channels, 3, stride=2 if index == 0 and number > 1 else 1))
            inputs = channels
            for part in range(2):  # convolution and normalisation; after them an activation
                known_as[f"features.{place + part}"] = f"block{number}.{index}.{part}"
            place += 3
        place += 1  # torchvision's pooling
        stages[f"block{number}"] = nn.Sequential(*convolutions)
    return Backbone(Tapped(stages, ("block4", "block5")), (512, 512), "large", numbered(stages, first=1), known_as)
