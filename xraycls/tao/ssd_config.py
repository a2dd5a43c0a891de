"""What a spec of SSD says, in the terms that the rest of the package trains and evaluates with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.recipes.tlt2 import TLT2Recipe
from xraycls.models.detection.anchors import SSDAnchors
from xraycls.tao.common import EarlyStopping, RegularizerConfig
from xraycls.tao.dialects import Dialect
from xraycls.training.annealing import SoftStartAnnealing

if TYPE_CHECKING:
    from xraycls.models.detection.base import Suppression
    from xraycls.models.detection.ssd import SSDConfig


@dataclass(frozen=True, slots=True)
class Source:
    """Where images and their labels lie on this machine.

    Attributes:
        images: the folder of the images; with records, the one that image names are relative to.
        labels: the folder of KITTI labels; None with records.
        records: TFRecords, a file or several by ``*`` in its name; None with labels.
    """

    images: Path | None
    labels: Path | None
    records: Path | None


@dataclass(frozen=True, slots=True)
class SSDData:
    """What to train on and what to validate with.

    Attributes:
        classes: in small letters, sorted, without the background.
        mapping: class by label, both in small letters; labels that it lacks are no objects.
        training: to train on.
        validation: to validate with; may be empty.
        validation_fold: the fold of the training records that is for validation; None for none.
        image_extension: of images that records name, without a dot; "" when the spec doesn't say.
    """

    classes: tuple[str, ...]
    mapping: Mapping[str, str]
    training: tuple[Source, ...]
    validation: tuple[Source, ...]
    validation_fold: int | None
    image_extension: str


@dataclass(frozen=True, slots=True)
class SSDNetwork:
    """What is built.

    Attributes:
        kind: the network; "dssd" adds deconvolutions.
        arch: of the backbone.
        layers: of the backbone, 0 where it comes in one depth alone.
        anchors: its default boxes.
        height: of the input, pixels.
        width: of the input, pixels.
        means: grey levels subtracted from each channel: blue, green and red, or grey.
        prediction_channels: of the module before the heads, 0 for none.
        freeze_blocks: stages of the backbone that aren't trained.
        freeze_bn: whether its batch normalisations keep their statistics.
    """

    kind: Literal["ssd", "dssd"]
    arch: str
    layers: int
    anchors: SSDAnchors
    height: int
    width: int
    means: tuple[float, ...]
    prediction_channels: int
    freeze_blocks: tuple[int, ...]
    freeze_bn: bool


@dataclass(frozen=True, slots=True)
class SSDTraining:
    """How it is trained.

    Attributes:
        batch_size: images a GPU.
        epochs: 1 or more.
        checkpoint_interval: epochs between two saved models.
        learning_rate: the schedule, of one GPU.
        positive_iou: from which a default box answers for an object.
        negative_iou: below which it is background.
        neg_pos: background boxes a positive, of hard-negative mining.
        box_weight: of the box loss.
        focal: alpha and gamma of the focal loss; None for hard-negative mining.
        regularizer: of the kernels.
        early_stopping: None trains to the end; its monitor is "loss" or "validation_loss".
        visualize: whether TensorBoard files are asked for.
    """

    batch_size: int
    epochs: int
    checkpoint_interval: int
    learning_rate: SoftStartAnnealing
    positive_iou: float
    negative_iou: float
    neg_pos: float
    box_weight: float
    focal: tuple[float, float] | None
    regularizer: RegularizerConfig
    early_stopping: EarlyStopping | None
    visualize: bool


@dataclass(frozen=True, slots=True)
class SSDEvaluation:
    """How it is evaluated.

    Attributes:
        every: epochs between two evaluations.
        batch_size: 1 or more.
        mode: average precision at eleven recalls, or the whole area under the curve.
        iou: what a prediction must overlap an object by.
        curve: whether to draw the precision–recall curve.
        confidence: predictions must score more.
        nms_iou: above which the weaker of two predictions goes.
        top_k: predictions an image at most.
    """

    every: int
    batch_size: int
    mode: Literal["sample", "integrate"]
    iou: float
    curve: bool
    confidence: float
    nms_iou: float
    top_k: int

    def suppression(self) -> Suppression:
        """What becomes of boxes that overlap."""
        from xraycls.models.detection.base import Suppression

        return Suppression(confidence=self.confidence, iou=self.nms_iou, top_k=self.top_k)


@dataclass(frozen=True, slots=True)
class SSDSetup:
    """All that a spec of SSD says, in our own terms.

    Attributes:
        dialect: the newest version of TLT or TAO that knows all of its fields.
        seed: of everything that is drawn.
        network: what is built.
        data: what it learns from.
        recipe: how training images are changed.
        training: how it is trained.
        evaluation: how it is evaluated.
    """

    dialect: Dialect
    seed: int
    network: SSDNetwork
    data: SSDData
    recipe: SSDRecipe | TLT2Recipe
    training: SSDTraining
    evaluation: SSDEvaluation

    def resized(self, width: int, height: int) -> SSDSetup:
        """The same for another input of the network, pixels."""
        canvas = replace(self.recipe.canvas, width=width, height=height)
        return replace(
            self,
            network=replace(self.network, width=width, height=height),
            recipe=replace(self.recipe, canvas=canvas),
        )

    def with_training(self, epochs: int | None, batch_size: int | None) -> SSDSetup:
        """The same with other epochs and another batch size, where they are given."""
        training = self.training
        changed = replace(training, epochs=epochs or training.epochs, batch_size=batch_size or training.batch_size)
        return replace(self, training=changed)

    def detector(self) -> SSDConfig:
        """What a detector is built from."""
        from xraycls.models.detection.ssd import SSDConfig
        from xraycls.models.detection.ssd_loss import SSDLoss

        network, training = self.network, self.training
        return SSDConfig(
            network=network.kind,
            backbone=f"{network.arch}{network.layers or ''}",
            classes=self.data.classes,
            height=network.height,
            width=network.width,
            mean=network.means,
            suppression=self.evaluation.suppression(),
            anchors=network.anchors,
            prediction_channels=network.prediction_channels,
            loss=SSDLoss(
                training.positive_iou,
                training.negative_iou,
                training.neg_pos,
                training.box_weight,
                training.focal,
            ),
        )
