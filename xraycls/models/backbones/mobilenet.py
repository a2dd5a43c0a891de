"""MobileNet v1 and v2: plain ReLU as in TAO, or ReLU6 as in torchvision and timm."""

from __future__ import annotations

from torch import Tensor, nn

from xraycls.models.backbones.base import Layout, Stage
from xraycls.models.backbones.options import BodyOptions, he_normal

# Of each stage of v1 the stride, the channels and the number of separable convolutions.
_STAGES_V1 = ((1, 64, 1), (2, 128, 2), (2, 256, 2), (2, 512, 6), (2, 1024, 2))
# Of v2 (table 2 of the paper): expansion, channels, number of blocks, stride of the first.
_STAGES_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_MOMENTUM_V2 = 0.001
"""Of the statistics of v2 in TAO, whose 0.999 is torch's 0.001."""


def mobilenet_v1(options: BodyOptions) -> Layout:
    """MobileNet (Howard et al. 2017) without its classifier; names of parameters as in timm."""
    body = Layout("mobilenet_v1")
    body.parts.update(conv_stem=options.conv(3, 32, 3, 2), bn1=options.norm(32), act1=_act(options))
    body.layers.update(conv_stem="conv1", bn1="conv1_bn")
    body.stages.append(Stage("conv1", "act1", 2, 32))
    body.blocks[0] = ("conv_stem",)
    number, inputs, total = 0, 32, 2
    for stage, (stride, outputs, count) in enumerate(_STAGES_V1):
        if stage == len(_STAGES_V1) - 1 and options.last_stride:
            stride = options.last_stride
        for index in range(count):
            number, path, first = number + 1, f"blocks_{stage}.{index}", stride if index == 0 else 1
            depthwise = {"conv_dw": options.conv(inputs, inputs, 3, first, groups=inputs), "bn1": options.norm(inputs)}
            pointwise = {"conv_pw": options.conv(inputs, outputs, 1), "bn2": options.norm(outputs)}
            parts = {**depthwise, "act1": _act(options), **pointwise, "act2": _act(options)}
            body.parts.update({f"{path}.{name}": part for name, part in parts.items()})
            for kind, norm in (("conv_dw", "bn1"), ("conv_pw", "bn2")):
                body.layers.update({f"{path}.{kind}": f"{kind}_{number}", f"{path}.{norm}": f"{kind}_{number}_bn"})
            total *= first
            body.stages.append(Stage(f"conv_dw_{number}", f"{path}.act1", total, inputs, inside=True))
            body.stages.append(Stage(f"conv_pw_{number}", f"{path}.act2", total, outputs))
            body.blocks[number] = tuple(f"{path}.{name}" for name in parts)
            inputs = outputs
    for part in body.parts.values():
        he_normal(part)
    return body


def mobilenet_v2(options: BodyOptions) -> Layout:
    """MobileNetV2 (Sandler et al. 2018) without its classifier; names of parameters as in torchvision."""
    body = Layout("mobilenet_v2")
    body.parts["network.0"] = _unit(3, 32, 3, 2, 1, options)
    body.layers.update({"network.0.0": "conv1", "network.0.1": "bn_conv1"})
    body.stages.append(Stage("conv1", "network.0", 2, 32))
    body.blocks[0] = ("network.0",)
    number, inputs = 0, 32
    for expansion, outputs, count, stride in _STAGES_V2:
        first = options.last_stride or stride if outputs == 160 else stride
        for index in range(count):
            _inverted(body, number, (inputs, outputs), expansion, first if index == 0 else 1, options)
            number, inputs = number + 1, outputs
    body.parts["network.18"] = _unit(320, 1280, 1, 1, 1, options)
    body.layers.update({"network.18.0": "conv_1", "network.18.1": "conv_1_bn"})
    body.stages.append(Stage("conv_1", "network.18", body.stages[-1].stride, 1280, top=True))
    body.blocks[18] = ("network.18",)
    for part in body.parts.values():
        he_normal(part)
    return body


def _inverted(
    body: Layout, number: int, channels: tuple[int, int], expansion: int, stride: int, options: BodyOptions
) -> None:
    """Add a block of v2; only one with a shortcut is a module of its own, so that others show their inner maps."""
    inputs, outputs = channels
    wide, path, total = inputs * expansion, f"network.{number + 1}", body.stages[-1].stride * stride
    parts: list[nn.Module] = [] if expansion == 1 else [_unit(inputs, wide, 1, 1, 1, options)]
    parts += [_unit(wide, wide, 3, stride, wide, options), options.conv(wide, outputs, 1), _norm(outputs, options)]
    kinds = ("depthwise", "project") if expansion == 1 else ("expand", "depthwise", "project")
    prefix = f"block_{number}_" if number else "expanded_conv_"
    for index, kind in enumerate(kinds):
        inner = ("", str(index), str(index + 1)) if kind == "project" else (f"{index}.", "0", "1")
        conv, norm = (f"{path}.conv.{inner[0]}{name}" for name in inner[1:])
        body.layers.update({conv: f"{prefix}{kind}", norm: f"{prefix}{kind}_bn"})
    if stride == 1 and inputs == outputs:
        body.parts[path] = _Inverted(nn.Sequential(*parts), outputs, options)
        if options.all_projections:
            body.layers[f"{path}.projection"] = f"{prefix}projected_inputs"
        last = path
    else:
        body.parts.update({f"{path}.conv.{index}": part for index, part in enumerate(parts)})
        last = f"{path}.conv.{len(parts) - 1}"
        if stride > 1:
            inner_stage = Stage(f"{prefix}expand", f"{path}.conv.0", body.stages[-1].stride, wide, inside=True)
            body.stages.append(inner_stage)
    body.stages.append(Stage(f"block_{number}", last, total, outputs))
    body.blocks[number + 1] = tuple(p for p in body.parts if p == path or p.startswith(f"{path}."))


def _act(options: BodyOptions) -> nn.Module:
    return nn.ReLU(inplace=True) if options.arithmetic == "tao" else nn.ReLU6(inplace=True)


def _norm(channels: int, options: BodyOptions) -> nn.Module:
    return options.norm(channels, momentum=_MOMENTUM_V2) if options.arithmetic == "tao" else options.norm(channels)


def _unit(inputs: int, outputs: int, kernel: int, stride: int, groups: int, options: BodyOptions) -> nn.Sequential:
    convolution = options.conv(inputs, outputs, kernel, stride, groups)
    return nn.Sequential(convolution, _norm(outputs, options), _act(options))


class _Inverted(nn.Module):
    """A residual block of v2, whose shortcut is a 1x1 convolution where TAO wants all projections."""

    def __init__(self, conv: nn.Module, channels: int, options: BodyOptions) -> None:
        super().__init__()
        self.conv = conv
        self.projection: nn.Module | None = None
        if options.all_projections:
            self.projection = nn.Conv2d(channels, channels, 1, bias=options.bias)

    def forward(self, images: Tensor) -> Tensor:
        shortcut: Tensor = images if self.projection is None else self.projection(images)
        total: Tensor = shortcut + self.conv(images)
        return total
