"""Darknet-19 and 53, the networks of YOLOv2 and v3."""

from __future__ import annotations

from torch import Tensor, nn

from xraycls.models.backbones.base import Layout, Stage
from xraycls.models.backbones.options import BodyOptions, he_normal

# Of each stage the kernels of its convolutions; a 1x1 halves the channels that the 3x3 brings back.
_KERNELS_19 = ((3,), (3,), (3, 1, 3), (3, 1, 3), (3, 1, 3, 1, 3), (3, 1, 3, 1, 3))
_BLOCKS_53 = (1, 2, 8, 8, 4)


def darknet19(options: BodyOptions) -> Layout:
    """Darknet-19 (Redmon and Farhadi 2017) without its classifier; a stride given for the last stage is that of its
    first convolution, in the place of pooling."""
    body = Layout("darknet19")
    inputs = 3
    for number, kernels in enumerate(_KERNELS_19):
        channels, pooled = 32 * 2**number, number > 0 and (number < 5 or options.last_stride is None)
        if pooled:
            body.parts[f"stage{number}.0"] = nn.MaxPool2d(2)
        for index, kernel in enumerate(kernels, start=1 if number else 0):
            outputs = channels if kernel == 3 else channels // 2
            stride = options.last_stride or 1 if number == 5 and index == 1 else 1
            path, name = f"stage{number}.{index}", f"b{number}_conv{index}" if number else "conv1"
            conv, norm, act = options.unit(inputs, outputs, kernel, stride, "leaky_relu")
            body.parts.update({f"{path}.0": conv, f"{path}.1": norm, f"{path}.2": act})
            body.layers.update({f"{path}.0": name, f"{path}.1": f"{name}_bn"})
            inputs = outputs
        total = 2**number if number < 5 else 16 * (options.last_stride or 2)
        if number:
            body.stages.append(Stage(name, f"{path}.0", total, channels, inside=True))
        body.stages.append(Stage(f"b{number}" if number else "conv1", f"{path}.2", total, channels))
        body.blocks[number] = tuple(p for p in body.parts if p.startswith(f"stage{number}."))
    return body


def darknet53(options: BodyOptions) -> Layout:
    """Darknet-53 (Redmon and Farhadi 2018) without its classifier; names of parameters as in timm."""
    body = Layout("darknet53")
    body.parts["stem.conv1"] = _Unit(3, 32, 3, 1, options)
    body.layers.update({"stem.conv1.conv": "conv1", "stem.conv1.bn": "conv1_bn"})
    body.stages.append(Stage("conv1", "stem.conv1", 1, 32))
    body.blocks[0] = ("stem.conv1",)
    for number, count in enumerate(_BLOCKS_53, start=1):
        channels, prefix = 32 * 2**number, f"stages_{number - 1}"
        stride = (options.last_stride or 2) if number == 5 else 2
        total = body.stages[-1].stride * stride
        body.parts[f"{prefix}.conv_down"] = _Unit(channels // 2, channels, 3, stride, options)
        named = {f"{prefix}.conv_down": f"conv{number + 1}"}
        for index in range(count):
            path = f"{prefix}.blocks.{index}"
            body.parts[path] = _Residual(channels, options)
            named |= {f"{path}.conv{n}": f"b{number}_conv{index + 1}_{n}" for n in (1, 2)}
            if index < count - 1:
                body.stages.append(Stage(f"b{number}_add{index + 1}", path, total, channels, inside=True))
        body.stages.append(Stage(f"b{number}", path, total, channels))
        body.layers.update({f"{path}.conv": name for path, name in named.items()})
        body.layers.update({f"{path}.bn": f"{name}_bn" for path, name in named.items()})
        body.blocks[number] = tuple(p for p in body.parts if p.startswith(f"{prefix}."))
    for part in body.parts.values():
        he_normal(part)
    return body


class _Unit(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, options: BodyOptions) -> None:
        super().__init__()
        self.conv = options.conv(inputs, outputs, kernel, stride)
        self.bn = options.norm(outputs)
        self.act = options.act("leaky_relu")

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.act(self.bn(self.conv(images)))
        return made


class _Residual(nn.Module):
    def __init__(self, channels: int, options: BodyOptions) -> None:
        super().__init__()
        self.conv1 = _Unit(channels, channels // 2, 1, 1, options)
        self.conv2 = _Unit(channels // 2, channels, 3, 1, options)

    def forward(self, images: Tensor) -> Tensor:
        total: Tensor = images + self.conv2(self.conv1(images))
        return total
