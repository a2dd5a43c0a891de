"""What every detector is: a frozen configuration, and a module from grey pictures to losses and detections."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xraycls.data.plain import from_plain, to_plain
from xraycls.errors import UsageError
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.views import Canvas
from xraycls.models.backbones import Arithmetic, Backbone
from xraycls.models.pruning_plan import is_depthwise
from xraycls.types import Detections, Objects

logger = logging.getLogger(__name__)

Raw = tuple[Tensor, ...]
"""What a network gives for a batch, before decoding; the batch is the first dimension of each tensor."""

BGR_MEAN = (103.939, 116.779, 123.68)
GREY_MEAN = (117.3786,)


@dataclass(frozen=True, slots=True)
class Suppression:
    """Which predicted boxes become detections; see :func:`xraycls.models.detection.suppression.suppress`.

    Attributes:
        confidence: boxes must score more, 0–1.
        iou: above which the lower-scored of two boxes of a class is removed, 0–1.
        top_k: most detections of a picture.
    """

    confidence: float = 0.01
    iou: float = 0.6
    top_k: int = 200


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """All that is needed to build a detector, as plain values that JSON and YAML can hold.

    Every network has a subclass with its own fields. Loss settings belong in a field named ``loss``, which doesn't
    count when two configurations are compared by :meth:`architecture`.

    Attributes:
        network: name of the detector in :data:`xraycls.models.detection.registry.DETECTORS`, such as "ssd".
        backbone: name of the feature extractor, such as "resnet18" or "mobilenet_v2".
        classes: names of the objects, without the background.
        height: of the input, pixels.
        width: of the input, pixels.
        mean: grey level subtracted from each input channel, 0–255: blue, green and red, or grey alone.
        arithmetic: whose layers the backbone has, see :data:`xraycls.models.backbones.Arithmetic`.
        suppression: which predicted boxes become detections.
    """

    network: str
    backbone: str
    classes: tuple[str, ...]
    height: int
    width: int
    mean: tuple[float, ...] = BGR_MEAN
    arithmetic: Arithmetic = "tao"
    suppression: Suppression = Suppression()

    def described(self) -> dict[str, Any]:
        """The configuration as values of JSON.

        Example:
            >>> from xraycls.models.detection.ssd import SSDConfig
            >>> config = SSDConfig(backbone="resnet18", classes=("nodule",), height=300, width=300)
            >>> config.described()["classes"]
            ['nodule']
            >>> SSDConfig.parse(config.described()) == config
            True
        """
        values: dict[str, Any] = to_plain(self)
        return values

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Returns the configuration of which :meth:`described` gave the values.

        Raises:
            ValueError: a field is missing, unknown or of another type; the message names it.
        """
        return from_plain(cls, values)

    @classmethod
    def of_file(cls, values: Mapping[str, Any]) -> Self:
        """As :meth:`parse`, of a model's file of any version: what it doesn't say is what its version did."""
        return cls.parse(values)

    def resized(self, width: int, height: int) -> Self:
        """Returns the same configuration for another input, pixels."""
        return replace(self, width=width, height=height)

    @property
    def reported(self) -> float | None:
        """The score from which a detection is reported, 0–1, of a network that keeps one; else None."""
        return None

    def reported_from(self, score: float) -> Self:
        """Returns the same configuration that reports detections from another score on, where it keeps one."""
        return self

    def candidates(self, objects: int) -> Sequence[Self]:
        """Returns the configurations of which one is chosen on validation when a training ends; none for no choice.

        They differ in how detections are read from raw outputs, not in layers, and the best score to report from is
        chosen for each.

        Args:
            objects: of all validation pictures: with few of them a choice among many is left to chance.
        """
        return ()

    @property
    def learns_masks(self) -> bool:
        """Whether the loss looks at the masks of objects, where their outlines are known."""
        return False

    @classmethod
    def training_defaults(cls) -> dict[str, Any]:
        """Settings of a :class:`~xraycls.training.job.DetectionJob`, as YAML has them, that suit the network.

        What a user gives takes their place, field by field.
        """
        return {}

    @property
    def fill(self) -> int | None:
        """Grey level of what training pictures leave empty of the input; None for the mean of each picture."""
        return round(sum(self.mean) / len(self.mean))

    def architecture(self) -> dict[str, Any]:
        """What the weights of a trained network depend on: the description without suppression and loss settings."""
        return {name: value for name, value in self.described().items() if name not in ("suppression", "loss")}


