"""SSD and DSSD as TAO builds them: six maps of strides 8 to 256 on a backbone of stride 16."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xraycls.errors import UsageError, unknown
from xraycls.models.backbones import Arithmetic, Backbone, BodyOptions, build_backbone
from xraycls.models.backbones.options import KERAS_EPSILON, KERAS_MOMENTUM
from xraycls.models.detection.anchors import SSDAnchors
from xraycls.models.detection.base import Detector, DetectorConfig, Raw
from xraycls.models.detection.coding import decode
from xraycls.models.detection.dssd import LAYER_NAMES, Deconvolutions, Predictions, Size
from xraycls.models.detection.ssd_loss import SSDLoss, ssd_loss
from xraycls.models.detection.suppression import detections_of
from xraycls.types import Detections, Objects

# Channels of the 1x1 and of the 3x3 convolution of each extra block; the first keeps the size, the others halve it.
_EXTRAS: dict[str, tuple[tuple[int, int] | None, ...]] = {
    "large": ((512, 512), (256, 512), (128, 256), (128, 256), (128, 256)),
    "middle": ((256, 256), (128, 256), (64, 128), (64, 128), (64, 128)),
    "small": (None, (64, 128), (64, 128), (64, 128), (64, 128)),
}
# Of each backbone that SSD can stand on: the maps it takes, and the width of the layers on top.
SSD_BACKBONES: dict[str, tuple[tuple[str, ...], str]] = {
    "resnet10": (("block_2", "block_4"), "small"),
    "resnet18": (("block_2", "block_4"), "middle"),
    "resnet34": (("block_2", "block_4"), "middle"),
    "resnet50": (("block_2", "block_4"), "large"),
    "resnet101": (("block_2", "block_4"), "large"),
    "vgg16": (("block_4", "block_5"), "large"),
    "vgg19": (("block_4", "block_5"), "large"),
    "darknet19": (("b3", "b4", "b5"), "middle"),
    "darknet53": (("b3", "b4", "b5"), "large"),
    "mobilenet_v1": (("conv_pw_5", "conv_pw_11"), "small"),
    "mobilenet_v2": (("block_6_expand", "block_12"), "small"),
    "squeezenet": (("fire8", "fire9"), "small"),
    "googlenet": (("inception_3b", "inception_5b"), "large"),
    "efficientnet_b0": (("block4a_expand", "block6a_expand", "top"), "large"),
    "efficientnet_b1": (("block4a_expand", "block6a_expand", "top"), "large"),
}
_MAPS = 6
_LAYER_NAMES = (  # as in dssd.py
    (r"extras\.(ssd_expand_block_\d)\.0", r"\1_conv_0"),
    (r"extras\.(ssd_expand_block_\d)\.2", r"\1_conv_1"),
    (r"extras\.(ssd_expand_block_\d)\.3", r"\1_bn_1"),
    (r"heads\.(ssd_(?:conf|loc)_\d)", r"\1"),
    *LAYER_NAMES,
)
_PRIOR, _SPREAD = 0.01, 0.01  # of the classes' probabilities, and of the kernels that give them


@dataclass(frozen=True, kw_only=True)
class SSDConfig(DetectorConfig):
    """An SSD or, with ``network="dssd"``, a DSSD.

    Attributes:
        anchors: the default boxes.
        prediction_channels: of the prediction module before each pair of heads; 0 for none.
        loss: how it learns; with a focal loss each class has a probability of its own, not shared with the background.
    """

    network: str = "ssd"
    anchors: SSDAnchors = field(default=SSDAnchors())
    prediction_channels: int = 0
    loss: SSDLoss = field(default=SSDLoss())

    def architecture(self) -> dict[str, Any]:
        """What the weights depend on, which of the loss settings is whether the logits are read by a sigmoid."""
        return {**super().architecture(), "sigmoid": self.loss.focal is not None}


class SSDDetector(Detector):
    """A single-shot detector (Liu et al. 2016) of grey pictures.

    Attributes:
        anchors: float [A, 4], the default boxes as left, top, right, bottom in shares of the input.
        variances: float [4], what encoded offsets are divided by.
    """

    tao_layer = "ssd_conf_0"
    tao_output = "NMS"
    tao_background = "first"
    config: SSDConfig
    net: SSD
    anchors: Tensor
    variances: Tensor

    def __init__(self, config: SSDConfig) -> None:
        super().__init__(config)
        boxes_a_cell, size = config.anchors.boxes_a_cell(), (config.height, config.width)
        deconvolved = size if config.network == "dssd" else None
        backbone = ssd_backbone(config.backbone, len(config.mean), config.arithmetic)
        self.blocks, self.known_as = backbone.blocks, backbone.known_as
        self.net = SSD(backbone, len(config.classes), boxes_a_cell, config.prediction_channels, deconvolved)
        anchors = config.anchors.boxes(size, self.net.map_sizes(*size))
        self.register_buffer("anchors", torch.from_numpy(anchors).float(), persistent=False)
        self.register_buffer("variances", torch.tensor(config.anchors.variances), persistent=False)
        if config.loss.focal is not None:
            self._expect_little()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, A, classes + 1], the background first, and offsets [B, A, 4] of uint8 pictures [B, 1, H, W]."""
        logits, offsets = self.net(self.normalized(images))
        return logits, offsets

    def criterion(self, raw: Raw, objects: Objects, weights: Tensor) -> dict[str, Tensor]:
        """The losses "classes" and "boxes", over the number of matched anchors of the batch."""
        logits, offsets = raw
        return ssd_loss(logits, offsets, objects, weights, self.anchors, self.variances, self.size, self.config.loss)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of the classes without the background, [B, A, classes], 0–1."""
        if self.config.loss.focal is not None:
            return logits[..., 1:].float().sigmoid()
        return logits.float().softmax(dim=-1)[..., 1:]

    def detect(self, raw: Raw) -> list[Detections]:
        """The detections of each picture; boxes are not clipped to it."""
        return detections_of(*self.candidates(raw), self.config.suppression)

    def candidates(self, raw: Raw) -> tuple[Tensor, Tensor]:
        """Returns probabilities [B, A, classes] and boxes [B, A, 4] of the default boxes."""
        logits, offsets = raw
        boxes = decode(offsets.float(), self.anchors, self.variances) * self.size
        return self.probabilities(logits), boxes

    @property
    def layer_names(self) -> Mapping[str, str]:
        """TAO's names of all layers; of efficientnet_b1, on which TAO builds no SSD, those of its classifier."""
        matches = (
            (path, found.expand(name))
            for path, _ in self.net.named_modules()
            for rule, name in _LAYER_NAMES
            if (found := re.fullmatch(rule, path))
        )
        layers = dict(self.net.named_modules())
        own = {path: name for path, name in matches if isinstance(layers[path], nn.Conv2d | nn.BatchNorm2d)}
        return {**super().layer_names, **own}

    def prepare(self, steps_per_epoch: int, batch_size: int) -> None:
        """Let running statistics follow a short training, and refuse a batch that batch normalisation can't take."""
        height, width = self.config.height, self.config.width
        if batch_size == 1 and (1, 1) in self.net.map_sizes(height, width):
            raise UsageError(
                f"One image at a time can't be trained at {width} × {height} pixels: the last map is a single number, "
                "and batch normalisation needs two",
                "Use --batch-size 2 or more, or a --size above 256",
            )
        set_momentum(self.net, steps_per_epoch)

    def _expect_little(self) -> None:
        """Let every class begin with a probability of about 0.01: else the many anchors of the background drown the few
        of objects in a focal loss (Lin et al. 2017, sections 3.3 and 4.1)."""
        for name, head in self.net.heads.items():
            if name.startswith("ssd_conf") and isinstance(head, nn.Conv2d) and head.bias is not None:
                nn.init.normal_(head.weight, std=_SPREAD)
                nn.init.constant_(head.bias, -math.log((1 - _PRIOR) / _PRIOR))


