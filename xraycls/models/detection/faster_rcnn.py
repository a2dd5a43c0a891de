"""Faster R-CNN as TAO builds it: proposals on a map of stride 16, and a second stage that looks at each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from xraycls.loaders.recipes.detectnet import DetectNetRecipe, Placement
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.views import Canvas
from xraycls.models.backbones import Activation, BodyOptions, build_roi_network
from xraycls.models.detection.base import Detector, DetectorConfig, Raw, Suppression, freeze_convolutions
from xraycls.models.detection.faster_rcnn_loss import (
    TRAINING,
    FasterRCNNLoss,
    PaddedObjects,
    RoITargets,
    anchor_targets,
    by_anchor,
    roi_losses,
    roi_targets,
    rpn_losses,
    sample_anchors,
)
from xraycls.models.detection.proposals import (
    ProposalSettings,
    anchor_grid,
    anchor_shapes,
    clip,
    crop_and_resize,
    decode_anchors,
    decode_rois,
    propose,
)
from xraycls.models.detection.ssd import set_momentum
from xraycls.models.detection.suppression import detections_of
from xraycls.types import Detections, Objects

_STRIDE = 16
_RPN_CHANNELS = 512


@dataclass(frozen=True, kw_only=True)
class FasterRCNNConfig(DetectorConfig):
    """All that is needed to build a Faster R-CNN.

    Attributes:
        scales: side of the square anchors, pixels.
        ratios: width through height of anchors.
        use_bias: whether convolutions before batch normalisation have a bias.
        all_projections: whether every residual block's shortcut is a convolution.
        use_pooling: whether the backbone halves maps by pooling where it can, instead of by strides.
        pool_size: rows and columns of a region's crop.
        pool_size_2x: whether crops are twice as large and the second stage halves them.
        dropout: probability of dropout in the second stage of VGG and EfficientNet, 0-1.
        drop_connect: probability with which the last residual block of an EfficientNet is skipped in training, 0-1.
        activation: of Darknet and EfficientNet; None for their own.
        channel_order: of the input; ``mean`` is given in this order.
        scaling: what grey levels minus mean are divided by (``image_scaling_factor``).
        std_scaling: what the first stage's deltas are divided by.
        sides: of an input of no fixed size, pixels of a picture's shorter side, and of the longer at most; None
            stretches pictures to the input.
        spread: what the second stage's deltas of x, y, width and height are multiplied by (``classifier_regr_std``).
        proposals: those of evaluation and inference.
        loss: what it learns from.
    """

    network: str = "faster_rcnn"
    suppression: Suppression = field(default=Suppression(confidence=0.0001, iou=0.3, top_k=100))
    scales: tuple[float, ...] = (64.0, 128.0, 256.0)
    ratios: tuple[float, ...] = (1.0, 0.5, 2.0)
    use_bias: bool = False
    all_projections: bool = True
    use_pooling: bool = False
    pool_size: int = 7
    pool_size_2x: bool = False
    dropout: float = 0.0
    drop_connect: float = 0.0
    activation: Activation | None = None
    channel_order: Literal["rgb", "bgr", "l"] = "bgr"
    scaling: float = 1.0
    std_scaling: float = 1.0
    sides: tuple[int, int] | None = None
    spread: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    proposals: ProposalSettings = field(default=ProposalSettings())
    loss: FasterRCNNLoss = field(default=FasterRCNNLoss())

    def resized(self, width: int, height: int) -> Self:
        """Returns the same configuration for another input, pixels."""
        placement = Placement(sides=self.sides).resized(width / self.width, height / self.height)
        return replace(self, width=width, height=height, sides=placement.sides)

    @classmethod
    def training_defaults(cls) -> dict[str, Any]:
        """Those of TAO's sample specs."""
        return dict(TRAINING)

    @property
    def fill(self) -> int | None:
        """0: black, as TAO's."""
        return 0

    def architecture(self) -> dict[str, Any]:
        """What the weights depend on: neither which proposals are taken, nor what training leaves out at random."""
        without = ("proposals", "dropout", "drop_connect", "sides")
        return {name: value for name, value in super().architecture().items() if name not in without}