class Detector(nn.Module, ABC):
    """A network that finds objects in grey pictures.

    A subclass builds ``net`` in its constructor, whose submodule ``backbone`` is the feature extractor, and defines
    :meth:`forward`, :meth:`criterion` and :meth:`detect`.

    Attributes:
        config: what it was built from.
        net: the layers, from normalised pictures float [B, C, H, W]; what files hold and what pruning narrows.
        blocks: paths of the parts of ``net.backbone`` by the numbers of TAO's ``freeze_blocks``.
        known_as: names of layers of the backbone by torchvision's, where the two have nothing in common.
        mean: float [1, C, 1, 1], see :class:`DetectorConfig`.
        size: float [4], width and height of the input, twice: pixels to a unit of relative coordinates.
        cuts_boxes: whether detections are cut to the input, after suppression.
        tao_layer: name of a layer that all TAO's files of the network have, and no other's; "" where TAO has none.
        tao_output: name of the first output of TAO's exported graphs; "" where TAO has no such network.
        tao_background: where TAO's labels list the background; None where they don't.
    """

    cuts_boxes: ClassVar[bool] = False
    tao_layer: ClassVar[str] = ""
    tao_output: ClassVar[str] = ""
    tao_background: ClassVar[Literal["first", "last"] | None] = None
    net: nn.Module
    blocks: Mapping[int, tuple[str, ...]]
    known_as: Mapping[str, str]
    mean: Tensor
    size: Tensor

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.frozen_statistics = False
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1), persistent=False)
        corners = [float(config.width), float(config.height)] * 2
        self.register_buffer("size", torch.tensor(corners), persistent=False)

    @abstractmethod
    def forward(self, images: Tensor) -> Raw:
        """Returns the network's raw outputs, the batch first in each.

        An exporter traces this method: it has no Python condition on a tensor's values, and reads sizes as
        ``shape[0]`` so that the batch stays dynamic.

        Args:
            images: uint8 [B, 1, H, W], grey levels 0–255. Normalisation happens inside, see :meth:`normalized`.
        """

    @abstractmethod
    def criterion(self, raw: Raw, objects: Objects, weights: Tensor) -> dict[str, Tensor]:
        """Returns the terms of the loss by name, scalars; the loss is their sum.

        Each term is normalised by the network's own rule, such as the number of matched anchors.

        Args:
            raw: what :meth:`forward` gave.
            objects: the ground truth of the batch.
            weights: float [B]; a picture of weight 0 could not be read and adds nothing.
        """

    @abstractmethod
    def detect(self, raw: Raw) -> list[Detections]:
        """Returns the detections of each picture, decoded and suppressed, in pixels of the input.

        Args:
            raw: what :meth:`forward` gave.
        """

    def candidates(self, raw: Raw) -> tuple[Tensor, Tensor]:
        """Returns the predicted boxes before suppression; an exporter traces this as it does :meth:`forward`.

        Args:
            raw: what :meth:`forward` gave.

        Returns:
            Probabilities of the classes without the background, float32 [B, A, C], 0–1; and boxes in pixels of the
            input, float32 [B, A, 4], or [B, A, C, 4] where each class has its own.

        Raises:
            UsageError: the detector doesn't find objects by boxes and their suppression.
        """
        raise UsageError(f"The detector {self.config.network} gives no boxes to suppress, so it can't be exported so")

    def regions(self, raw: Raw) -> list[NDArray[np.float32]] | None:
        """Returns the boxes [n, 4] that a first stage proposes in each picture; None of a detector in one stage.

        Args:
            raw: what :meth:`forward` gave.
        """
        return None

    def evaluation_recipe(self) -> ViewRecipe:
        """Returns how pictures are rendered for evaluation and inference: by default squeezed onto the input."""
        return SSDRecipe(Canvas(self.config.height, self.config.width))

    def loss(self, images: Tensor, objects: Objects, weights: Tensor) -> dict[str, Tensor]:
        """Returns the terms of the loss of a batch; overridden where the targets are needed during the forward pass."""
        return self.criterion(self(images), objects, weights)

    def normalized(self, images: Tensor) -> Tensor:
        """Returns float [B, C, H, W]: grey levels minus the mean of each channel."""
        return images.to(self.mean.dtype) - self.mean

    @property
    def zero(self) -> Tensor:
        """Grey level of each channel that is 0 in what :meth:`normalized` gives, [1, C, 1, 1]."""
        return self.mean

    @property
    def unit(self) -> float:
        """How many grey levels are 1 in what :meth:`normalized` gives."""
        return 1.0

    @property
    def channel_order(self) -> str:
        """Order of the colours that the network sees: "bgr", "rgb", or "l" for grey alone."""
        return "bgr" if self.mean.shape[1] == 3 else "l"

    def regularized(self) -> list[nn.Parameter]:
        """Returns the kernels that a spec's L1 or L2 penalty covers.

        As in TAO's graphs these are the kernels of convolutions and linear layers, frozen ones included, but not
        those of depthwise convolutions.
        """
        covered = (m for m in self.net.modules() if isinstance(m, nn.Conv2d | nn.Linear) and not is_depthwise(m))
        return [parameter for module in covered for parameter in module.parameters(recurse=False) if parameter.ndim > 1]

    @property
    def extractors(self) -> tuple[nn.Module, ...]:
        """The parts of ``net`` that a classifier has, too, in the order of the data; here the backbone alone."""
        return (self.net.get_submodule("backbone"),)

    @property
    def layer_names(self) -> Mapping[str, str]:
        """TAO's names of layers by the path of each module of ``net`` with weights; here those of the backbone alone.

        Files of TAO and the flag ``-el`` of pruning name layers so. A detector whose other layers TAO has, too, adds
        them.
        """
        body = self.net.get_submodule("backbone")
        names = body.layer_names if isinstance(body, Backbone) else {}
        return {f"backbone.{path}": name for path, name in names.items()}

    def prepare(self, steps_per_epoch: int, batch_size: int) -> None:
        """Called once before training; a detector whose layers depend on either overrides it.

        Args:
            steps_per_epoch: batches in an epoch.
            batch_size: pictures in a batch of this process.

        Raises:
            UsageError: the network can't be trained so.
        """

    def freeze(self, blocks: tuple[int, ...], statistics: bool) -> None:
        """Keep the convolutions of some blocks of the backbone, and the statistics of its batch normalisation.

        As in TAO, the batch normalisation of a frozen block goes on learning. A number that the backbone has no
        block for freezes nothing; a warning says so.

        Args:
            blocks: numbers as in the spec's ``freeze_blocks``.
            statistics: whether running means and variances are kept (``freeze_bn``).
        """
        if lacking := sorted(set(blocks) - self.blocks.keys()):
            logger.warning(
                "%s has the blocks %d to %d: freeze_blocks %s freezes nothing.",
                self.config.backbone,
                min(self.blocks),
                max(self.blocks),
                ", ".join(map(str, lacking)),
            )
        freeze_convolutions(self.net.get_submodule("backbone"), self.blocks, blocks)
        self.frozen_statistics = statistics

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except for the extractors' batch normalisation where its statistics are frozen."""
        super().train(mode)
        for module in (module for part in self.extractors for module in part.modules()):
            if isinstance(module, nn.BatchNorm2d):
                module.train(mode and not self.frozen_statistics)
        return self


def freeze_convolutions(network: nn.Module, blocks: Mapping[int, tuple[str, ...]], numbers: tuple[int, ...]) -> None:
    """Keep the convolutions of a network that lie in the blocks of some numbers; others freeze nothing.

    Args:
        network: changed in place.
        blocks: paths of its parts by number.
        numbers: of the blocks to be frozen.
    """
    for path in (path for number in numbers for path in blocks.get(number, ())):
        for module in network.get_submodule(path).modules():
            if isinstance(module, nn.Conv2d):
                module.requires_grad_(False)


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Returns the sum of the terms of a loss, a scalar."""
    return torch.stack([term.float() for term in terms.values()]).sum()
