"""All that decides the training of a detector, as one frozen value: built from a TAO spec, from YAML or in Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from xraycls.data.box_sources import BoxData
from xraycls.data.documents import read_settings
from xraycls.data.files import atomic_write
from xraycls.data.plain import from_plain, to_plain, with_fields
from xraycls.errors import UsageError, unknown
from xraycls.loaders.recipes.detectnet import DetectNetRecipe
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.recipes.tlt2 import TLT2Recipe
from xraycls.loaders.recipes.unet import UNetRecipe
from xraycls.loaders.recipes.yolo_v4 import YoloV4Recipe
from xraycls.loaders.views import Canvas
from xraycls.models.detection.base import Detector, DetectorConfig, Suppression
from xraycls.models.detection.registry import parse_detector_config
from xraycls.training.annealing import ExponentialSteps, SoftStartAnnealing, SoftStartCosine, SoftStartSteps
from xraycls.training.config import LoopConfig
from xraycls.training.detection import Regularizer
from xraycls.training.optimizers import OptimizerConfig
from xraycls.training.run_folder import DETECTOR_MARK
from xraycls.training.schedules import LearningRate, Schedule

RECIPES: dict[str, type[Any]] = {
    "ssd": SSDRecipe,
    "tlt2": TLT2Recipe,
    "yolo_v4": YoloV4Recipe,
    "detectnet": DetectNetRecipe,
    "unet": UNetRecipe,
}
"""Augmentation of detectors by name."""

RATES: dict[str, type[Any]] = {
    "schedule": Schedule,
    "soft_start_annealing": SoftStartAnnealing,
    "soft_start_cosine": SoftStartCosine,
    "soft_start_steps": SoftStartSteps,
    "exponential_steps": ExponentialSteps,
}
"""Learning rates by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """How detections are judged.

    Attributes:
        batch_size: pictures at a time, 1 or more.
        mode: average precision at eleven recalls ("sample"), or the whole area under the curve ("integrate").
        iou: what a detection must overlap an object by, 0–1.
        ious: several in turn, of which ``iou`` is the first and whose mean the mAP is; empty for ``iou`` alone.
        rule: whose matching decides what a hit is: that of TAO's SSD and YOLO, or PASCAL VOC's strict one, which
            TAO's Faster R-CNN follows.
        curves: whether the precision–recall curve is drawn.
    """

    batch_size: int = 8
    mode: Literal["sample", "integrate"] = "sample"
    iou: float = 0.5
    ious: tuple[float, ...] = ()
    rule: Literal["tao", "voc"] = "tao"
    curves: bool = False


