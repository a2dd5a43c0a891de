"""EfficientNet b0 to b7."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from xraycls.models.backbones.base import Layout, Stage, letter
from xraycls.models.backbones.options import KERAS_EPSILON, TORCH_EPSILON, BodyOptions, he_normal
from xraycls.models.torchvision import ops

# Table 1 of the paper: expansion, kernel, stride, channels in and out, number of blocks.
_STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
_SCALES = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "b4": (1.4, 1.8),
    "b5": (1.6, 2.2),
    "b6": (1.8, 2.6),
    "b7": (2.0, 3.1),
}
"""How many times as many channels and blocks as b0 has."""


def efficientnet(variant: str, options: BodyOptions) -> Layout:
    """EfficientNet (Tan and Le 2019) without its classifier; names of parameters as in torchvision.

    In TAO a convolution of stride 2 has one column less of padding at the left and at the top of maps of even sizes.
    """
    wide, deep = _SCALES[variant]
    counts = [math.ceil(deep * stage[-1]) for stage in _STAGES]
    # TAO divides by the blocks of b0 for every variant.
    total_blocks = sum(stage[-1] for stage in _STAGES) if options.arithmetic == "tao" else sum(counts)
    body = Layout(f"efficientnet_{variant}")
    epsilon = KERAS_EPSILON if variant in ("b5", "b6", "b7") else TORCH_EPSILON
    stem = _channels(32, wide)
    _add(body, "network.0", _unit(3, stem, 3, 2, 1, epsilon, options), ("stem_conv", "stem_bn"))
    body.stages.append(Stage("stem", "network.0", 2, stem))
    body.blocks[0] = ("network.0",)
    done = 0
    for number, (expansion, kernel, stride, inputs, outputs, _) in enumerate(_STAGES, start=1):
        first = options.last_stride or stride if number == 6 else stride
        inputs, outputs = _channels(inputs, wide), _channels(outputs, wide)
        for index in range(counts[number - 1]):
            shape = (inputs if index == 0 else outputs, outputs, expansion, kernel, first if index == 0 else 1)
            drop = options.drop_connect * done / total_blocks
            if drop >= 1:  # Keras leaves such a dropout out
                drop = 0.0
            _block(body, (number, index), shape, epsilon, drop, options)
            done += 1
        paths = tuple(path for path in body.parts if path.startswith(f"network.{number}."))
        body.blocks[number] = paths
        body.stages.append(Stage(f"block{number}", paths[-1], _stride(body) * first, outputs))
    top = _channels(1280, wide)
    _add(body, "network.8", _unit(outputs, top, 1, 1, 1, epsilon, options), ("top_conv", "top_bn"))
    body.stages.append(Stage("top", "network.8", _stride(body), top, top=True))
    body.blocks[8] = ("network.8",)
    for part in body.parts.values():
        he_normal(part)
    return body


def _stride(body: Layout) -> int:
    return next(stage.stride for stage in reversed(body.stages) if not stage.inside)


def _add(body: Layout, path: str, unit: nn.Module, names: tuple[str, str]) -> None:
    body.parts[path] = unit
    body.layers.update({f"{path}.{index}": name for index, name in enumerate(names)})


def _block(
    body: Layout,
    position: tuple[int, int],
    shape: tuple[int, int, int, int, int],
    epsilon: float,
    drop: float,
    options: BodyOptions,
) -> None:
    """Add a block; only one with a shortcut is a module of its own, so that others show their inner maps."""
    (number, index), (inputs, outputs, expansion, kernel, stride) = position, shape
    path, prefix, wide = f"network.{number}.{index}", f"block{number}{letter(index)}_", inputs * expansion
    parts: list[nn.Module] = []
    names: list[tuple[str, ...]] = []
    if expansion > 1:
        parts.append(_unit(inputs, wide, 1, 1, 1, epsilon, options))
        names.append(("expand_conv", "expand_bn"))
    parts.append(_unit(wide, wide, kernel, stride, wide, epsilon, options))
    squeeze = ops.SqueezeExcitation(wide, max(1, inputs // 4))
    squeeze.activation = options.act("swish")
    parts += [squeeze, nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), _norm(outputs, epsilon, options))]
    names += [("dwconv", "bn"), ("se_reduce", "se_expand"), ("project_conv", "project_bn")]
    for place_in_block, pair in enumerate(names):
        inner = ("fc1", "fc2") if pair[0] == "se_reduce" else ("0", "1")
        body.layers.update(
            {f"{path}.block.{place_in_block}.{i}": prefix + name for i, name in zip(inner, pair, strict=True)}
        )
    if stride == 1 and inputs == outputs:
        body.parts[path] = _Residual(nn.Sequential(*parts), drop)
        return
    body.parts.update({f"{path}.block.{place_in_block}": part for place_in_block, part in enumerate(parts)})
    if expansion > 1:
        body.stages.append(Stage(f"{prefix}expand", f"{path}.block.0", _stride(body), wide, inside=True))


def _channels(channels: int, wide: float) -> int:
    """Scaled to a multiple of 8, at most a tenth below."""
    scaled = channels * wide
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _norm(channels: int, epsilon: float, options: BodyOptions) -> nn.Module:
    return options.norm(channels, torch_epsilon=epsilon)


def _unit(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int, epsilon: float, options: BodyOptions
) -> nn.Sequential:
    kind = _Conv2d if stride == 2 and options.arithmetic == "tao" else nn.Conv2d
    conv = kind(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=options.bias)
    return nn.Sequential(conv, _norm(outputs, epsilon, options), options.act("swish"))


class _Conv2d(nn.Conv2d):
    """A convolution of stride 2 as in TAO: on even sizes it pads one column less at the left and at the top."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 (torch's name)
        height, width = input.shape[-2:]
        below = self.kernel_size[0] // 2
        padded = F.pad(input, (below - (1 - width % 2), below, below - (1 - height % 2), below))
        return F.conv2d(padded, weight, bias, self.stride, 0, self.dilation, self.groups)


class _Residual(nn.Module):
    """A block with a shortcut, that training sometimes skips."""

    def __init__(self, block: nn.Module, drop: float) -> None:
        super().__init__()
        self.block = block
        self.stochastic_depth = ops.StochasticDepth(drop, "row")

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.stochastic_depth(self.block(images)) + images
        return made
