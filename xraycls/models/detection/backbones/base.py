"""What a detector takes from a classification network: feature maps."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

Width = Literal["small", "middle", "large"]
"""How wide the layers are that a detector puts on top."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network without its classifier.

    Attributes:
        module: from images [b, 3, h, w] to a list of maps, strides 8 and 16, or 8, 16 and 32.
        channels: of these maps.
        width: of what comes on top.
        stages: names of the parts of ``module`` by the numbers that TAO's ``freeze_blocks`` gives them.
        known_as: names of layers in ``module`` by torchvision's, where the two have nothing in common.
    """

    module: nn.Module
    channels: tuple[int, ...]
    width: Width
    stages: Mapping[int, tuple[str, ...]]
    known_as: Mapping[str, str] = field(default_factory=dict)


def numbered(names: Iterable[str], first: int = 0) -> dict[int, tuple[str, ...]]:
    """Stages of one part each, numbered in a row."""
    return {number: (name,) for number, name in enumerate(names, first)}


class Tapped(nn.Module):
    """Stages in a row, of which some are also given out.

    Args:
        stages: by name, in the order of the data.
        taps: the stages whose output is a feature map.
    """

    def __init__(self, stages: dict[str, nn.Module], taps: Sequence[str]) -> None:
        super().__init__()
        for name, stage in stages.items():
            self.add_module(name, stage)
        self.order, self.taps = tuple(stages), frozenset(taps)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of the taps, in the order of the data."""
        maps = []
        for name in self.order:
            images = self.get_submodule(name)(images)
            if name in self.taps:
                maps.append(images)
        return maps


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def take_one_channel(backbone: Backbone) -> None:
    """Let a backbone take grey pictures: its first convolution sees the sum of what it saw of three channels."""
    name, first = next((n, m) for n, m in backbone.module.named_modules() if isinstance(m, nn.Conv2d))
    grey: nn.Conv2d = copy.deepcopy(first)
    grey.in_channels = 1
    grey.weight = nn.Parameter(first.weight.detach().sum(dim=1, keepdim=True))
    parent, _, child = name.rpartition(".")
    setattr(backbone.module.get_submodule(parent), child, grey)