@dataclass(frozen=True, kw_only=True)
class DetectionJob:
    """A detector, its data and how it is trained and judged.

    What isn't given to the constructor is that of SSD; :meth:`parse` takes the network's own ``training_defaults``.

    Attributes:
        detector: what is built; where its classes are empty, they are those of the data.
        data: what it learns from.
        recipe: how training pictures are augmented; its canvas has the size of the detector's input.
        optimizer: of all trainable parameters.
        rate: learning rate of one process; of several it is multiplied by their number, as in TAO.
        loop: epochs, validation, early stopping, moving average.
        evaluation: how detections are judged.
        batch_size: pictures a process, 1 or more.
        regularizer: penalty on kernels.
        freeze_blocks: blocks of the backbone whose convolutions aren't trained.
        freeze_bn: whether the backbone's batch normalisation keeps its statistics.
        weights: what to start from: a detector, or a classifier's weights for the backbone; None for random weights.
        checkpoint_every: epochs between two models that are kept.
        tensorboard: whether TensorBoard files are written.
        threads: that decode pictures; None for as many as there are processors.
        qat: whether 8 bits are simulated, see :mod:`xraycls.models.quantization`.
    """

    detector: DetectorConfig
    data: BoxData
    recipe: ViewRecipe
    optimizer: OptimizerConfig = field(default=OptimizerConfig(options={"momentum": 0.9, "nesterov": False}))
    rate: LearningRate = field(default=SoftStartAnnealing(5e-5, 5e-3, 0.1, 0.6))
    loop: LoopConfig = field(default=LoopConfig(epochs=80, monitor="mAP", higher_is_better=True))
    evaluation: EvaluationConfig = field(default=EvaluationConfig())
    batch_size: int = 8
    regularizer: Regularizer = field(default=Regularizer())
    freeze_blocks: tuple[int, ...] = ()
    freeze_bn: bool = False
    weights: Path | None = None
    checkpoint_every: int = 1
    tensorboard: bool = True
    threads: int | None = None
    qat: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that can't be, whoever gave them."""
        for name, value in (("batch_size", self.batch_size), ("checkpoint_every", self.checkpoint_every)):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
        if min(self.loop.epochs, self.loop.validate_every, self.evaluation.batch_size) < 1:
            raise UsageError("loop.epochs, loop.validate_every and evaluation.batch_size must be 1 or more")
        if not 0 < self.evaluation.iou <= 1 or not 0 <= self.data.val_fraction < 1:
            raise UsageError("evaluation.iou must be above 0 and at most 1, data.val_fraction at least 0 and below 1")
        not_below_zero: dict[str, float] = {
            "optimizer.weight_decay": self.optimizer.weight_decay,
            "optimizer.backbone": self.optimizer.backbone,
            "regularizer.weight": self.regularizer.weight,
            "loop.clip_norm": self.loop.clip_norm or 0.0,
            "loop.ema_warmup": self.loop.ema_warmup,
            "rate.base": getattr(self.rate, "base", 0.0),
        }
        for name, number in not_below_zero.items():
            if not 0 <= number < math.inf:
                raise UsageError(f"{name} must be 0 or more, not {number:g}")
        if not 0 <= (self.loop.ema or 0.0) < 1:
            raise UsageError(f"loop.ema must be at least 0 and below 1, not {self.loop.ema:g}")
        if self.recipe.canvas.shape != (self.detector.height, self.detector.width):
            raise UsageError("The canvas of the recipe must have the size of the detector's input")

    def resized(self, width: int, height: int) -> DetectionJob:
        """Returns the same job for another input of the network, pixels."""
        recipe: Any = self.recipe
        if isinstance(recipe, DetectNetRecipe):
            recipe = recipe.resized(width, height)
        else:
            recipe = replace(recipe, canvas=replace(recipe.canvas, width=width, height=height))
        return replace(self, detector=self.detector.resized(width, height), recipe=recipe)

    def judging_recipe(self, detector: Detector) -> ViewRecipe:
        """Returns how validation pictures come onto the canvas: as the recipe says, else as the detector sees all."""
        return self.recipe if isinstance(self.recipe, DetectNetRecipe) else detector.evaluation_recipe()

    def with_training(self, epochs: int | None = None, batch_size: int | None = None) -> DetectionJob:
        """Returns the same job with other epochs and another batch size, where they are given."""
        rate: Any = self.rate
        return replace(
            self,
            loop=replace(self.loop, epochs=epochs or self.loop.epochs),
            rate=replace(rate, epochs=epochs) if epochs and isinstance(rate, Schedule) else rate,
            batch_size=batch_size or self.batch_size,
        )

    @property
    def usual_batch(self) -> int:
        """The batch size of jobs for such a detector that name none."""
        usual: int = self.detector.training_defaults().get(
            "batch_size", self.__dataclass_fields__["batch_size"].default
        )
        return usual

    def with_classes(self, classes: tuple[str, ...]) -> DetectionJob:
        """Returns the same job for a detector of these classes."""
        return replace(
            self,
            detector=replace(self.detector, classes=classes),
            data=replace(self.data, classes=classes),
        )

    def described(self) -> dict[str, Any]:
        """Returns the job as values of YAML and JSON, of which :meth:`parse` makes it again."""
        named = {"recipe": RECIPES, "rate": RATES}
        described = {name: to_plain(getattr(self, name)) for name in self.__dataclass_fields__ if name not in named}
        for name, table in named.items():
            value = getattr(self, name)
            key = next(key for key, kind in table.items() if isinstance(value, kind))
            described[name] = {"kind": key, **to_plain(value)}
        # What follows from other settings isn't said twice, so that these can be changed alone.
        if self.recipe.canvas == _canvas(self.detector):
            del described["recipe"]["canvas"]
        if isinstance(self.rate, Schedule) and self.rate.epochs == self.loop.epochs:
            del described["rate"]["epochs"]
        described["weights"] = None if self.weights is None else str(self.weights)
        return described

    def below(self, folder: Path) -> DetectionJob:
        """Returns the same job with relative paths starting from a folder."""
        data = replace(
            self.data,
            training=tuple(each.below(folder) for each in self.data.training),
            validation=tuple(each.below(folder) for each in self.data.validation),
        )
        return replace(self, data=data, weights=self.weights and folder / self.weights)

    @classmethod
    def parse(cls, values: Mapping[str, Any], origin: str = "the job") -> DetectionJob:
        """Returns the job that some values of YAML or Python describe.

        Args:
            values: fields by name. ``detector`` names its ``network``; ``recipe`` and ``rate`` have a ``kind``, and
                the recipe needs no canvas. ``data`` is a path, or a mapping with the fields of
                :class:`~xraycls.data.box_sources.BoxData` in which a path may stand for a source.
            origin: where the values come from, for errors.

        Raises:
            UsageError: a field is missing, unknown or of another type; names it and what would do.

        Example:
            >>> from xraycls.training.job import DetectionJob
            >>> job = DetectionJob.parse(
            ...     {
            ...         "detector": {"network": "ssd", "backbone": "resnet10", "width": 300, "height": 300},
            ...         "data": "boxes",
            ...         "loop": {"epochs": 3},
            ...     }
            ... )
            >>> job.loop.epochs, job.recipe.canvas.width, str(job.data.training[0].path)
            (3, 300, 'boxes')
            >>> DetectionJob.parse(job.described()) == job
            True
        """
        if lacking := [name for name in ("detector", "data") if name not in values]:
            raise UsageError(f"{lacking[0]} is missing in {origin}", "A job needs at least detector and data")
        for name in values:
            if name not in _PARSERS:
                raise unknown("setting", name, _PARSERS, origin)
        given: dict[str, Any] = {"recipe": {}, "loop": {}, **values}
        made: dict[str, Any] = {}
        for name, parse in _PARSERS.items():
            if name not in given:
                continue
            try:
                made[name] = parse(given[name], made)
                if name == "detector":
                    given = _with_defaults(given, made[name].training_defaults())
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                field_name = str(error) if str(error).startswith(name) else f"{name}.{error}"
                raise UsageError(f"{field_name} (in {origin})") from error
        _require_possible(made["detector"].suppression)  # TAO doesn't check a spec's
        try:
            return cls(**made)
        except (AttributeError, TypeError) as error:  # a part that is null, or a number
            raise UsageError(f"{origin} describes no job ({error})") from error

    @classmethod
    def of(cls, job: DetectionJob | Path | str | None, settings: Mapping[str, Any]) -> DetectionJob:
        """Returns a job, or that of a YAML file, with settings in the place of its own; None takes settings alone."""
        if job is None:
            return cls.parse(settings)
        made = job if isinstance(job, DetectionJob) else cls.read(Path(job))
        return cls.parse({**made.described(), **settings}) if settings else made

    @classmethod
    def read(cls, path: Path, changes: Mapping[str, Any] | None = None) -> DetectionJob:
        """Returns the job of a YAML file; relative paths in it start from its folder.

        Args:
            path: of the file.
            changes: settings that take the place of those of the file, as :func:`~xraycls.data.plain.with_field` takes
                them: ``{"loop.epochs": 3}``.

        Raises:
            UsageError: no such file, not YAML, or not a job.
        """
        hint, example = "Name the YAML file of a detector's training", "A config.yaml of such a run is a good start"
        values = read_settings(path, hint=hint, example=example)
        values = {name: value for name, value in values.items() if name != DETECTOR_MARK[0]}
        return cls.parse(with_fields(values, changes or {}), str(path)).below(path.parent)

    def write(self, path: Path) -> None:
        """Write the job as YAML, atomically, with absolute paths; its first line is the mark of detectors."""
        described = self.below(Path.cwd()).described()
        text = yaml.safe_dump({DETECTOR_MARK[0]: DETECTOR_MARK[1], **described}, sort_keys=False, allow_unicode=True)
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _with_defaults(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those that suit the network, field by field where both are of the same kind or name."""
    joined = dict(given)
    for setting, value in defaults.items():
        own = given.get(setting, {})
        if isinstance(own, str):
            own = {"kind": own}
        same = all(isinstance(own, Mapping) and own.get(mark, value.get(mark)) == value.get(mark) for mark in _MARKS)
        joined[setting] = {**value, **own} if same else given[setting]
    return joined


def _detector(values: Any, made: Mapping[str, Any]) -> DetectorConfig:
    if isinstance(values, DetectorConfig):
        return values
    return parse_detector_config({"classes": (), **_mapping(values)})


def _data(values: Any, made: Mapping[str, Any]) -> BoxData:
    """Data that may be a path alone, or have paths in place of sources."""
    if isinstance(values, BoxData):
        return values
    given = _mapping({"training": values} if isinstance(values, str | Path) else values)
    for name in ("training", "validation"):
        sources = given.get(name, ())
        listed = [sources] if isinstance(sources, str | Path | Mapping) else list(sources)
        given[name] = [{"path": each} if isinstance(each, str | Path) else each for each in listed]
    classes = made["detector"].classes
    return from_plain(BoxData, {"val_fraction": 0.15, "classes": classes, **given})


def _recipe(values: Any, made: Mapping[str, Any]) -> Any:
    if not isinstance(values, str | Mapping):
        return values
    return _named(RECIPES, values, "ssd", {"": {"canvas": to_plain(_canvas(made["detector"]))}})


def _canvas(detector: DetectorConfig) -> Canvas:
    """The canvas of a recipe that names none: of the size of the input."""
    return Canvas(detector.height, detector.width, detector.fill)


def _rate(values: Any, made: Mapping[str, Any]) -> Any:
    if not isinstance(values, str | Mapping):
        return values
    return _named(RATES, values, "soft_start_annealing", {"schedule": {"epochs": made["loop"].epochs}})


def _loop(values: Any, made: Mapping[str, Any]) -> LoopConfig:
    if isinstance(values, LoopConfig):
        return values
    given = {"epochs": 80, "monitor": "mAP", **_mapping(values)}
    return from_plain(LoopConfig, {"higher_is_better": not given["monitor"].endswith("loss"), **given})


def _named(table: Mapping[str, type[Any]], values: Any, default: str, more: Mapping[str, Mapping[str, Any]]) -> Any:
    """The value of a named kind; ``more`` holds defaults for one kind, or under "" for all."""
    given = {"kind": default, **({"kind": values} if isinstance(values, str) else _mapping(values))}
    kind = given.pop("kind")
    if kind not in table:
        raise ValueError(f"kind: {kind!r} is none of {', '.join(table)}")
    return from_plain(table[kind], {**more.get(kind, more.get("", {})), **given})


def _mapping(values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"should be fields with values, not {values!r}")
    return dict(values)


def _as(kind: Any) -> Callable[[Any, Mapping[str, Any]], Any]:
    return lambda values, made: from_plain(kind, values)


_MARKS = ("kind", "name")
"""Fields that say what the other fields of a setting mean."""
# In the order in which one needs another.
_PARSERS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "detector": _detector,
    "data": _data,
    "recipe": _recipe,
    "optimizer": _as(OptimizerConfig),
    "loop": _loop,
    "rate": _rate,
    "evaluation": _as(EvaluationConfig),
    "batch_size": _as(int),
    "regularizer": _as(Regularizer),
    "freeze_blocks": _as(tuple[int, ...]),
    "freeze_bn": _as(bool),
    "weights": lambda values, made: None if values is None else from_plain(Path, values),
    "checkpoint_every": _as(int),
    "tensorboard": _as(bool),
    "threads": lambda values, made: None if values is None else from_plain(int, values),
    "qat": _as(bool),
}


def _require_possible(suppression: Suppression) -> None:
    for name in ("confidence", "iou"):
        if not 0 <= getattr(suppression, name) <= 1:
            raise UsageError(
                f"detector.suppression.{name} must lie between 0 and 1, not be {getattr(suppression, name):g}"
            )
    if suppression.top_k < 1:
        raise UsageError(f"detector.suppression.top_k must be 1 or more, not {suppression.top_k}")
