"""YOLOv4 (Bochkovskiy et al. 2020) as TAO builds it: spatial pyramid pooling, and a path aggregation network on top."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from xraycls.errors import UsageError, unknown
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.recipes.yolo_v4 import YoloV4Recipe
from xraycls.loaders.views import Canvas
from xraycls.models.backbones import BodyOptions, build_backbone
from xraycls.models.detection.base import Detector, DetectorConfig, Raw, Suppression
from xraycls.models.detection.suppression import detections_of
from xraycls.models.detection.yolo_v4_loss import YOLOv4Loss, assign, corners, yolo_v4_loss
from xraycls.models.detection.yolo_v4_network import LAYOUTS, YOLOv4, YOLOv4Tiny
from xraycls.types import Detections, Objects

Anchors = tuple[tuple[tuple[float, float], ...], ...]

# Of YOLOv4's authors, for pictures of 416 x 416: of the coarsest map first.
_COMMON: Anchors = (
    ((116, 90), (156, 198), (373, 326)),
    ((30, 61), (62, 45), (59, 119)),
    ((10, 13), (16, 30), (33, 23)),
)
_COMMON_SIZE = 416
_PRIOR = 0.01  # of objectness
_LARGEST = 8.0  # of the logarithm of a predicted side over its anchor's


@dataclass(frozen=True, kw_only=True)
class YOLOv4Config(DetectorConfig):
    """A YOLOv4, or a YOLOv4-tiny where the backbone is ``cspdarknet_tiny`` (two maps) or ``cspdarknet_tiny_3l``.

    Attributes:
        anchors: (width, height) in pixels of the input, of each map, the coarsest first; empty for those of YOLOv4's
            authors, scaled to the input.
        extend: how far a centre may leave its cell, in cells, of each map; 0–0.3.
        activation: of a Darknet or CSPDarknet; the layers above it have leaky ReLU, other backbones their own.
        force_relu: whether every leaky ReLU becomes a ReLU.
        loss: how it learns.

    Raises:
        UsageError: the size isn't a multiple of 32, or the anchors don't fit the maps or the input.
    """

    network: str = "yolo_v4"
    suppression: Suppression = field(default=Suppression(confidence=0.001, iou=0.5, top_k=200))
    anchors: Anchors = ()
    extend: tuple[float, ...] = (0.0, 0.0, 0.0)
    activation: Literal["leaky_relu", "mish", "relu"] = "leaky_relu"
    force_relu: bool = False
    loss: YOLOv4Loss = field(default=YOLOv4Loss())

    @classmethod
    def training_defaults(cls) -> dict[str, Any]:
        """Those of TAO's sample specs."""
        return {
            "recipe": {"kind": "yolo_v4"},
            "optimizer": {"name": "keras_adam", "options": {"betas": (0.9, 0.999), "eps": 1e-7, "amsgrad": False}},
            "rate": {"kind": "soft_start_cosine", "lowest": 1e-7, "highest": 1e-4, "soft_start": 0.3},
            "regularizer": {"kind": "L1", "weight": 3e-5},
            "loop": {"ema": 0.999, "ema_warmup": 2000.0},
        }

    @property
    def fill(self) -> int | None:
        """None: a letterbox is filled with its picture's mean."""
        return None

    def __post_init__(self) -> None:
        if self.height % 32 or self.width % 32 or min(self.height, self.width) < 32:
            raise UsageError(f"The input of a YOLOv4 is {self.width} x {self.height}", "Choose multiples of 32")
        if self.backbone not in LAYOUTS:
            raise unknown("backbone of a YOLOv4", self.backbone, tuple(LAYOUTS))
        if self.anchors and len(self.anchors) != self.maps:
            raise UsageError(
                f"A YOLOv4 on {self.backbone} has {self.maps} maps, but anchors are given for {len(self.anchors)}",
                "cspdarknet_tiny takes big and mid anchors, every other backbone small ones, too",
            )
        for width, height in (shape for shapes in self.anchors for shape in shapes):
            if not (0 < width <= self.width and 0 < height <= self.height):
                raise UsageError(
                    f"The anchor ({width:g}, {height:g}) doesn't fit an input of {self.width} x {self.height}",
                    "Give width and height in pixels of the input, as `xraycls yolo_v4 kmeans` prints them",
                )

    @property
    def maps(self) -> int:
        """The number of maps that give boxes."""
        return len(LAYOUTS[self.backbone].strides)

    def resized(self, width: int, height: int) -> Self:
        """Returns the same configuration for another input; anchors keep their shares of it."""
        across, down = width / self.width, height / self.height
        anchors = tuple(tuple((w * across, h * down) for w, h in shapes) for shapes in self.anchors)
        return replace(self, width=width, height=height, anchors=anchors)

    def relative_anchors(self) -> Anchors:
        """The anchors in shares of the input's width and height."""
        width, height = (self.width, self.height) if self.anchors else (_COMMON_SIZE, _COMMON_SIZE)
        anchors = self.anchors or _COMMON[: self.maps]
        return tuple(tuple((w / width, h / height) for w, h in shapes) for shapes in anchors)


