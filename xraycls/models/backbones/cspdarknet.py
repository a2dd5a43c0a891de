"""CSPDarknet-19 and 53 and the tiny one, the networks of YOLOv4 and YOLOv4-tiny, as TAO builds them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xraycls.models.backbones.base import Layout, Stage
from xraycls.models.backbones.options import BodyOptions

_RESIDUALS = (1, 2, 8, 8, 4)
# Of each stage of 19 the kernels between the division and the transition.
_KERNELS = ((), (), (1, 3), (1, 3), (1, 3, 1, 3), (1, 3, 1, 3))


def cspdarknet53(options: BodyOptions) -> Layout:
    """CSPDarknet-53 (Wang et al. 2020, Bochkovskiy et al. 2020) without its classifier."""
    body = Layout("cspdarknet53")
    _add(body, "conv1", options.unit(3, 32, 3, 1, "leaky_relu"), 0)
    body.stages.append(Stage("conv1", "conv1", 1, 32))
    for number, count in enumerate(_RESIDUALS, start=1):
        outputs, total = 32 * 2**number, 2**number
        half = outputs if number == 1 else outputs // 2
        _add(body, f"conv{number + 1}", options.unit(outputs // 2, outputs, 3, 2, "leaky_relu"), number)
        narrow = half // 2 if number == 1 else half
        inner = [_Residual(half, narrow, options) for _ in range(count)]
        names = {"first": f"conv{number + 1}_1", "second": f"conv{number + 1}_2"}
        names |= {f"inner.{i}.{n}": f"b{number}_conv{i + 1}_{n}" for i in range(count) for n in (1, 2)}
        _divided(body, number, _Divided(outputs, half, inner, options), names, outputs, total, options)
    return body


def cspdarknet19(options: BodyOptions) -> Layout:
    """CSPDarknet-19 of TAO: Darknet-19 whose stages from the second on are divided."""
    body = Layout("cspdarknet19")
    _add(body, "conv1", options.unit(3, 32, 3, 1, "leaky_relu"), 0)
    body.stages.append(Stage("conv1", "conv1", 1, 32))
    for number in range(1, 6):
        outputs, total = 32 * 2**number, 2**number
        body.parts[f"maxpool_{number}"] = nn.MaxPool2d(2)
        _add(body, f"b{number}_conv1", options.unit(outputs // 2, outputs, 3, 1, "leaky_relu"), number)
        if number == 1:
            body.stages.append(Stage("b1", "b1_conv1", 2, outputs))
            continue
        half = outputs // 2
        inner = [options.unit(half, half, kernel, 1, "leaky_relu") for kernel in _KERNELS[number]]
        names = {"first": f"b{number}_part1", "second": f"b{number}_part2"}
        names |= {f"inner.{i}": f"b{number}_conv{i + 2}" for i in range(len(inner))}
        _divided(body, number, _Divided(outputs, half, inner, options), names, outputs, total, options)
    return body


def cspdarknet_tiny(name: str, options: BodyOptions) -> Layout:
    """The body of YOLOv4-tiny (Wang et al. 2021) without its classifier."""
    body = Layout(name)
    for number, (inputs, outputs) in enumerate(((3, 32), (32, 64))):
        _add(body, f"conv_{number}", options.unit(inputs, outputs, 3, 2, "leaky_relu"), number)
        body.stages.append(Stage(f"conv_{number}", f"conv_{number}", 2 * 2**number, outputs))
    inputs = 64
    for number, channels in ((2, 64), (3, 128), (4, 256)):
        path, total = f"conv_{number}", 2**number
        body.parts[path] = _Tiny(inputs, channels, options)
        for index in range(4):
            body.layers.update(
                {f"{path}.{index}.0": f"{path}_conv_{index}", f"{path}.{index}.1": f"{path}_conv_{index}_bn"}
            )
        body.parts[f"pool_{number}"] = nn.MaxPool2d(2)
        body.blocks[number] = (path,)
        inputs = 2 * channels
        body.stages.append(Stage(f"{path}_conv_3", path, total, channels, inside=True))
        body.stages.append(Stage(path, f"pool_{number}", 2 * total, inputs))
    _add(body, "conv_5", options.unit(inputs, 512, 3, 1, "leaky_relu"), 5)
    body.stages.append(Stage("conv_5", "conv_5", 32, 512))
    return body


def _add(body: Layout, path: str, unit: nn.Module, number: int) -> None:
    body.parts[path] = unit
    body.layers.update({f"{path}.0": path, f"{path}.1": f"{path}_bn"})
    body.blocks[number] = (*body.blocks.get(number, ()), path)


def _divided(
    body: Layout,
    number: int,
    block: nn.Module,
    names: dict[str, str],
    outputs: int,
    total: int,
    options: BodyOptions,
) -> None:
    """Add the divided part of a stage and the convolution that brings both halves together."""
    path, final = f"b{number}", f"b{number}_final_trans"
    body.parts[path] = block
    names["partial"] = f"b{number}_partial_trans"
    for inner, name in names.items():
        body.layers.update({f"{path}.{inner}.0": name, f"{path}.{inner}.1": f"{name}_bn"})
    width = 2 * outputs if number == 1 and body.name == "cspdarknet53" else outputs
    for index, part in enumerate(options.unit(width, outputs, 1, 1, "leaky_relu")):
        body.parts[f"{final}.{index}"] = part
    body.layers.update({f"{final}.0": final, f"{final}.1": f"{final}_bn"})
    body.blocks[number] = (*body.blocks[number], path, f"{final}.0")
    body.stages.append(Stage(final, f"{final}.0", total, outputs, inside=True))
    body.stages.append(Stage(path, f"{final}.2", total, outputs))


class _Divided(nn.Module):
    """Two 1x1 convolutions of one map: the second's output goes through more layers before both are concatenated."""

    def __init__(self, inputs: int, half: int, inner: Sequence[nn.Module], options: BodyOptions) -> None:
        super().__init__()
        self.first = options.unit(inputs, half, 1, 1, "leaky_relu")
        self.second = options.unit(inputs, half, 1, 1, "leaky_relu")
        self.inner = nn.Sequential(*inner)
        self.partial = options.unit(half, half, 1, 1, "leaky_relu")

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.partial(self.inner(self.second(images))), self.first(images)], dim=1)


class _Residual(nn.ModuleDict):
    def __init__(self, channels: int, narrow: int, options: BodyOptions) -> None:
        super().__init__()
        self["1"] = options.unit(channels, narrow, 1, 1, "leaky_relu")
        self["2"] = options.unit(narrow, channels, 3, 1, "leaky_relu")

    def forward(self, images: Tensor) -> Tensor:
        total: Tensor = images + self["2"](self["1"](images))
        return total


class _Tiny(nn.ModuleList):
    """A block of YOLOv4-tiny: half of the channels go through two more convolutions."""

    def __init__(self, inputs: int, channels: int, options: BodyOptions) -> None:
        half = channels // 2
        shapes = ((inputs, channels, 3), (half, half, 3), (half, half, 3), (channels, channels, 1))
        super().__init__(options.unit(*shape, 1, "leaky_relu") for shape in shapes)

    def forward(self, images: Tensor) -> Tensor:
        return self.with_inner(images)[0]

    def with_inner(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the output and the map of the last convolution."""
        whole: Tensor = self[0](images)
        route: Tensor = self[1](whole.chunk(2, dim=1)[1])
        inner: Tensor = self[3](torch.cat([self[2](route), route], dim=1))
        return torch.cat([whole, inner], dim=1), inner
