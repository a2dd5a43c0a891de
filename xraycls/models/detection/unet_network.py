"""The layers of U-Net: a backbone, a decoder back to stride 4, and heads for masks, centres and the whole picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xraycls.errors import UsageError
from xraycls.models.backbones import Arithmetic, Backbone, BodyOptions, build_backbone
from xraycls.models.backbones.build import layout_of
from xraycls.models.backbones.timm import PREFIX, TimmBackbone

STRIDES = (4, 8, 16, 32)
"""Of the maps that the decoder joins, where the backbone has them."""

_PRIOR = 0.05  # what masks and centres begin with: few pixels belong to an object


class UNet(nn.Module):
    """An encoder and a decoder with skip connections (Ronneberger et al. 2015), and heads on its finest map.

    Every step of the decoder doubles the map by interpolation, joins the backbone's map of that stride and applies two
    convolutions with batch normalisation.

    Args:
        backbone: gives maps from fine to coarse.
        classes: of objects.
        widths: channels of the decoder's maps, the coarsest first; of a backbone with fewer maps the last of them.
        centres: whether there are heads for centres and the distances of sides.
    """

    def __init__(self, backbone: Backbone | TimmBackbone, classes: int, widths: Sequence[int], centres: bool) -> None:
        super().__init__()
        self.backbone = backbone
        *skips, deepest = backbone.channels
        if len(skips) > len(widths):
            raise UsageError(f"{backbone.name} needs {len(skips)} widths of the decoder, not {len(widths)}")
        self.decoder = nn.ModuleList()
        inputs = deepest
        for skip, width in zip(reversed(skips), widths[len(widths) - len(skips) :], strict=True):
            self.decoder.append(nn.Sequential(_unit(inputs + skip, width), _unit(width, width)))
            inputs = width
        self.mask = _head(inputs, classes, _PRIOR)
        self.centre = _head(inputs, classes, _PRIOR) if centres else None
        self.sides = _head(inputs, 4, 0.5) if centres else None
        self.image = nn.Linear(deepest, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns raw outputs for normalised images [B, channels, H, W].

        They are the logits of masks [B, classes, h, w] at the finest stride and of the whole pictures [B, classes], and
        with centres the logits of these [B, classes, h, w] and the raw distances of sides [B, 4, h, w].
        """
        *skips, features = self.backbone(images)
        pictures = self.image(features.mean(dim=(2, 3)))
        for step, skip in zip(self.decoder, reversed(skips), strict=True):
            features = step(torch.cat([_enlarged(features, skip.shape[2:]), skip], dim=1))
        if self.centre is None or self.sides is None:
            return self.mask(features), pictures
        return self.mask(features), pictures, self.centre(features), self.sides(features)


def unet_backbone(name: str, channels: int, arithmetic: Arithmetic, top: bool = False) -> Backbone | TimmBackbone:
    """Returns a backbone with its maps of strides 4 to 32, as far as it has them.

    Args:
        name: in :data:`xraycls.models.backbones.BACKBONES`, or ``timm:NAME``.
        channels: of the pictures, 3 or 1.
        arithmetic: whose layers a backbone of the table has.
        top: whether its last map may be the one that a 1x1 convolution widens for a classifier.

    Raises:
        UsageError: there is no such backbone, or it has no two maps to join.
    """
    if name.startswith(PREFIX):
        backbone: Backbone | TimmBackbone = TimmBackbone(name.removeprefix(PREFIX), STRIDES, channels)
        if len(backbone.strides) < 2:
            raise UsageError(f"{name} has too few maps for a U-Net", "Take a network with maps of strides 4 to 32")
        return backbone
    options = BodyOptions(arithmetic=arithmetic, all_projections=arithmetic == "tao", pooling=arithmetic != "tao")
    stages = [each for each in layout_of(name, options).stages if not each.inside and (top or not each.top)]
    last = {stage.stride: stage.name for stage in stages}
    return build_backbone(name, [last[s] for s in STRIDES if s in last], channels=channels, options=options)


def _enlarged(features: Tensor, size: torch.Size) -> Tensor:
    """Maps [B, C, h, w] interpolated to a size; a factor of two is asked for as such, which runtimes do quicker."""
    if tuple(size) == (2 * features.shape[2], 2 * features.shape[3]):
        return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _head(inputs: int, outputs: int, prior: float) -> nn.Conv2d:
    head = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.constant_(head.bias, math.log(prior / (1 - prior)))  # type: ignore[arg-type]
    return head
