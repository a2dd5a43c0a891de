"""The layers of YOLOv4 and YOLOv4-tiny above their backbones, by the names of TAO's layers."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xraycls.models.backbones import Backbone
from xraycls.models.backbones.options import KERAS_EPSILON, KERAS_MOMENTUM

Activation = Literal["leaky_relu", "relu"]
Layer = tuple[str, int, int]
"""Name, output channels and kernel of a convolution."""

HEADS = ("conv_big_object", "conv_mid_object", "conv_sm_object")
_SLOPE = 0.1


@dataclass(frozen=True, slots=True)
class Layout:
    """How a YOLOv4 stands on a backbone.

    Attributes:
        taps: stages of the backbone whose maps are used, the finest first.
        widths: channels of the path aggregation network at its middle and its finest map, which it multiplies.
        strides: of the maps that give boxes, the coarsest first.
        halved: channels of the convolution that halves the last map; 0 where the last map is coarse enough.
        middle: channels and kernel of a convolution on the middle map; None to use the map itself.
        finest: the same of the finest map.
        enlarged: whether the finest map is enlarged twice first, where the backbone has none that is fine enough.
        pyramid: whether the last map goes through the spatial pyramid pooling.
        tiny: whether it is a YOLOv4-tiny.
    """

    taps: tuple[str, ...]
    widths: tuple[int, int]
    strides: tuple[int, ...] = (32, 16, 8)
    halved: int = 0
    middle: tuple[int, int] | None = None
    finest: tuple[int, int] | None = None
    enlarged: bool = False
    pyramid: bool = True
    tiny: bool = False


_RESNET = Layout(("block_2", "block_3", "block_4"), (128, 64), halved=512)
_VGG = Layout(("block_3", "block_4", "block_5"), (256, 128), strides=(16, 8, 4))
_CSPDARKNET = Layout(("b3_final_trans", "b4_final_trans", "b5"), (256, 128))
LAYOUTS: dict[str, Layout] = {
    "resnet10": _RESNET,
    "resnet18": _RESNET,
    "resnet34": _RESNET,
    "resnet50": Layout(("block_3f_relu_2", "block_4c_relu_2", "block_4"), (256, 128), halved=1024, enlarged=True),
    "resnet101": Layout(("block_3w_relu_2", "block_4c_relu_2", "block_4"), (256, 128), halved=1024, enlarged=True),
    "vgg16": _VGG,
    "vgg19": _VGG,
    "darknet19": Layout(("b3_conv3", "b4_conv5", "b5"), (256, 128)),
    "darknet53": Layout(("b3_add7", "b4_add7", "b5"), (256, 128)),
    "cspdarknet19": _CSPDARKNET,
    "cspdarknet53": _CSPDARKNET,
    "mobilenet_v1": Layout(("conv_dw_4", "conv_dw_6", "conv_pw_11"), (128, 64), halved=512),
    "mobilenet_v2": Layout(("block_5", "block_9", "block_12"), (32, 16), halved=96),
    "squeezenet": Layout(("fire8", "fire9"), (64, 64), halved=128, middle=(128, 1), finest=(128, 1)),
    "googlenet": Layout(
        ("inception_4e", "inception_5a", "inception_5b"),
        (256, 128),
        halved=1024,
        middle=(512, 3),
        finest=(256, 3),
        enlarged=True,
    ),
    "efficientnet_b0": Layout(
        ("block5a_expand", "block6a_expand", "top"), (256, 128), finest=(256, 3), enlarged=True, pyramid=False
    ),
    "cspdarknet_tiny": Layout(("conv_4_conv_3", "conv_5"), (128, 64), strides=(32, 16), tiny=True),
    "cspdarknet_tiny_3l": Layout(("conv_3_conv_3", "conv_4_conv_3", "conv_5"), (128, 64), tiny=True),
}
"""How a YOLOv4 stands on each backbone; facts of TAO 5's graphs."""


