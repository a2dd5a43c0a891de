"""U-Net to boxes: a segmentation network whose masks are drawn from boxes, and boxes read from its maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from xraycls.models.backbones import Arithmetic
from xraycls.models.detection.base import DetectorConfig, Raw, Suppression
from xraycls.models.detection.map_boxes import BoxRule
from xraycls.models.detection.map_detector import MapDetector
from xraycls.models.detection.unet_loss import UNetLoss, side_boxes, unet_loss
from xraycls.models.detection.unet_network import UNet, unet_backbone
from xraycls.types import Objects

Choice = Literal["auto", "none", "score", "all"]

_MIDDLE, _UNIT = 255 * 0.449, 255 * 0.226  # mean and standard deviation of the pictures of ImageNet, in grey levels
_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
_GATES = (0.0, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class UNetConfig(DetectorConfig):
    """A U-Net whose maps become boxes.

    Attributes:
        widths: channels of the decoder's maps, the coarsest first.
        top: whether the deepest map is the one that the last 1x1 convolution of MobileNetV2 and EfficientNet widens for
            a classifier, as in models that were saved before there was the choice; else that of the last block.
        centres: whether centres and sides of objects are learned beside their masks.
        standardize: whether each film is brought to the same mean and contrast first.
        flip: whether evaluation averages the maps of a picture and of its mirror image.
        boxes: how maps become boxes.
        choose: what is chosen on the validation films at the end of a training, by RSNA's figure: nothing, the score
            from which a box is reported, or also the threshold of the mask, the gate and the shrinking of boxes. "auto"
            chooses all where there are 300 objects or more, and the score alone where there are fewer.
        loss: weights of the terms of the loss.
    """

    network: str = "unet"
    backbone: str = "mobilenet_v2"
    height: int = 256
    width: int = 256
    arithmetic: Arithmetic = "torchvision"
    suppression: Suppression = field(default=Suppression(confidence=0.01, iou=0.4, top_k=100))
    widths: tuple[int, ...] = (96, 64, 48)
    top: bool = False
    centres: bool = True
    standardize: bool = True
    flip: bool = True
    boxes: BoxRule = field(default=BoxRule())
    choose: Choice = "auto"
    loss: UNetLoss = field(default=UNetLoss())

    @property
    def reported(self) -> float:
        """The score that was chosen on validation."""
        return self.boxes.score

    @property
    def learns_masks(self) -> bool:
        """Outlines are learnt as they were drawn; where there is none, its box."""
        return True

    def architecture(self) -> dict[str, Any]:
        """What the weights depend on: neither how boxes are read from maps nor that maps are averaged."""
        return {k: v for k, v in super().architecture().items() if k not in ("boxes", "choose", "flip")}

    def reported_from(self, score: float) -> Self:
        """Returns the same configuration with another score from which boxes are reported."""
        return replace(self, boxes=replace(self.boxes, score=score))

    def candidates(self, objects: int) -> Sequence[Self]:
        """Returns the configurations to choose from on validation films with so many objects."""
        few = objects < 300
        if self.choose == "none":
            return ()
        if self.choose == "score" or (self.choose == "auto" and few):
            return (self,)
        rules = [replace(self.boxes, source="mask", threshold=t, gate=g) for t in _THRESHOLDS for g in _GATES]
        if self.centres:
            rules += [replace(self.boxes, source="centres", gate=g) for g in _GATES]
        shrinks = (1.0, 0.95, 0.9, 0.85, 0.8)
        return tuple(replace(self, boxes=replace(rule, shrink=factor)) for rule in rules for factor in shrinks)

    @classmethod
    def of_file(cls, values: Mapping[str, Any]) -> Self:
        """As :meth:`parse`; a file that doesn't say ``top`` was written when it was so."""
        return cls.parse({"top": True, **values})

    @classmethod
    def training_defaults(cls) -> dict[str, Any]:
        """Thirty epochs of AdamW with a cosine schedule, and averaged weights."""
        return {
            "recipe": {"kind": "unet"},
            "optimizer": {"name": "adamw", "weight_decay": 0.02, "backbone": 0.3},
            "rate": {"kind": "schedule", "name": "cosine", "base": 1e-3, "warmup_epochs": 1.0},
            "loop": {"epochs": 30, "clip_norm": 5.0, "ema": 0.99, "ema_warmup": 20.0, "monitor": "mAP"},
        }


class UNetDetector(MapDetector):
    """A U-Net (Ronneberger et al. 2015) of grey pictures that learns masks from boxes and gives boxes again."""

    config: UNetConfig
    net: UNet

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        backbone = unet_backbone(config.backbone, len(config.mean), config.arithmetic, config.top)
        self.blocks, self.known_as = backbone.blocks, backbone.known_as
        self.net = UNet(backbone, len(config.classes), config.widths, config.centres)

    def forward(self, images: Tensor) -> Raw:
        """Logits of masks [B, classes, h, w] and pictures [B, classes]; with centres also theirs, and raw sides."""
        pictures = self.normalized(images)
        raw: Raw = self.net(pictures)
        if self.training or not self.config.flip:
            return raw
        mirrored: Raw = self.net(pictures.flip(3))
        return tuple(
            (one + _unmirrored(other, number)) / 2
            for number, (one, other) in enumerate(zip(raw, mirrored, strict=True))
        )

    def normalized(self, images: Tensor) -> Tensor:
        """Grey levels minus the mean of each channel; with ``standardize`` each film has the contrast of ImageNet."""
        if not self.config.standardize:
            return super().normalized(images)
        grey = images.to(self.mean.dtype)
        middle = grey.mean(dim=(1, 2, 3), keepdim=True)
        apart = (grey - middle).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return ((grey - middle) / (apart + 1.0) * _UNIT).expand(-1, self.mean.shape[1], -1, -1)

    @property
    def zero(self) -> Tensor:
        """Grey level of each channel that is 0 in what :meth:`normalized` gives; with ``standardize`` ImageNet's."""
        return torch.full_like(self.mean, _MIDDLE) if self.config.standardize else self.mean

    def criterion(self, raw: Raw, objects: Objects, weights: Tensor) -> dict[str, Tensor]:
        """The losses of mask, dice, image and, with centres, centre and sides."""
        return unet_loss(raw, objects, weights, self.size, self.config.loss)

    def probability_maps(self, raw: Raw) -> Raw:
        """Probabilities of masks [B, classes, h, w] and pictures [B, classes]; with centres also theirs, and the box
        [B, h, w, 4] that each cell gives, in cells."""
        maps = raw[0].float().sigmoid(), raw[1].float().sigmoid()
        return (*maps, raw[2].float().sigmoid(), side_boxes(raw[3])) if len(raw) > 2 else maps

    @property
    def rule(self) -> BoxRule:
        """How maps become boxes."""
        return self.config.boxes

    @property
    def layer_names(self) -> Mapping[str, str]:
        """TAO's names of the layers of a backbone that it has, and the paths of the others."""
        layers = dict(self.net.named_modules())
        own = {path: path for path, layer in layers.items() if next(layer.parameters(recurse=False), None) is not None}
        return {**own, **super().layer_names}


def _unmirrored(values: Tensor, number: int) -> Tensor:
    """An output of the mirrored picture as of the picture itself; of sides, left and right change places."""
    if values.dim() < 4:
        return values
    values = values.flip(3)
    return torch.cat([values[:, 2:3], values[:, 1:2], values[:, 0:1], values[:, 3:4]], dim=1) if number == 3 else values
