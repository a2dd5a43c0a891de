"""ResNet as TAO's detectors have it: stride 16, no max-pool, a projection in every block."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from xraycls.models.detection.backbones.base import Backbone, Tapped, Width, numbered

_BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    10: (BasicBlock, (1, 1, 1, 1)),
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
_PLANES, _STRIDES = (64, 128, 256, 512), (2, 2, 2, 1)


def resnet(layers: int) -> Backbone:
    """ResNet-10, 18, 34, 50 or 101 (He et al. 2016); names of parameters as in torchvision.

    The maps are those of ``layer2`` and ``layer4``.
    """
    block, counts = _BLOCKS[layers]
    stages: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        "bn1": nn.BatchNorm2d(64),
        "relu": nn.ReLU(inplace=True),
    }
    channels = 64
    for number, (planes, stride, count) in enumerate(zip(_PLANES, _STRIDES, counts, strict=True), start=1):
        blocks = []
        for index in range(count):
            blocks.append(_projected(block, channels, planes, stride if index == 0 else 1))
            channels = planes * block.expansion
        stages[f"layer{number}"] = nn.Sequential(*blocks)
    maps = (128 * block.expansion, 512 * block.expansion)
    width: Width = "small" if layers == 10 else "middle" if block is BasicBlock else "large"
    freezable = numbered(("conv1", "layer1", "layer2", "layer3", "layer4"))
    return Backbone(Tapped(stages, ("layer2", "layer4")), maps, width, freezable)


def _projected(block: type[BasicBlock] | type[Bottleneck], inputs: int, planes: int, stride: int) -> nn.Module:
    outputs = planes * block.expansion
    projection = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    made: nn.Module = block(inputs, planes, stride, projection)
    return made