def ssd_backbone(name: str, channels: int = 3, arithmetic: Arithmetic = "tao") -> Backbone:
    """Return a backbone that gives the maps of an SSD; raises UsageError when SSD has none of that name.

    Args:
        name: in :data:`SSD_BACKBONES`.
        channels: of the pictures, 3 or 1.
        arithmetic: whose layers it has.
    """
    if name not in SSD_BACKBONES:
        raise unknown("backbone of SSD", name, tuple(SSD_BACKBONES))
    # TAO's SSD wants ReLU of every body, but only the Darknets can be told.
    options = BodyOptions(arithmetic=arithmetic, activation="relu" if name.startswith("darknet") else None)
    return build_backbone(name, SSD_BACKBONES[name][0], channels=channels, options=options)


class SSD(nn.Module):
    """A single-shot detector (Liu et al. 2016), or a deconvolutional one (DSSD, Fu et al. 2017).

    Args:
        backbone: gives the maps that :data:`SSD_BACKBONES` says, of strides 8 and 16, or 8, 16 and 32.
        classes: without the background.
        boxes_a_cell: default boxes in a cell of each of the six maps.
        prediction_channels: of a prediction module before each pair of heads; 0 for none.
        deconvolved: height and width of the pictures for a DSSD, whose layers depend on them; None for a plain SSD.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        boxes_a_cell: Sequence[int],
        prediction_channels: int = 0,
        deconvolved: Size | None = None,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.backbone = backbone
        self.extras = nn.ModuleDict()
        *channels, inputs = backbone.channels
        width = SSD_BACKBONES[backbone.name][1]
        for number, block in enumerate(_EXTRAS[width][: _MAPS - len(channels)]):
            if block is not None:
                self.extras[f"ssd_expand_block_{number}"] = _extra(inputs, *block, stride=1 if number == 0 else 2)
                inputs = block[1]
            channels.append(inputs)
        self.deconvolutions: nn.Module = nn.Identity()
        if deconvolved:
            self.deconvolutions = Deconvolutions(channels, self.map_sizes(*deconvolved), shrink=width == "small")
            channels = [*self.deconvolutions.channels]
        self.predictions: nn.Module = nn.Identity()
        if prediction_channels:
            self.predictions = Predictions(channels, prediction_channels)
            channels = [*self.predictions.channels]
        self.heads = nn.ModuleDict()
        for number, (inputs, boxes) in enumerate(zip(channels, boxes_a_cell, strict=True)):
            self.heads[f"ssd_conf_{number}"] = nn.Conv2d(inputs, boxes * (classes + 1), 3, padding=1)
            self.heads[f"ssd_loc_{number}"] = nn.Conv2d(inputs, boxes * 4, 3, padding=1)
        for part in (self.extras, self.deconvolutions, self.predictions, self.heads):
            for module in part.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps, module.momentum = KERAS_EPSILON, KERAS_MOMENTUM
                elif isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The six feature maps of images [b, 3, h, w]."""
        *maps, last = self.backbone.forward(images)
        if len(maps) == 1 and "ssd_expand_block_0" not in self.extras:
            maps.append(last)
        for block in self.extras.values():
            last = block(last)
            maps.append(last)
        return maps

    def map_sizes(self, height: int, width: int) -> list[Size]:
        """Height and width of the six maps, by looking at one empty picture."""
        first = next(module for module in self.backbone.modules() if isinstance(module, nn.Conv2d))
        was_training = self.training
        with torch.inference_mode():
            maps = self.eval().maps(torch.zeros(1, first.in_channels, height, width))
        self.train(was_training)
        return [(int(m.shape[2]), int(m.shape[3])) for m in maps]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [b, a, classes + 1], the background first, and offsets [b, a, 4], in the order of the anchors."""
        logits, offsets = [], []
        for number, features in enumerate(self.predictions(self.deconvolutions(self.maps(images)))):
            logits.append(_a_row_a_box(self.heads[f"ssd_conf_{number}"](features), self.classes + 1))
            offsets.append(_a_row_a_box(self.heads[f"ssd_loc_{number}"](features), 4))
        return torch.cat(logits, dim=1), torch.cat(offsets, dim=1)


def set_momentum(net: nn.Module, steps_an_epoch: int) -> None:
    """Let running statistics follow a short training: within half an epoch, but no slower than TAO's own lets them.

    TAO's 0.99, and 0.999 in MobileNetV2, take hundreds of steps, more than a few epochs of a small data set have.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            own = KERAS_MOMENTUM if module.momentum is None else module.momentum
            module.momentum = max(min(2.0 / steps_an_epoch, 0.1), own)


def _extra(inputs: int, narrow: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, narrow, 1),
        nn.ReLU(inplace=True),
        _Convolution(narrow, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Convolution(nn.Conv2d):
    """A 3x3 convolution that doesn't stride across a map of one column, where strides make no difference.

    With bf16 and a stride of 2 there, torch 2.15 on a CPU leaves gradients of the kernel unset.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 (torch's name)
        down, across = self.stride
        stride = (down, across if input.shape[-1] > 1 else 1)
        return F.conv2d(input, weight, bias, stride, (1, 1))


def _a_row_a_box(predicted: Tensor, values: int) -> Tensor:
    return predicted.permute(0, 2, 3, 1).reshape(predicted.shape[0], -1, values)