class SpatialPyramid(nn.Module):
    """Spatial pyramid pooling (He et al. 2014) between 1x1 and 3x3 convolutions.

    Windows of 5, 9 and 13 cells that leave the map see zeros there, as in TAO, where other frameworks see nothing.
    """

    channels = 512

    def __init__(self, inputs: int, activation: Activation) -> None:
        super().__init__()
        layers = (("yolo_neck_1", 512, 1), ("yolo_neck_2", 1024, 3), ("yolo_neck_3", 512, 1))
        self.before = chain(inputs, *layers, activation=activation)
        self.after = chain(4 * 512, ("yolo_spp_conv", self.channels, 1), activation=activation)

    def forward(self, features: Tensor) -> Tensor:
        """Returns the pooled map [B, 512, h, w] of features [B, inputs, h, w]."""
        features = self.before(features)
        pools = [features]
        for _ in range(3):  # a window of 5 over one of 5 is a window of 9, and once more is one of 13
            pools.append(F.max_pool2d(F.pad(pools[-1], (2, 2, 2, 2)), 5, stride=1))
        pooled: Tensor = self.after(torch.cat([*pools[1:], features], dim=1))
        return pooled


class YOLOv4(nn.Module):
    """A YOLOv4 without the decoding of its maps.

    Args:
        backbone: gives the maps that the layout names.
        layout: how the rest stands on it.
        outputs: channels of the heads, of the coarsest map first.
        activation: of the layers above the backbone.
    """

    def __init__(self, backbone: Backbone, layout: Layout, outputs: list[int], activation: Activation) -> None:
        super().__init__()
        self.backbone, self.enlarged = backbone, layout.enlarged
        small, middle, last = backbone.channels[0], backbone.channels[-2], backbone.channels[-1]
        if len(backbone.channels) == 2:  # the last map is the middle one, too
            middle = last

        def layers(inputs: int, *named: Layer, stride: int = 1) -> nn.Sequential:
            return chain(inputs, *named, stride=stride, activation=activation)

        self.pyramid: nn.Module = nn.Identity()
        if layout.pyramid:
            self.pyramid, last = SpatialPyramid(last, activation), SpatialPyramid.channels
        if layout.halved:
            self.halved = layers(last, ("yolo_expand_conv1", layout.halved, 3), stride=2)
            last = layout.halved
        if layout.middle:
            self.middle_map = layers(middle, ("expand_conv2", *layout.middle))
            middle = layout.middle[0]
        if layout.finest:
            self.finest_map = layers(small, ("expand_conv3", *layout.finest))
            small = layout.finest[0]

        a, b = layout.widths
        top = (("yolo_conv1_2", 4 * a, 3), ("yolo_conv1_3", 2 * a, 1), ("yolo_conv2", a, 1))
        self.top = layers(last, *top)
        self.middle_branch = layers(middle, ("yolo_x_branch", a, 1))
        self.middle = layers(
            2 * a, *((f"yolo_conv3_{i}", a if i % 2 else 2 * a, 1 if i % 2 else 3) for i in range(1, 6))
        )
        self.lift = layers(a, ("yolo_conv4", b, 1))
        self.finest_branch = layers(small, ("yolo_x_branch_2", b, 1))
        self.finest = layers(
            2 * b, *((f"yolo_conv5_{i}", b if i % 2 else 2 * b, 1 if i % 2 else 3) for i in range(1, 6))
        )
        self.finest_down = layers(b, ("yolo_sm_branch_conv", a, 3), stride=2)
        again = (("yolo_conv3_5_1", a, 1), ("yolo_conv3_4_2", 2 * a, 3), ("yolo_conv3_5_1_1", a, 1))
        self.middle_again = layers(2 * a, *again, ("yolo_conv3_6", 2 * a, 3), ("md_leaky_conv512", 256, 1))
        self.middle_down = layers(256, ("md_leaky_conv512_down", 512, 3), stride=2)
        again = (("yolo_conv1_3_1", 2 * a, 1), ("yolo_conv1_4", 4 * a, 3), ("yolo_conv1_5", 2 * a, 1))
        ends = (("yolo_conv1_6", 4 * a, 3), ("bg_leaky_conv512", 512, 1), ("bg_leaky_conv1024", 1024, 3))
        self.top_again = layers(a + 512, *again, *ends)
        self.middle_end = layers(256, ("md_leaky_conv1024", 512, 3))
        self.finest_end = layers(b, ("yolo_conv5_6", 2 * b, 3))
        self.heads = heads((1024, 512, 2 * b), outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns what the heads say of images [B, C, H, W]: [B, outputs, h, w], the coarsest map first."""
        finest, middle, last = self._maps(images)
        top = self.top(last)
        middle = self.middle(torch.cat([_twice(top), self.middle_branch(middle)], dim=1))
        finest = self.finest(torch.cat([_twice(self.lift(middle)), self.finest_branch(finest)], dim=1))
        middle = self.middle_again(torch.cat([middle, self.finest_down(finest)], dim=1))
        top = self.top_again(torch.cat([top, self.middle_down(middle)], dim=1))
        maps = (top, self.middle_end(middle), self.finest_end(finest))
        return tuple(head(features) for head, features in zip(self.heads.values(), maps, strict=True))

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The finest, the middle and the coarsest map that the path aggregation network starts from."""
        maps: list[Tensor] = self.backbone(images)
        finest, middle, last = maps[0], maps[1], self.pyramid(maps[-1])
        if self.enlarged:
            finest = _twice(finest)
        if hasattr(self, "finest_map"):
            finest = self.finest_map(finest)
        if hasattr(self, "middle_map"):
            middle = self.middle_map(middle)
        if hasattr(self, "halved"):
            last = self.halved(last)
        return finest, middle, last


class YOLOv4Tiny(nn.Module):
    """A YOLOv4-tiny of two or three maps (Wang et al. 2021) without their decoding; arguments as of :class:`YOLOv4`."""

    def __init__(self, backbone: Backbone, layout: Layout, outputs: list[int], activation: Activation) -> None:
        super().__init__()
        self.backbone = backbone
        a, b = layout.widths
        *finer, last = backbone.channels

        def layers(inputs: int, *named: Layer) -> nn.Sequential:
            return chain(inputs, *named, activation=activation)

        self.top = layers(last, ("yolo_conv1_1", 2 * a, 1))
        self.top_end = layers(2 * a, ("yolo_conv1_6", 4 * a, 3))
        self.lifts = nn.ModuleList([layers(2 * a, ("yolo_conv2", a, 1))])
        self.ends = nn.ModuleList([layers(a + finer[-1], ("yolo_conv3_6", 2 * a, 3))])
        if len(finer) > 1:
            self.lifts.append(layers(2 * a, ("yolo_conv4", b, 1)))
            self.ends.append(layers(b + finer[0], ("yolo_conv5_6", 2 * b, 3)))
        self.heads = heads((4 * a, 2 * a, 2 * b)[: len(outputs)], outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns what the heads say of images [B, C, H, W]: [B, outputs, h, w], the coarsest map first."""
        *finer, last = self.backbone(images)
        features = self.top(last)
        maps = [self.top_end(features)]
        for lift, end, finer_map in zip(self.lifts, self.ends, reversed(finer), strict=True):
            features = end(torch.cat([_twice(lift(features)), finer_map], dim=1))
            maps.append(features)
        return tuple(head(each) for head, each in zip(self.heads.values(), maps, strict=True))


def heads(inputs: tuple[int, ...], outputs: list[int]) -> nn.ModuleDict:
    """The 1x1 convolutions that give the values of every anchor, by name, of the coarsest map first."""
    convolutions = nn.ModuleDict()
    for name, channels, values in zip(HEADS[: len(outputs)], inputs, outputs, strict=True):
        convolution = nn.Conv2d(channels, values, 1)
        nn.init.xavier_uniform_(convolution.weight)
        convolutions[name] = convolution
    return convolutions


def chain(inputs: int, *layers: Layer, stride: int = 1, activation: Activation) -> nn.Sequential:
    """Convolutions without bias, each with batch normalisation and activation, by name."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for name, outputs, kernel in layers:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        nn.init.xavier_uniform_(convolution.weight)
        act = nn.ReLU(inplace=True) if activation == "relu" else nn.LeakyReLU(_SLOPE, inplace=True)
        parts[name] = nn.Sequential(convolution, nn.BatchNorm2d(outputs, KERAS_EPSILON, KERAS_MOMENTUM), act)
        inputs = outputs
    return nn.Sequential(parts)


def _twice(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="nearest")
