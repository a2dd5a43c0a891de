"""A detector: a network that takes grey levels, knows its anchors and classes, and gives boxes."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xraycls.models.detection.anchors import SSDAnchors
from xraycls.models.detection.backbones import Backbone, build_backbone
from xraycls.models.detection.coding import decode
from xraycls.models.detection.ssd import SSD
from xraycls.models.detection.suppression import suppress

logger = logging.getLogger(__name__)

BGR_MEAN = (103.939, 116.779, 123.68)
GREY_MEAN = (117.3786,)
_PRIOR, _SPREAD = 0.01, 0.01  # of the classes' probabilities, and of the kernels that give them


@dataclass(frozen=True, slots=True)
class DetectorPlan:
    """All that is needed to build a detector; goes into files as JSON.

    Attributes:
        arch: the backbone's name, as in a spec.
        layers: its number of layers, where the name needs one; else 0.
        classes: names of the objects, without the background.
        height: of the input, pixels.
        width: likewise.
        anchors: the default boxes.
        mean: grey level that is subtracted from each input channel, blue, green, red or grey alone; 0–255.
        sigmoid: whether each class has a probability of its own (focal loss), not shared with the background.
        prediction_channels: of the prediction module before each pair of heads; 0 for none.
        network: "ssd" or "dssd".
    """

    arch: str
    layers: int
    classes: tuple[str, ...]
    height: int
    width: int
    anchors: SSDAnchors
    mean: tuple[float, ...] = BGR_MEAN
    sigmoid: bool = False
    prediction_channels: int = 0
    network: str = "ssd"

    @property
    def name(self) -> str:
        """The backbone with its layers, as in TAO's file names: ``resnet18``."""
        return f"{self.arch}{self.layers or ''}"

    def described(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    @classmethod
    def parse(cls, described: dict[str, Any]) -> DetectorPlan:
        """The plan that was described; raises TypeError or ValueError when it isn't one."""
        anchors = SSDAnchors(**{name: _frozen(value) for name, value in described["anchors"].items()})
        return cls(**{name: _frozen(value) for name, value in described.items()} | {"anchors": anchors})


@dataclass(frozen=True, slots=True)
class Suppression:
    """What becomes of boxes that overlap; see :func:`xraycls.models.detection.suppression.suppress`.

    Attributes:
        confidence: boxes must score more, 0–1.
        iou: above which the worse of two boxes of a class goes, 0–1.
        top_k: most boxes of a picture.
    """

    confidence: float = 0.01
    iou: float = 0.6
    top_k: int = 200


class Detector(nn.Module):
    """A single-shot detector of pictures of grey levels.

    Attributes:
        plan: what it was built from.
        net: the network.
        suppression: of overlapping boxes.
        stages: parts of the backbone by TAO's numbers.
        known_as: layers of the backbone by torchvision's names, where these differ altogether.
    """

    anchors: Tensor
    variances: Tensor
    mean: Tensor
    size: Tensor

    def __init__(self, plan: DetectorPlan, suppression: Suppression | None = None) -> None:
        super().__init__()
        self.plan = plan
        self.suppression = suppression or Suppression()
        backbone = build_backbone(plan.arch, plan.layers)
        if len(plan.mean) == 1:
            take_one_channel(backbone)
        self.stages, self.known_as = backbone.stages, backbone.known_as
        boxes_a_cell, size = plan.anchors.boxes_a_cell(), (plan.height, plan.width)
        deconvolved = size if plan.network == "dssd" else None
        self.net = SSD(backbone, len(plan.classes), boxes_a_cell, plan.prediction_channels, deconvolved)
        anchors = plan.anchors.boxes(size, self.net.map_sizes(*size))
        self.register_buffer("anchors", torch.from_numpy(anchors).float(), persistent=False)
        self.register_buffer("variances", torch.tensor(plan.anchors.variances), persistent=False)
        self.register_buffer("mean", torch.tensor(plan.mean).view(1, -1, 1, 1), persistent=False)
        corners = [plan.width, plan.height] * 2
        self.register_buffer("size", torch.tensor(corners, dtype=torch.float32), persistent=False)
        self.frozen_statistics = False
        if plan.sigmoid:
            self._expect_little()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [b, a, c + 1], the background first, and offsets [b, a, 4] of uint8 pictures [b, 1, h, w]."""
        logits, offsets = self.net(images.to(self.mean.dtype) - self.mean)
        return logits, offsets

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of the classes without the background, [b, a, c], 0–1."""
        if self.plan.sigmoid:
            return logits[..., 1:].float().sigmoid()
        return logits.float().softmax(dim=-1)[..., 1:]

    def detect(self, images: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """What is found in each picture: boxes [n, 4] in pixels of the input, not clipped, classes [n], scores [n].

        Args:
            images: uint8 [b, 1, h, w].
        """
        return self.found(*self(images))

    def found(self, logits: Tensor, offsets: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """:meth:`detect` of what :meth:`forward` gave."""
        boxes = decode(offsets.float(), self.anchors, self.variances) * self.size
        rules = asdict(self.suppression)
        return [suppress(p, b, **rules) for p, b in zip(self.probabilities(logits), boxes, strict=True)]

    def _expect_little(self) -> None:
        """Let every class begin with a probability of about 0.01: else the many anchors of the background drown the few
        of objects in a focal loss (Lin et al. 2017, sections 3.3 and 4.1)."""
        for name, head in self.net.heads.items():
            if name.startswith("ssd_conf") and isinstance(head, nn.Conv2d) and head.bias is not None:
                nn.init.normal_(head.weight, std=_SPREAD)
                nn.init.constant_(head.bias, -math.log((1 - _PRIOR) / _PRIOR))

    def train(self, mode: bool = True) -> Detector:
        """Set training mode, except for batch normalisation whose statistics are frozen."""
        super().train(mode)
        for module in self.net.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(mode and not self.frozen_statistics)
        return self


def _frozen(value: Any) -> Any:
    """Lists of JSON as the tuples that they were."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def take_one_channel(backbone: Backbone) -> None:
    """Let a backbone take grey pictures: its first convolution sees the sum of what it saw of three channels."""
    name, first = next((n, m) for n, m in backbone.module.named_modules() if isinstance(m, nn.Conv2d))
    grey: nn.Conv2d = copy.deepcopy(first)
    grey.in_channels = 1
    grey.weight = nn.Parameter(first.weight.detach().sum(dim=1, keepdim=True))
    parent, _, child = name.rpartition(".")
    setattr(backbone.module.get_submodule(parent), child, grey)


def freeze(detector: Detector, blocks: tuple[int, ...], statistics: bool) -> None:
    """Keep the convolutions of some blocks of the backbone (``freeze_blocks``), and all its statistics (``freeze_bn``).

    As in TAO, the batch normalisation of a block goes on learning: it fits weights that are kept to other pictures.
    A number that the backbone has no block for freezes nothing there either; here a warning says so.

    Args:
        detector: its backbone.
        blocks: numbers of blocks, as TAO counts them.
        statistics: whether batch normalisation in the backbone keeps what it knows.
    """
    if lacking := sorted(set(blocks) - detector.stages.keys()):
        logger.warning(
            "%s has the blocks %d to %d: freeze_blocks %s freezes nothing.",
            detector.plan.name,
            min(detector.stages),
            max(detector.stages),
            ", ".join(map(str, lacking)),
        )
    for part in (part for number in blocks for part in detector.stages.get(number, ())):
        for module in detector.net.backbone.get_submodule(part).modules():
            if isinstance(module, nn.Conv2d):
                module.requires_grad_(False)
    detector.frozen_statistics = statistics
