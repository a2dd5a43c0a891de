"""GoogLeNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xraycls.models.backbones.base import Layout, Stage
from xraycls.models.backbones.options import KERAS_EPSILON, BodyOptions

# Channels of the 1x1, of the reduction before the 3x3 and of the 3x3, of both for the 5x5, and after the pooling.
_BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_BRANCHES = {
    "branch1": "1x1",
    "branch2.0": "3x3_reduce",
    "branch2.1": "3x3",
    "branch3.0": "5x5_reduce",
    "branch3.1": "5x5",
    "branch4.1": "pool_proj",
}


def googlenet(options: BodyOptions) -> Layout:
    """GoogLeNet (Szegedy et al. 2015) without its classifier; names of parameters as in torchvision.

    By default it has no pooling before block 5a, as in TAO's detectors. TAO's other pools are 2x2 where the paper's
    and torchvision's are 3x3; TAO's 5x5 convolutions are those of the paper where torchvision has 3x3.
    """
    body = Layout("googlenet")
    stem = ((3, 64, 7, 2, "conv1"), (64, 64, 1, 1, "conv2_reduce"), (64, 192, 3, 1, "conv2"))
    for number, (inputs, outputs, kernel, stride, name) in enumerate(stem, start=1):
        path = f"conv{number}"
        body.parts[path] = _Unit(inputs, outputs, kernel, stride, options)
        body.layers.update({f"{path}.conv": name, f"{path}.bn": f"bn_{name}"})
        if number != 2:
            body.parts[f"maxpool{1 if number == 1 else 2}"] = _pool(options)
            body.stages.append(Stage(name, path, 2 * number if number == 1 else 4, outputs))
    body.blocks[0] = ("conv1", "conv2", "conv3")
    inputs, total = 192, 8
    for number, (name, channels) in enumerate(_BLOCKS.items(), start=1):
        if name == "4a":
            body.parts["maxpool3"] = _pool(options)
            total *= 2
        elif name == "5a" and options.last_stride == 2:
            body.parts["maxpool4"] = nn.MaxPool2d(2)
            total *= 2
        path = f"inception{name}"
        block = _Inception(inputs, channels, options)
        inputs = block.outputs
        body.parts[path] = block
        for branch, tao in _BRANCHES.items():
            layer = f"inception_{name}_{tao}"
            body.layers.update({f"{path}.{branch}.conv": layer, f"{path}.{branch}.bn": f"{layer}_bn"})
        body.stages.append(Stage(f"inception_{name}", path, total, inputs))
        body.blocks[number] = (path,)
    return body


def _pool(options: BodyOptions) -> nn.Module:
    return nn.MaxPool2d(2) if options.arithmetic == "tao" else nn.MaxPool2d(3, 2, ceil_mode=True)


class _Unit(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, options: BodyOptions) -> None:
        super().__init__()
        self.conv = options.conv(inputs, outputs, kernel, stride)
        self.bn = options.norm(outputs, torch_epsilon=KERAS_EPSILON)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.relu(self.bn(self.conv(images)))
        return made


class _Inception(nn.Module):
    """Four branches beside each other: 1x1, 3x3, 5x5 and pooling."""

    def __init__(self, inputs: int, channels: tuple[int, ...], options: BodyOptions) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pooled = channels
        kernel = 3 if options.arithmetic == "torchvision" else 5
        self.outputs = one + three + five + pooled
        self.branch1 = _Unit(inputs, one, 1, 1, options)
        self.branch2 = nn.Sequential(_Unit(inputs, reduce3, 1, 1, options), _Unit(reduce3, three, 3, 1, options))
        self.branch3 = nn.Sequential(_Unit(inputs, reduce5, 1, 1, options), _Unit(reduce5, five, kernel, 1, options))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), _Unit(inputs, pooled, 1, 1, options))

    def forward(self, images: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(images) for branch in branches], dim=1)
