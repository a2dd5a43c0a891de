"""ResNet, as TAO's detectors have it: without max-pooling, of stride 16, with a projection in every block."""

from __future__ import annotations

from torch import Tensor, nn

from xraycls.models.backbones.base import Layout, Stage, letter, numbered
from xraycls.models.backbones.options import BodyOptions

_COUNTS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}
_DEEP = (50, 101)
"""Those of bottlenecks."""


def resnet(layers: int, options: BodyOptions) -> Layout:
    """ResNet-10, 18, 34, 50 or 101 (He et al. 2016); names of parameters as in torchvision.

    With pooling it is the network of the paper, of stride 32. In TAO the stride of a bottleneck sits in its first 1x1
    convolution, in torchvision in the 3x3.
    """
    body = Layout(f"resnet{layers}", blocks=numbered(["conv1", *(f"layer{n}" for n in range(1, 5))]))
    body.parts.update(conv1=options.conv(3, 64, 7, 2), bn1=options.norm(64), relu=nn.ReLU(inplace=True))
    body.layers.update(conv1="conv1", bn1="bn_conv1")
    body.stages.append(Stage("conv1", "relu", 2, 64))
    last = options.last_stride or (2 if options.pooling else 1)
    strides = (1 if options.pooling else 2, 2, 2, last)
    if options.pooling:
        body.parts["maxpool"] = nn.MaxPool2d(3, 2, padding=1)
    channels, total = 64, 4 if options.pooling else 2
    for number, (stride, count) in enumerate(zip(strides, _COUNTS[layers], strict=True), start=1):
        planes, total = 32 * 2**number, total * stride
        for index in range(count):
            path = f"layer{number}.{index}"
            block = _Block(channels, planes, stride if index == 0 else 1, layers in _DEEP, options, first=index == 0)
            channels = block.outputs
            body.parts[path] = block
            body.layers.update({f"{path}.{k}": v for k, v in _names(block, f"block_{number}{letter(index)}_").items()})
        if layers in _DEEP:
            name = f"block_{number}{letter(_COUNTS[layers][number - 1] - 1)}_relu_2"
            body.stages.append(Stage(name, path, total, planes, inside=True))
        body.stages.append(Stage(f"block_{number}", path, total, channels))
    body.blocks.update({n: tuple(p for p in body.parts if p.startswith(f"layer{n}.")) for n in range(1, 5)})
    return body


def _names(block: nn.Module, prefix: str) -> dict[str, str]:
    """Names of TAO's layers by those of a block's modules."""
    names = {"downsample.0": f"{prefix}conv_shortcut", "downsample.1": f"{prefix}bn_shortcut"}
    names |= {f"{kind}{n}": f"{prefix}{tao}_{n}" for kind, tao in (("conv", "conv"), ("bn", "bn")) for n in (1, 2, 3)}
    modules = dict(block.named_modules())
    return {name: tao for name, tao in names.items() if name in modules}


class _Block(nn.Module):
    """A residual block of two 3x3 convolutions, or a bottleneck of three."""

    def __init__(self, inputs: int, planes: int, stride: int, deep: bool, options: BodyOptions, *, first: bool) -> None:
        super().__init__()
        self.deep = deep
        self.outputs = 4 * planes if deep else planes
        early = stride if not deep or options.arithmetic == "tao" else 1
        self.conv1 = options.conv(inputs, planes, 1 if deep else 3, early)
        self.bn1 = options.norm(planes)
        self.conv2 = options.conv(planes, planes, 3, stride // early)
        self.bn2 = options.norm(planes)
        if deep:
            self.conv3 = options.conv(planes, self.outputs, 1)
            self.bn3 = options.norm(self.outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if options.all_projections or first:
            projection = options.conv(inputs, self.outputs, 1, stride)
            self.downsample = nn.Sequential(projection, options.norm(self.outputs))

    def forward(self, images: Tensor) -> Tensor:
        return self.with_inner(images)[0]

    def with_inner(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the output and, of a bottleneck, the map after the second activation."""
        inner: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(images)))))
        outer = inner
        if self.deep:
            inner = self.relu(inner)
            outer = self.bn3(self.conv3(inner))
        shortcut: Tensor = images if self.downsample is None else self.downsample(images)
        total: Tensor = self.relu(outer + shortcut)
        return total, inner
