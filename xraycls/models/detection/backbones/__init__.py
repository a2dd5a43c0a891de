"""The backbones that a TAO spec can name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from xraycls.errors import UsageError, unknown
from xraycls.models.detection.backbones.base import Backbone
from xraycls.models.detection.backbones.darknet import darknet19, darknet53
from xraycls.models.detection.backbones.light import efficientnet, googlenet, mobilenet_v1, mobilenet_v2, squeezenet
from xraycls.models.detection.backbones.resnet import resnet
from xraycls.models.detection.backbones.vgg import vgg

__all__ = ["Backbone", "backbone_names", "build_backbone"]

_WITHOUT_LAYERS: dict[str, Callable[[], Backbone]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "squeezenet": squeezenet,
    "googlenet": googlenet,
    "efficientnet_b0": partial(efficientnet, "b0"),
    "efficientnet_b1": partial(efficientnet, "b1"),
}
_WITH_LAYERS: dict[str, dict[int, Callable[[], Backbone]]] = {
    "resnet": {n: partial(resnet, n) for n in (10, 18, 34, 50, 101)},
    "vgg": {n: partial(vgg, n) for n in (16, 19)},
    "darknet": {19: darknet19, 53: darknet53},
}


def backbone_names() -> tuple[str, ...]:
    """Every backbone, as ``resnet18`` or ``mobilenet_v2``."""
    numbered = [f"{arch}{layers}" for arch, choices in _WITH_LAYERS.items() for layers in choices]
    return (*numbered, *_WITHOUT_LAYERS)


def build_backbone(arch: str, layers: int = 0) -> Backbone:
    """A backbone with random weights.

    Args:
        arch: ``arch`` of a spec: resnet, vgg, darknet, mobilenet_v1 and so on.
        layers: its ``nlayers``, for the first three.

    Raises:
        UsageError: no such backbone.
    """
    if arch in _WITHOUT_LAYERS:
        return _WITHOUT_LAYERS[arch]()
    if arch not in _WITH_LAYERS:
        raise unknown("backbone", arch, (*_WITH_LAYERS, *_WITHOUT_LAYERS), flag="arch")
    if layers not in _WITH_LAYERS[arch]:
        choices = ", ".join(map(str, _WITH_LAYERS[arch]))
        raise UsageError(f"There is no {arch} of {layers} layers", f"Choose nlayers {choices}")
    return _WITH_LAYERS[arch][layers]()
