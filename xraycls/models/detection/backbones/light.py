"""The light networks: MobileNet v1 and v2, SqueezeNet, GoogLeNet and EfficientNet from torchvision and timm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.googlenet import BasicConv2d, Inception
from torchvision.models.mobilenetv2 import InvertedResidual

from xraycls.models.detection.backbones.base import Backbone, Tapped, numbered


def mobilenet_v1() -> Backbone:
    """MobileNet (Howard et al. 2017) up to its eleventh separable convolution; timm's names."""
    import timm

    network: Any = timm.create_model("mobilenetv1_100")
    stages = {f"blocks_{i}": network.blocks[i] for i in range(4)}
    blocks = numbered(["conv_stem", *(f"{name}.{i}" for name, stage in stages.items() for i in range(len(stage)))])
    stages = {"conv_stem": network.conv_stem, "bn1": network.bn1} | stages
    return Backbone(Tapped(stages, ("blocks_2", "blocks_3")), (256, 512), "small", blocks)


def mobilenet_v2() -> Backbone:
    """MobileNetV2 (Sandler et al. 2018) up to its thirteenth block, with a projection in every residual block.

    The first map is that between expansion and stride in the seventh block.
    """
    features = models.mobilenet_v2().features[:14]
    for name, block in features.named_children():
        if isinstance(block, InvertedResidual) and block.use_res_connect:
            features.register_module(name, _Projected(block))
    network = _Extractor(features, {"7.conv.0": "0", "13": "1"})
    return Backbone(network, (192, 96), "small", numbered(f"network.{i}" for i in range(14)))


def squeezenet() -> Backbone:
    """SqueezeNet 1.0 (Iandola et al. 2016) up to its ninth fire module, padded so that sizes halve exactly."""
    features = models.squeezenet1_0().features
    features[0].padding = (3, 3)
    for pool in (features[2], features[6], features[11]):
        pool.padding, pool.ceil_mode = 1, False
    network = _Extractor(features, {"10": "0", "12": "1"})
    blocks = numbered(f"network.{i}" for i in (0, 3, 4, 5, 7, 8, 9, 10, 12))
    return Backbone(network, (512, 512), "small", blocks)


def googlenet() -> Backbone:
    """GoogLeNet (Szegedy et al. 2015) without its last pooling and with the paper's 5x5 kernels, which torchvision
    has as 3x3."""
    network = models.googlenet(aux_logits=False, init_weights=False)
    left_out = ("maxpool4", "avgpool", "dropout", "fc")
    stages = {name: part for name, part in network.named_children() if name not in left_out}
    for part in stages.values():
        if isinstance(part, Inception):
            reduced = part.branch3[1].conv
            part.branch3[1] = BasicConv2d(reduced.in_channels, reduced.out_channels, kernel_size=5, padding=2)
    first = {0: ("conv1", "conv2", "conv3")}
    blocks = first | numbered((name for name in stages if name.startswith("inception")), first=1)
    return Backbone(Tapped(stages, ("inception3b", "inception5b")), (480, 1024), "large", blocks)


def efficientnet(variant: str) -> Backbone:
    """EfficientNet b0 or b1 (Tan and Le 2019); the maps before the strides to 16 and 32, and the last."""
    build: Callable[[], Any] = {"b0": models.efficientnet_b0, "b1": models.efficientnet_b1}[variant]
    features = build().features
    network = _Extractor(features, {"4.0.block.0": "0", "6.0.block.0": "1", "8": "2"})
    return Backbone(network, (240, 672, 1280), "large", numbered(f"network.{i}" for i in range(9)))


class _Extractor(nn.Module):
    """A network of torchvision's that gives out some of its inner maps."""

    def __init__(self, features: nn.Module, nodes: dict[str, str]) -> None:
        super().__init__()
        self.network = create_feature_extractor(features, return_nodes=nodes)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: dict[str, Tensor] = self.network(images)
        return [maps[name] for name in sorted(maps)]


class _Projected(nn.Module):
    """A residual block whose shortcut is a 1x1 convolution."""

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        self.conv = block.conv
        self.projection = nn.Conv2d(block.out_channels, block.out_channels, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        shortcut: Tensor = self.projection(images)
        inner: Tensor = self.conv(images)
        return shortcut + inner
