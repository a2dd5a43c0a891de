"""What the rest of the package asks of a network that TLT/TAO specs describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xraycls.tao.mounts import Mounts
from xraycls.tao.spec import Spec

if TYPE_CHECKING:
    from xraycls.data.box_sources import BoxData
    from xraycls.models.detection.base import Suppression
    from xraycls.training.job import DetectionJob, EvaluationConfig

    Judging = tuple[BoxData, EvaluationConfig, Suppression]


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
        suppression: the last of these alone, from a spec that needs nothing else.
        pretrained: the field of a spec that names a model to take weights from; "" where there is none.
        pruned: the field that names a pruned model to retrain; "" where there is none.
        initial_epoch: the epoch, counted from 1, that a spec goes on with; 1 begins.
        differences: what is done otherwise than in TAO, in sentences that are told when a training begins.
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
    suppression: Callable[[Spec[Any]], Suppression] | None = None
    pretrained: str = ""
    pruned: str = ""
    initial_epoch: Callable[[Spec[Any]], int] = lambda spec: 1
    differences: tuple[str, ...] = ()
    digits: int = 3
    figures_first: bool = False
    has_labels_file: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether the network can be trained here."""
        return "train" in self.verbs
