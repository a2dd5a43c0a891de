"""What the rest of the package asks of a network that TLT/TAO specs describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xraycls.tao.mounts import Mounts
from xraycls.tao.spec import Spec

if TYPE_CHECKING:
    from xraycls.data.box_sources import BoxData
    from xraycls.loaders.recipes.protocol import ViewRecipe
    from xraycls.loaders.views import Canvas
    from xraycls.models.detection.base import Detector, Suppression
    from xraycls.models.detection.proposals import ProposalSettings
    from xraycls.models.keras_file import KerasModel
    from xraycls.tao.results import Results
    from xraycls.training.job import DetectionJob, EvaluationConfig

    Judging = tuple[BoxData, EvaluationConfig, Suppression]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferencePlan:
    """What a spec says of inference, for which other networks have flags of the command line.

    Attributes:
        model: that predicts; None where the spec names none, as in the next three.
        images: a picture or a folder of them.
        annotated: folder of the annotated pictures.
        labels: folder of the label files.
        threshold: what an object must score, 0–1 exclusive.
        batch_size: pictures at a time.
        captions: whether class and score stand at the boxes of annotated pictures.
    """

    model: Path | None = None
    images: Path | None = None
    annotated: Path | None = None
    labels: Path | None = None
    threshold: float = 0.3
    batch_size: int = 8
    captions: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TaoNetwork:
    """A network of TLT and TAO: one of these is all that the command line, the checks and the report know of it.

    Attributes:
        name: the program that takes its specs, as in ``xraycls <name> train``.
        title: for people, such as "Faster R-CNN".
        aliases: other names of the program.
        spec: the class of the outermost message of its specs.
        marks: the outermost fields that tell its specs from others, with the program that they are for: (program,
            fields with blanks between).
        check: raises SpecError for the first thing that keeps a network from being trained by a spec.
        modern: a spec in the form of today's versions, with what older ones left unsaid.
        verbs: what can be done with the network here, such as "train"; checking its specs always can.
        job: a spec as a job of training; None while the network can't be trained here.
        evaluation: what a spec says of evaluating a trained model, whatever else is in it: the validation data, how
            detections are judged, and which predicted boxes become detections.
        view: how a spec brings pictures onto the input of a trained network in evaluation, from the canvas of that
            input; None for as the network sees all pictures.
        suppression: the last of these alone, from a spec that needs nothing else.
        pretrained: the field of a spec that names a model to take weights from; "" where there is none.
        pruned: the field that names a pruned model to retrain; "" where there is none.
        resumed: the field that names a model to go on from, which goes before both; "" where there is none.
        initial_epoch: the epoch, counted from 1, that a spec goes on with; 1 begins.
        differences: what is done otherwise than in TAO, in sentences that are told when a training begins.
        proposals: of a network in two stages, how many regions the first one proposes in either task.
        optional: parameters of the command line that may be left out since specs can say as much, by verb.
        results: where a training's files go, from the folder of ``-r``; None for the layout of SSD and YOLO.
        weights_name: of the network in the names of weights in that layout; "" for the detector's ``network``.
        table_name: likewise, in the name of the training's table; "" for that of the weights.
        judged: the model that a spec says to evaluate.
        inference: what a spec says of inference.
        keras: a detector as the Keras model that TAO saves; None where it isn't known.
        is_strict: whether its programs print PASCAL VOC's strict figures, those of TAO's Faster R-CNN.
        decimals: of corners and scores in label files; None for the shortest decimals.
        digits: of the average precisions that ``evaluate`` prints.
        figures_first: whether training prints the figures of an epoch before the line on its model's file.
        has_labels_file: whether training writes the names of the classes into ``model_output_labels.txt``.
    """

    name: str
    title: str
    spec: type[Any]
    marks: tuple[tuple[str, str], ...]
    check: Callable[[Spec[Any]], None]
    aliases: tuple[str, ...] = ()
    modern: Callable[[Spec[Any]], Spec[Any]] = lambda spec: spec
    verbs: tuple[str, ...] = ()
    job: Callable[[Spec[Any], Mounts | None], DetectionJob] | None = None
    evaluation: Callable[[Spec[Any], Mounts | None], Judging] | None = None
    view: Callable[[Spec[Any], Canvas], ViewRecipe] | None = None
    suppression: Callable[[Spec[Any]], Suppression] | None = None
    pretrained: str = ""
    pruned: str = ""
    resumed: str = ""
    initial_epoch: Callable[[Spec[Any]], int] = lambda spec: 1
    differences: tuple[str, ...] = ()
    proposals: Callable[[Spec[Any], Literal["evaluation", "inference"]], ProposalSettings] | None = None
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    results: Callable[[Spec[Any], Mounts | None, Path | None], Results] | None = None
    weights_name: str = ""
    table_name: str = ""
    judged: Callable[[Spec[Any], Mounts | None], Path | None] | None = None
    inference: Callable[[Spec[Any], Mounts | None], InferencePlan] | None = None
    keras: Callable[[Detector], KerasModel] | None = None
    is_strict: bool = False
    decimals: tuple[int, int] | None = None
    digits: int = 3
    figures_first: bool = False
    has_labels_file: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether the network can be trained here."""
        return "train" in self.verbs
