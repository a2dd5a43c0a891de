"""SSD as TAO builds it: six maps of strides 8 to 256 on a backbone of stride 16."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xraycls.models.detection.backbones import Backbone
from xraycls.models.detection.backbones.base import Width

# Channels of the 1x1 and of the 3x3 convolution of each extra block; the first keeps the size, the others halve it.
_EXTRAS: dict[Width, tuple[tuple[int, int] | None, ...]] = {
    "large": ((512, 512), (256, 512), (128, 256), (128, 256), (128, 256)),
    "middle": ((256, 256), (128, 256), (64, 128), (64, 128), (64, 128)),
    "small": (None, (64, 128), (64, 128), (64, 128), (64, 128)),
}
_MAPS = 6
_EPSILON, _MOMENTUM = 1e-3, 0.01  # of batch normalisation in Keras, whose 0.99 is torch's 0.01


class SSD(nn.Module):
    """A single-shot detector (Liu et al. 2016).

    Args:
        backbone: gives maps of strides 8 and 16, or 8, 16 and 32.
        classes: without the background.
        boxes_a_cell: default boxes in a cell of each of the six maps.
        prediction_channels: of a 3x3 convolution before each pair of heads; 0 for none (DSSD's samples have 512).
    """

    def __init__(
        self, backbone: Backbone, classes: int, boxes_a_cell: Sequence[int], prediction_channels: int = 0
    ) -> None:
        super().__init__()
        self.classes = classes
        self.backbone = backbone.module
        self.extras = nn.ModuleDict()
        channels = list(backbone.channels[:-1])
        inputs = backbone.channels[-1]
        for number, block in enumerate(_EXTRAS[backbone.width][: _MAPS - len(channels)]):
            if block is not None:
                self.extras[f"ssd_expand_block_{number}"] = _extra(inputs, *block, stride=1 if number == 0 else 2)
                inputs = block[1]
            channels.append(inputs)
        self.heads = nn.ModuleDict()
        for number, (width, boxes) in enumerate(zip(channels, boxes_a_cell, strict=True)):
            self.heads[f"ssd_conf_{number}"] = nn.Conv2d(width, boxes * (classes + 1), 3, padding=1)
            self.heads[f"ssd_loc_{number}"] = nn.Conv2d(width, boxes * 4, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = _EPSILON, _MOMENTUM
        for module in (*self.extras.modules(), *self.heads.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The six feature maps of images [b, 3, h, w]."""
        given: list[Tensor] = self.backbone(images)
        *maps, last = given
        if len(maps) == 1 and "ssd_expand_block_0" not in self.extras:
            maps.append(last)
        for block in self.extras.values():
            last = block(last)
            maps.append(last)
        return maps

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [b, a, classes + 1], the background first, and offsets [b, a, 4], in the order of the anchors."""
        logits, offsets = [], []
        for number, features in enumerate(self.maps(images)):
            logits.append(_a_row_a_box(self.heads[f"ssd_conf_{number}"](features), self.classes + 1))
            offsets.append(_a_row_a_box(self.heads[f"ssd_loc_{number}"](features), 4))
        return torch.cat(logits, dim=1), torch.cat(offsets, dim=1)


def set_momentum(net: nn.Module, steps_an_epoch: int) -> None:
    """Let running statistics follow a short training: within half an epoch, but no slower than Keras' 0.99 lets them.

    TAO's 0.99 takes hundreds of steps, more than a few epochs of a small data set have.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = min(max(2.0 / steps_an_epoch, _MOMENTUM), 0.1)


def _extra(inputs: int, narrow: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, narrow, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(narrow, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _a_row_a_box(predicted: Tensor, values: int) -> Tensor:
    return predicted.permute(0, 2, 3, 1).reshape(len(predicted), -1, values)