class YOLOv4Detector(Detector):
    """A YOLOv4 of grey pictures, of any size that is a multiple of 32: anchors are shares of it."""

    cuts_boxes = True
    tao_layer = "conv_big_object"
    tao_output = "BatchedNMS"
    config: YOLOv4Config
    net: YOLOv4 | YOLOv4Tiny

    def __init__(self, config: YOLOv4Config) -> None:
        super().__init__(config)
        self.anchors = [torch.tensor(shapes) for shapes in config.relative_anchors()]
        self.layout = LAYOUTS[config.backbone]
        activation = None
        if "darknet" in config.backbone:
            activation = "relu" if config.force_relu else config.activation
        options = BodyOptions(arithmetic=config.arithmetic, activation=activation)
        backbone = build_backbone(config.backbone, self.layout.taps, channels=len(config.mean), options=options)
        self.blocks, self.known_as = backbone.blocks, backbone.known_as
        outputs = [len(shapes) * (len(config.classes) + 5) for shapes in self.anchors]
        build = YOLOv4Tiny if self.layout.tiny else YOLOv4
        self.net = build(backbone, self.layout, outputs, "relu" if config.force_relu else "leaky_relu")
        for shapes, head in zip(self.anchors, self.net.heads.values(), strict=True):
            _expect_little(head, len(shapes))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns maps [B, anchors x (5 + classes), h, w] of uint8 pictures [B, 1, H, W], the coarsest first.

        The values of an anchor are y, x, height, width, objectness and classes, before decoding.
        """
        maps: tuple[Tensor, ...] = self.net(self.normalized(images))
        return maps

    def evaluation_recipe(self) -> ViewRecipe:
        """Returns how pictures are rendered for evaluation and inference: whole, in the middle of the input."""
        return YoloV4Recipe(Canvas(self.config.height, self.config.width, None))

    def criterion(self, raw: Raw, objects: Objects, weights: Tensor) -> dict[str, Tensor]:
        """Returns the losses "boxes", "objects", "classes" and "background": sums divided by the number of pictures."""
        maps = [(int(each.shape[2]), int(each.shape[3])) for each in raw]
        size, settings = self._size(raw), self.config.loss
        assignment = assign(objects, self.anchors, maps, size, settings.matching)
        return yolo_v4_loss(self.decode(raw), assignment, objects, weights, size, settings)

    def decode(self, raw: Raw) -> Tensor:
        """Returns the predictions [B, N, 5 + classes], by map, row, column and anchor.

        Each is centre y and x, height and width in shares of the picture, and the logits of objectness and classes.
        """
        parts = zip(raw, self.anchors, self.config.extend[: len(raw)], strict=True)
        return torch.cat([_decoded(output, anchors, extend) for output, anchors, extend in parts], dim=1)

    def detect(self, raw: Raw) -> list[Detections]:
        """Returns the detections of each picture, their boxes clipped to it after suppression."""
        limits = self._size(raw).cpu().numpy()
        found = detections_of(*self.candidates(raw), self.config.suppression)
        return [replace(each, boxes=each.boxes.clip(0, limits)) for each in found]

    def candidates(self, raw: Raw) -> tuple[Tensor, Tensor]:
        """Returns probabilities [B, N, classes] and boxes [B, N, 4], which may reach beyond the picture."""
        predictions = self.decode(raw)
        boxes = torch.cat([corner.flip(-1) for corner in corners(predictions)], dim=-1) * self._size(raw)
        return predictions[..., 4:5].sigmoid() * predictions[..., 5:].sigmoid(), boxes

    @property
    def layer_names(self) -> Mapping[str, str]:
        """TAO's names of all layers: above the backbone those of the chains and of the heads."""
        own: dict[str, str] = {}
        for path, layer in self.net.named_modules():
            parts = path.split(".")
            if parts[0] == "heads" and isinstance(layer, nn.Conv2d):
                own[path] = parts[-1]
            elif parts[0] != "backbone" and isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                own[path] = parts[-2] + "_bn" * isinstance(layer, nn.BatchNorm2d)
        return {**super().layer_names, **own}

    def _size(self, raw: Raw) -> Tensor:
        """Width and height of the pictures in pixels, twice: float [4]."""
        height, width = (float(side * self.layout.strides[0]) for side in raw[0].shape[2:])
        return torch.tensor([width, height, width, height], device=raw[0].device)


def _decoded(output: Tensor, anchors: Tensor, extend: float) -> Tensor:
    """Returns the predictions [B, h x w x anchors, 5 + classes] of a map [B, anchors x (5 + classes), h, w]."""
    batch, rows, columns = output.shape[0], output.shape[2], output.shape[3]
    values = output.float().permute(0, 2, 3, 1).reshape(batch, rows, columns, anchors.shape[0], -1)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    cells = torch.stack([y, x], dim=-1)[:, :, None].to(output.device)
    shape = torch.tensor([rows, columns], device=output.device)
    centres = (values[..., :2].sigmoid() * (1.0 + extend) - extend / 2.0 + cells) / shape
    sides = values[..., 2:4].clamp_max(_LARGEST).exp() * anchors.flip(-1).to(output.device)
    return torch.cat([centres, sides, values[..., 4:]], dim=-1).flatten(1, 3)


def _expect_little(head: nn.Module, anchors: int) -> None:
    """Let every prediction begin with an objectness of 0.01: else the background drowns the few objects at first."""
    if isinstance(head, nn.Conv2d) and head.bias is not None:
        nn.init.zeros_(head.bias)
        with torch.no_grad():
            head.bias.view(anchors, -1)[:, 4] = -math.log((1 - _PRIOR) / _PRIOR)
