"""Bodies in two parts, for Faster R-CNN: one for the picture, of stride 16, and one for each region."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from xraycls.errors import unknown
from xraycls.models.backbones.base import Backbone, Body, Layout, take_one_channel
from xraycls.models.backbones.build import layout_of
from xraycls.models.backbones.options import BodyOptions

_HIDDEN = 4096
ROI_BACKBONES: dict[str, str] = {
    **{f"resnet{layers}": "block_3" for layers in (10, 18, 34, 50, 101)},
    **{f"vgg{layers}": "block_5" for layers in (16, 19)},
    **{f"darknet{layers}": "b4" for layers in (19, 53)},
    "mobilenet_v1": "conv_pw_11",
    "mobilenet_v2": "block_12",
    "googlenet": "inception_4e",
    **{f"efficientnet_b{number}": "block5" for number in range(8)},
}
"""Name of a body → its last stage for the whole picture, as TAO divides it."""


class RoIBody(Body):
    """What turns the crop of a region into a vector.

    Attributes:
        channels: of the vectors.
    """

    def __init__(self, layout: Layout, channels: int) -> None:
        super().__init__(layout)
        self.channels = channels

    def forward(self, crops: Tensor) -> Tensor:
        """Returns vectors [n, channels] of crops [n, C, size, size]."""
        for path in self._steps:
            crops = self.get_submodule(path)(crops)
        return crops


def build_roi_network(
    name: str,
    *,
    pool_size: int = 7,
    double: bool = False,
    dropout: float = 0.0,
    channels: int = 3,
    options: BodyOptions | None = None,
) -> tuple[Backbone, RoIBody]:
    """Return both parts of a body, with random weights.

    Args:
        name: one of :data:`ROI_BACKBONES`.
        pool_size: cells to a side of the crops (``roi_pooling_config.pool_size``).
        double: whether crops have twice as many, which a stride of 2 halves again (``pool_size_2x``).
        dropout: probability of a value of the vector to be dropped in training, in VGG and EfficientNet; 0–1.
        channels: of the images, 3 or 1.
        options: the arithmetic, biases and other choices; None for TAO's. Their ``last_stride`` doesn't count.

    Raises:
        UsageError: there is no such body.

    Example:
        >>> import torch
        >>> from xraycls.models.backbones.roi import build_roi_network
        >>> backbone, body = build_roi_network("resnet10", channels=1)
        >>> maps = backbone(torch.zeros(1, 1, 64, 64))[0]
        >>> tuple(maps.shape), tuple(body(torch.zeros(5, 256, 7, 7)).shape)
        ((1, 256, 4, 4), (5, 512))
    """
    if name not in ROI_BACKBONES:
        raise unknown("backbone of Faster R-CNN", name, tuple(ROI_BACKBONES))
    layout = layout_of(name, replace(options or BodyOptions(), last_stride=2 if double else 1))
    stage = layout.stage(ROI_BACKBONES[name])
    backbone = Backbone(layout.until(stage))
    if channels == 1:
        take_one_channel(backbone)
    rest = layout.after(stage)
    if name.startswith("vgg"):
        _add_dense(rest, stage.channels * pool_size**2, double, dropout)
        return backbone, RoIBody(rest, _HIDDEN)
    rest.parts.update(avg_pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    if name.startswith("efficientnet") and dropout:
        rest.parts["dropout"] = nn.Dropout(dropout)
    return backbone, RoIBody(rest, rest.stages[-1].channels)


def _add_dense(body: Layout, inputs: int, double: bool, dropout: float) -> None:
    """The hidden layers of VGG's classifier."""
    body.known_as.update({"classifier.0": "fc1", "classifier.3": "fc2"})
    if double:
        body.parts["classifier_pool"] = nn.MaxPool2d(2)
    body.parts["flatten"] = nn.Flatten()
    for number in (1, 2):
        body.parts[f"fc{number}"] = nn.Linear(inputs, _HIDDEN)
        body.parts[f"relu{number}"] = nn.ReLU(inplace=True)
        if dropout:
            body.parts[f"dropout{number}"] = nn.Dropout(dropout)
        body.layers[f"fc{number}"] = f"fc{number}"
        inputs = _HIDDEN