class FasterRCNNNet(nn.Module):
    """The layers (Ren et al. 2015).

    Args:
        config: of the detector.

    Attributes:
        backbone: from pictures to one map of stride 16.
        body: the rest of the same network, from crops of the map to vectors.
        crop_size: rows and columns of a crop.
        layer_names: TAO's names of layers by the path of each module with weights.
    """

    def __init__(self, config: FasterRCNNConfig) -> None:
        super().__init__()
        self.crop_size = config.pool_size * (2 if config.pool_size_2x else 1)
        self.backbone, self.body = build_roi_network(
            config.backbone,
            pool_size=config.pool_size,
            double=config.pool_size_2x,
            dropout=config.dropout,
            channels=len(config.mean),
            options=BodyOptions(
                arithmetic=config.arithmetic,
                activation=config.activation,
                bias=config.use_bias,
                all_projections=config.all_projections,
                pooling=config.use_pooling,
                drop_connect=config.drop_connect,
            ),
        )
        inputs, features = self.backbone.channels[0], self.body.channels
        anchors, classes = len(config.scales) * len(config.ratios), len(config.classes)
        self.rpn_conv1 = nn.Conv2d(inputs, _RPN_CHANNELS, 3, padding=1)
        self.rpn_out_class = nn.Conv2d(_RPN_CHANNELS, anchors, 1)
        self.rpn_out_regress = nn.Conv2d(_RPN_CHANNELS, anchors * 4, 1)
        self.dense_class = nn.Linear(features, classes + 1)
        self.dense_regress = nn.Linear(features, classes * 4)
        own = {name: name for name, module in self.named_children() if isinstance(module, nn.Conv2d | nn.Linear)}
        for name in own:  # as Keras does
            nn.init.xavier_uniform_(self.get_parameter(f"{name}.weight"))
            nn.init.zeros_(self.get_parameter(f"{name}.bias"))
        halves = {"backbone": self.backbone, "body": self.body}
        inner = {f"{half}.{path}": name for half, part in halves.items() for path, name in part.layer_names.items()}
        self.layer_names: Mapping[str, str] = inner | own

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns what both stages say when the second looks at the whole picture: all layers, without proposals.

        Args:
            inputs: normalised pictures [B, C, H, W].
        """
        (features,) = self.backbone(inputs)
        crops = F.interpolate(features, self.crop_size, mode="bilinear", align_corners=True)
        return *self.rpn(features), *self.heads(crops)

    def rpn(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits [B, A, h, w] and deltas [B, 4·A, h, w] of the anchors.

        Args:
            features: [B, C, h, w], of the backbone.
        """
        hidden = torch.relu(self.rpn_conv1(features))
        return self.rpn_out_class(hidden), self.rpn_out_regress(hidden)

    def heads(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Returns class logits [K, C + 1], the background last, and deltas [K, 4·C] of crops [K, channels, P, P]."""
        values = self.body(crops)
        return self.dense_class(values), self.dense_regress(values)


class FasterRCNN(Detector):
    """A two-stage detector of grey pictures.

    Args:
        config: what to build.

    Example:
        >>> import torch
        >>> from xraycls.models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig
        >>> config = FasterRCNNConfig(backbone="resnet10", classes=("nodule",), height=160, width=160)
        >>> rois, logits, deltas, *_ = FasterRCNN(config).eval()(torch.zeros(1, 1, 160, 160, dtype=torch.uint8))
        >>> tuple(rois.shape), tuple(logits.shape), tuple(deltas.shape)
        ((1, 300, 4), (1, 300, 2), (1, 300, 1, 4))
    """

    tao_layer = "rpn_out_class"
    tao_output = "nms_out"
    tao_background = "last"
    config: FasterRCNNConfig
    net: FasterRCNNNet
    shapes: Tensor
    spread: Tensor

    def __init__(self, config: FasterRCNNConfig) -> None:
        super().__init__(config)
        self.net = FasterRCNNNet(config)
        self.known_as = self.net.backbone.known_as
        self.blocks = {**dict.fromkeys(self.net.body.blocks, ()), **self.net.backbone.blocks}
        self.register_buffer("shapes", anchor_shapes(config.scales, config.ratios), persistent=False)
        self.register_buffer("spread", torch.tensor(config.spread), persistent=False)

    def normalized(self, images: Tensor) -> Tensor:
        """Returns float [B, C, H, W]: grey levels minus the mean of each channel, divided by ``scaling``."""
        return super().normalized(images) / self.config.scaling

    @property
    def unit(self) -> float:
        """How many grey levels are 1 in what :meth:`normalized` gives."""
        return self.config.scaling

    @property
    def channel_order(self) -> str:
        """Order of the colours that the network sees: "bgr", "rgb", or "l" for grey alone."""
        return self.config.channel_order

    def forward(self, images: Tensor) -> Raw:
        """Returns regions and what both stages say of them.

        Args:
            images: uint8 [B, 1, H, W].

        Returns:
            Regions [B, R, 4], filled up with zeros; class logits [B, R, C + 1], the background last; deltas
            [B, R, C, 4]; logits [B, A, h, w] and deltas [B, 4·A, h, w] of the anchors.
        """
        features, rpn = self._first_stage(images)
        rois = self.proposals(rpn, self.config.proposals)
        return rois, *self.second_stage(features, rois), *rpn

    def loss(self, images: Tensor, objects: Objects, weights: Tensor) -> dict[str, Tensor]:
        """Returns the four terms of the loss; the second stage looks at a sample of the training's proposals only."""
        features, rpn = self._first_stage(images)
        padded = self._padded(objects, images.shape[0])
        rois = self.proposals(rpn, self.config.loss.proposals)
        if self.config.loss.gt_as_roi:
            rois = torch.cat([rois, padded.boxes * padded.present[..., None]], dim=1)
        targets = self._roi_targets(rois, padded)
        logits, deltas = self.second_stage(features, targets.rois)
        return self._terms(rpn, logits, deltas, padded, targets, weights)

    def criterion(self, raw: Raw, objects: Objects, weights: Tensor) -> dict[str, Tensor]:
        """Returns the four terms of the loss of what :meth:`forward` gave, for validation.

        The sample of regions is drawn from the proposals of evaluation, whatever ``gt_as_roi`` says.
        """
        rois, logits, deltas, *rpn = raw
        padded = self._padded(objects, rois.shape[0])
        targets = self._roi_targets(rois, padded)
        logits = logits.gather(1, targets.rows[..., None].expand(-1, -1, logits.shape[2]))
        deltas = deltas.gather(1, targets.rows[..., None, None].expand(-1, -1, *deltas.shape[2:]))
        return self._terms((rpn[0], rpn[1]), logits, deltas, padded, targets, weights)

    def detect(self, raw: Raw) -> list[Detections]:
        """Returns the detections of each picture; boxes end at its last row and column."""
        return detections_of(*self.candidates(raw), self.config.suppression)

    def candidates(self, raw: Raw) -> tuple[Tensor, Tensor]:
        """Returns probabilities [B, R, C], -1 for regions that only fill up, and boxes [B, R, C, 4]."""
        rois, logits, deltas, *_ = raw
        boxes = self._clipped(decode_rois(deltas.float(), rois[:, :, None], self.spread))
        probabilities = logits.float().softmax(dim=-1)[..., :-1]
        real = (rois.abs().sum(dim=-1) > 0)[..., None]
        return probabilities.masked_fill(~real, -1.0), boxes

    def evaluation_recipe(self) -> ViewRecipe:
        """Returns how pictures are rendered: squeezed onto the input, or with their aspect where it has no fixed size.

        As in TAO that is so wherever pictures are predicted, whatever a spec says of crops in training.
        """
        if self.config.sides is None:
            return super().evaluation_recipe()
        return DetectNetRecipe(Canvas(self.config.height, self.config.width), Placement(sides=self.config.sides))

    def regions(self, raw: Raw) -> list[NDArray[np.float32]]:
        """Returns the proposals of each picture, without those that fill up."""
        return [rois[rois.abs().sum(dim=-1) > 0].float().cpu().numpy() for rois in raw[0]]

    def prepare(self, steps_per_epoch: int, batch_size: int) -> None:
        """Let running statistics follow a short training."""
        set_momentum(self.net, steps_per_epoch)

    def draws(self, *shape: int) -> Tensor:
        """Returns the random numbers by which a loss samples, float32 in [0, 1): in evaluation always the same ones."""
        generator = None if self.training else torch.Generator().manual_seed(0)
        return torch.rand(shape, generator=generator).to(self.shapes.device)

    @property
    def extractors(self) -> tuple[nn.Module, ...]:
        """The parts of ``net`` that a classifier has, too: one for the picture, one for each region."""
        return self.net.backbone, self.net.body

    @property
    def layer_names(self) -> Mapping[str, str]:
        """TAO's names of layers by the path of each module of ``net`` with weights."""
        return self.net.layer_names

    def freeze(self, blocks: tuple[int, ...], statistics: bool) -> None:
        """Keep the convolutions of some blocks, of both stages, and the statistics of batch normalisation."""
        super().freeze(blocks, statistics)
        freeze_convolutions(self.net.body, self.net.body.blocks, blocks)

    def _first_stage(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        (features,) = self.net.backbone(self.normalized(images))
        return features, self.net.rpn(features)

    def proposals(self, rpn: tuple[Tensor, Tensor], settings: ProposalSettings) -> Tensor:
        """Returns regions [B, count, 4], filled up with zeros; no gradient goes through their coordinates.

        Args:
            rpn: logits [B, A, h, w] and deltas [B, 4·A, h, w] of the anchors.
            settings: how many, and how much they may overlap.
        """
        logits, deltas = (part.detach().float() for part in rpn)
        deltas = by_anchor(deltas, 4) / self.config.std_scaling
        boxes = self._clipped(decode_anchors(deltas, self._anchors(rpn)))
        number = len(self.shapes)
        by_shape = boxes.view(boxes.shape[0], -1, number, 4).transpose(1, 2).flatten(1, 2)  # as scores: shape, y, x
        scores = logits.sigmoid().flatten(1)
        return propose(scores, by_shape, candidates=settings.candidates, count=settings.count, iou=settings.iou)

    def second_stage(self, features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Returns class logits [B, R, C + 1], the background last, and deltas [B, R, C, 4].

        Args:
            features: [B, channels, h, w], of the backbone.
            rois: float32 [B, R, 4].
        """
        height, width = self.config.height, self.config.width
        crops = crop_and_resize(features, rois, height=height, width=width, size=self.net.crop_size)
        logits, deltas = self.net.heads(crops)
        shape = (rois.shape[0], rois.shape[1], len(self.config.classes))
        return logits.view(*shape[:2], -1), deltas.view(*shape, 4)

    def _anchors(self, rpn: tuple[Tensor, Tensor]) -> Tensor:
        return anchor_grid(self.shapes, rpn[0].shape[2], rpn[0].shape[3], _STRIDE)

    def _clipped(self, boxes: Tensor) -> Tensor:
        return clip(boxes, self.config.height, self.config.width)

    def _padded(self, objects: Objects, pictures: int) -> PaddedObjects:
        return PaddedObjects.of(objects, pictures, self.config.height, self.config.width)

    def _roi_targets(self, rois: Tensor, objects: PaddedObjects) -> RoITargets:
        loss = self.config.loss
        return roi_targets(
            rois,
            objects,
            self.draws(rois.shape[0], 2, max(rois.shape[1], loss.roi_batch)),
            classes=len(self.config.classes),
            number=loss.roi_batch,
            positive=loss.roi_positive,
            negative=loss.roi_negative,
            spread=self.spread,
        )

    def _terms(
        self,
        rpn: tuple[Tensor, Tensor],
        logits: Tensor,
        deltas: Tensor,
        objects: PaddedObjects,
        rois: RoITargets,
        weights: Tensor,
    ) -> dict[str, Tensor]:
        loss = self.config.loss
        labels, targets = anchor_targets(
            self._anchors(rpn),
            objects,
            height=self.config.height,
            width=self.config.width,
            positive=loss.rpn_positive,
            negative=loss.rpn_negative,
        )
        labels = sample_anchors(labels, self.draws(*labels.shape), loss.rpn_batch)
        rpn_logits, rpn_deltas = (by_anchor(part.float(), size) for part, size in zip(rpn, (1, 4), strict=True))
        rpn_class, rpn_box = rpn_losses(rpn_logits[..., 0], rpn_deltas, labels, targets, weights, loss.rpn_batch)
        roi_class, roi_box = roi_losses(logits.float(), deltas.float(), rois, weights)
        return {
            "rpn_class": loss.rpn_class_weight * rpn_class,
            "rpn_box": loss.rpn_box_weight * rpn_box,
            "roi_class": loss.roi_class_weight * roi_class,
            "roi_box": loss.roi_box_weight * roi_box,
        }
