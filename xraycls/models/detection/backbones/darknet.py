"""Darknet-19 and 53, the networks of YOLOv2 and v3, with plain ReLU as in TAO's SSD."""

from __future__ import annotations

from typing import Any

from torch import nn

from xraycls.models.detection.backbones.base import Backbone, Tapped, convolution, numbered

# Of each stage the kernels of its convolutions; a 1x1 halves the channels that the 3x3 brings back.
_STAGES_19 = (
    (32, (3,)),
    (64, (3,)),
    (128, (3, 1, 3)),
    (256, (3, 1, 3)),
    (512, (3, 1, 3, 1, 3)),
    (1024, (3, 1, 3, 1, 3)),
)


def darknet19() -> Backbone:
    """Darknet-19 (Redmon and Farhadi 2017) without its classifier; maps of strides 8, 16 and 32."""
    stages: dict[str, nn.Module] = {}
    inputs = 3
    for number, (channels, kernels) in enumerate(_STAGES_19):
        parts: list[nn.Module] = [nn.MaxPool2d(2)] if number else []
        for kernel in kernels:
            outputs = channels if kernel == 3 else channels // 2
            parts.append(convolution(inputs, outputs, kernel))
            inputs = outputs
        stages[f"stage{number}"] = nn.Sequential(*parts)
    return Backbone(Tapped(stages, ("stage3", "stage4", "stage5")), (256, 512, 1024), "middle", numbered(stages))


def darknet53() -> Backbone:
    """Darknet-53 (Redmon and Farhadi 2018) from timm; maps of strides 8, 16 and 32."""
    import timm

    network: Any = timm.create_model("darknet53", act_layer=nn.ReLU)
    stages = {"stem": network.stem} | {f"stages_{i}": stage for i, stage in enumerate(network.stages)}
    return Backbone(Tapped(stages, ("stages_2", "stages_3", "stages_4")), (256, 512, 1024), "large", numbered(stages))
