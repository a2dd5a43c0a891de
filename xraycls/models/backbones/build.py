"""The table of backbones, and how one is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from xraycls.errors import unknown
from xraycls.models.backbones.base import Backbone, Layout, take_one_channel
from xraycls.models.backbones.cspdarknet import cspdarknet19, cspdarknet53, cspdarknet_tiny
from xraycls.models.backbones.darknet import darknet19, darknet53
from xraycls.models.backbones.efficientnet import efficientnet
from xraycls.models.backbones.googlenet import googlenet
from xraycls.models.backbones.mobilenet import mobilenet_v1, mobilenet_v2
from xraycls.models.backbones.options import Arithmetic, BodyOptions
from xraycls.models.backbones.resnet import resnet
from xraycls.models.backbones.squeezenet import squeezenet
from xraycls.models.backbones.vgg import vgg

BACKBONES: dict[str, Callable[[BodyOptions], Layout]] = {
    **{f"resnet{layers}": partial(resnet, layers) for layers in (10, 18, 34, 50, 101)},
    **{f"vgg{layers}": partial(vgg, layers) for layers in (16, 19)},
    "darknet19": darknet19,
    "darknet53": darknet53,
    "cspdarknet19": cspdarknet19,
    "cspdarknet53": cspdarknet53,
    "cspdarknet_tiny": partial(cspdarknet_tiny, "cspdarknet_tiny"),
    "cspdarknet_tiny_3l": partial(cspdarknet_tiny, "cspdarknet_tiny_3l"),
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "squeezenet": squeezenet,
    "googlenet": googlenet,
    **{f"efficientnet_b{number}": partial(efficientnet, f"b{number}") for number in range(8)},
}

_DIFFER = ("resnet50", "resnet101", "mobilenet", "googlenet", "efficientnet")


def arithmetic_of_old_files(name: str) -> Arithmetic:
    """Returns what a detector computes with whose file says nothing of it: the two differ in some bodies only."""
    return "mixed" if name.startswith(_DIFFER) else "tao"


def build_backbone(
    name: str,
    taps: Sequence[str] = (),
    *,
    strides: Sequence[int] = (),
    channels: int = 3,
    options: BodyOptions | None = None,
) -> Backbone:
    """Return a backbone with random weights, without what comes after the last map that is wanted.

    Args:
        name: ``resnet18``, ``mobilenet_v2``; one of :data:`BACKBONES`.
        taps: names of the stages whose maps to return, such as ``block_2``.
        strides: instead of names; of each the last block that has it. With neither, the last map of all.
        channels: of the images, 3 or 1.
        options: the arithmetic, the activation and other choices; None for TAO's.

    Raises:
        UsageError: there is no such backbone, stage or stride.

    Example:
        >>> import torch
        >>> from xraycls.models.backbones import build_backbone
        >>> backbone = build_backbone("resnet18", strides=(4, 8), channels=1)
        >>> [tuple(m.shape) for m in backbone(torch.zeros(1, 1, 64, 64))]
        [(1, 64, 16, 16), (1, 128, 8, 8)]
    """
    backbone = Backbone(layout_of(name, options), taps, strides)
    if channels == 1:
        take_one_channel(backbone)
    return backbone


def layout_of(name: str, options: BodyOptions | None = None) -> Layout:
    """Return the whole body of a name; raises UsageError for another name."""
    if name not in BACKBONES:
        raise unknown("backbone", name, tuple(BACKBONES))
    return BACKBONES[name](options or BodyOptions())
