"""Everything that decides a training run, as one validated, frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xraycls.data.documents import read_settings
from xraycls.data.files import atomic_write
from xraycls.data.options import Blank, ReadOptions, TaskName
from xraycls.errors import UsageError, unknown
from xraycls.training.schedules import Schedule


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """What the training loop needs to know, whatever is trained.

    Attributes:
        epochs: 1 or more.
        seed: of dropout and of everything else that is drawn in a step.
        accumulate: batches whose gradients are summed before the optimiser steps.
        clip_norm: largest norm of the gradient; None for no limit.
        ema: decay of the moving average of weights that is validated and saved, 0–1 exclusive; None for none.
        ema_warmup: steps over which that decay rises, see :func:`~xraycls.training.ema.moving_average`; 0 for none.
        compile: whether torch.compile is used.
        validate_every: epochs between two validations; the last epoch always has one.
        monitor: a validation figure or "train_loss": what chooses the best epoch.
        higher_is_better: the direction of that figure.
        patience: validations in a row without improvement after which training stops; None for no end.
        min_delta: what counts as an improvement.
        plateau_patience: misses until the rate of a plateau schedule falls; 0 for another schedule.
        save_minutes: minutes between two saved states within an epoch.
    """

    epochs: int
    seed: int = 0
    accumulate: int = 1
    clip_norm: float | None = None
    ema: float | None = None
    ema_warmup: float = 0.0
    compile: bool = False
    validate_every: int = 1
    monitor: str = "loss"
    higher_is_better: bool = False
    patience: int | None = None
    min_delta: float = 0.0
    plateau_patience: int = 0
    save_minutes: float = 10.0


DATA, READ, MODEL, FIT = "Data", "Reading", "Model", "Optimisation"
STOP, MACHINE = "Stopping and resuming", "Machine"
"""Groups of settings, as help shows them."""


def _setting(group: str, default: Any, description: str, **limits: Any) -> Any:
    """A field with what help says of it; the command line and the signature of ``xraycls.train`` are made of these."""
    return Field(default, description=description, json_schema_extra={"group": group}, **limits)


class TrainConfig(BaseModel):
    """A training run; ``config.yaml`` of a run folder holds every field.

    The options of ``xraycls train`` and the arguments of :func:`xraycls.train` follow these fields; their types stand
    once more in :class:`TrainSettings`, as type checkers read no classes of pydantic.

    Learning rates are those of a batch as it is, not scaled by its size. ``batch_size`` counts images a process, and in
    training batch normalisation sees those of its own process only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path | None = _setting(
        DATA, None, "Image folder, CSV, prepared data or .npz; synthetic phantoms when omitted."
    )
    images: Path | None = _setting(DATA, None, "Folder that a CSV's paths start from.")
    val_fraction: float = _setting(DATA, 0.15, "Share drawn for validation where none is given.", gt=0, lt=1)
    test_fraction: float = _setting(DATA, 0.15, "Share drawn for the test where none is given.", ge=0, lt=1)
    redraw_val: bool = _setting(DATA, False, "Draw validation anew, by patient.")
    folds: int | None = _setting(
        DATA,
        None,
        "Train a run for each of so many folds of the patients, and test each image by the one without it.",
        ge=3,
    )
    strict: bool = _setting(DATA, False, "Stop at files that can't be read.")
    path_column: str | None = _setting(READ, None, "Column that names the images.")
    label_column: str | None = _setting(READ, None, "Column of the class.")
    patient_column: str | None = _setting(READ, None, "Column of the patient.")
    split_column: str | None = _setting(READ, None, "Column of the split, or of numbers of folds.")
    fold: int | None = _setting(READ, None, "Fold to test on: of a column that numbers folds, or of --folds.", ge=0)
    positive: str | None = _setting(READ, None, "The positive one of two classes.")
    class_map: str | None = _setting(READ, None, 'Rename and merge classes: "COVID-19=PNEUMONIA,No Finding=NORMAL".')
    bits: int | None = _setting(READ, None, "Bits of the grey levels in 16-bit pictures.", ge=8, le=16)
    keep_masks: bool = _setting(READ, False, "Keep masks, thumbnails and heat maps as pictures.")
    task: TaskName = _setting(
        READ, "auto", "single label, multi (several findings an image), or auto: as the data tell."
    )
    labels: str | None = _setting(READ, None, 'Findings, columns of 0 and 1 or names in cells: "Edema,Effusion".')
    label_separator: str | None = _setting(READ, None, 'Between the findings in a cell of labels, such as "|".')
    blank: Blank = _setting(READ, "unknown", "What an empty cell of a finding means: unknown or absent.")
    views: str | None = _setting(READ, None, 'Projections to keep: frontal, lateral, or "PA,AP".')
    base_model: str = _setting(MODEL, "resnet18", "See xraycls models; any timm net as timm:NAME.")
    weights: str = _setting(
        MODEL, "imagenet", "imagenet, none, xrv:NAME, hf-hub:OWNER/NAME, or a file (.pt, .pth, .safetensors)."
    )
    freeze: str = _setting(MODEL, "none", "none, a number of stages, or backbone: the head alone is trained.")
    size: int | None = _setting(MODEL, None, "Side of the input, pixels; the model's own by default.", ge=8)
    normalize: str | None = _setting(
        MODEL, None, "Mean and deviation of pixels in 0-1, such as 0.53/0.26; those of the weights by default."
    )
    dropout: float | None = _setting(MODEL, None, "Of the features in front of the head.", ge=0, lt=1)
    augment: str = _setting(
        DATA, "radiograph", "radiograph, classic2021 or none; none where it isn't given and the backbone is frozen."
    )
    loader: str = _setting(
        MACHINE,
        "auto",
        "auto, torch, dali or resident; auto is torch on a CPU, resident for prepared data on a GPU, else dali.",
    )
    threads: int | None = _setting(MACHINE, None, "Decoding threads; all processors by default.", ge=0)
    cache: str = _setting(
        MACHINE,
        "auto",
        "Keep decoded pictures: auto (in memory while they fit, then 20GB on disk), off, a SIZE such as 50GB, or a DIR "
        "that serves later runs, too.",
    )
    balance: bool = _setting(DATA, False, "Draw every class equally often, rare findings more often.")
    epochs: int = _setting(FIT, 30, "At most this many.", ge=1)
    batch_size: int = _setting(FIT, 32, "Images a process and batch.", ge=1)
    optimizer: str = _setting(FIT, "adamw", "adam, adamw, adamax, sgd, rmsprop, adagrad, adadelta.")
    learning_rate: float = _setting(FIT, 3e-4, "At its peak.", gt=0)
    weight_decay: float = _setting(FIT, 0.01, "Not of biases and norms.", ge=0)
    schedule: str = _setting(FIT, "cosine", "cosine, constant, step or plateau.")
    warmup_epochs: float = _setting(FIT, 1.0, "Linear warm-up.", ge=0)
    step_epochs: int = _setting(FIT, 10, "Length of a step of the step schedule.", ge=1)
    step_factor: float = _setting(FIT, 0.1, "Factor a step or plateau.", gt=0, lt=1)
    label_smoothing: float = _setting(FIT, 0.0, "0 to below 1.", ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = _setting(FIT, "none", "none, or balanced: rare classes count more.")
    loss: Literal["auto", "bce", "focal", "asymmetric"] = _setting(
        FIT, "auto", "Of several findings: bce, focal or asymmetric; auto is bce."
    )
    uncertain: str = _setting(
        FIT, "ignore", 'Uncertain findings: ignore, zeros, ones or smooth; single ones as "ignore,Edema=ones".'
    )
    clip_norm: float | None = _setting(FIT, None, "Largest gradient norm.", gt=0)
    accumulate: int = _setting(FIT, 1, "Batches an optimiser step.", ge=1)
    qat: bool = _setting(FIT, False, "Simulate 8 bits, so that int8 exports keep their accuracy (QAT).")
    ema: float | None = _setting(FIT, None, "Decay of averaged weights, such as 0.999.", gt=0, lt=1)
    patience: int = _setting(STOP, 4, "Epochs without improvement.", ge=1)
    min_delta: float = _setting(STOP, 0.0, "What counts as improvement.", ge=0)
    monitor: str = _setting(STOP, "loss", "loss, auroc, accuracy, balanced_accuracy, f1, …")
    threshold: str = _setting(STOP, "youden", "youden, f1, accuracy, sensitivity=0.95, …; chosen on validation.")
    validate_every: int = _setting(STOP, 1, "Epochs between validations.", ge=1)
    precision: Literal["auto", "bf16", "fp16", "fp32"] = _setting(
        MACHINE, "auto", "auto, bf16, fp16 or fp32; auto is bf16 where it is fast."
    )
    channels_last: bool = _setting(MACHINE, True, "Memory format.")
    compile: bool = _setting(MACHINE, False, "torch.compile the step.")
    device: str = _setting(MACHINE, "auto", "auto, cpu, cuda, cuda:N or mps.")
    gpus: int = _setting(MACHINE, 1, "Processes, one a GPU.", ge=1)
    seed: int = _setting(MACHINE, 0, "Of weights, order, views and splits.", ge=0)
    save_minutes: float = _setting(STOP, 10.0, "Save within an epoch this often.", gt=0)

    @property
    def read_options(self) -> ReadOptions:
        """How the data is to be read, where the user knows better than its files tell."""
        options = ReadOptions(**{field.name: getattr(self, field.name) for field in fields(ReadOptions)})
        return options if self.folds is None else replace(options, fold=None)

    def loop(self, higher_is_better: bool) -> LoopConfig:
        """Returns the settings of the loop; the direction is that of the monitored metric."""
        return LoopConfig(
            epochs=self.epochs,
            seed=self.seed,
            accumulate=self.accumulate,
            clip_norm=self.clip_norm,
            ema=self.ema,
            compile=self.compile,
            validate_every=self.validate_every,
            monitor=self.monitor,
            higher_is_better=higher_is_better,
            patience=self.patience,
            min_delta=self.min_delta,
            # A plateau lowers the rate at half the patience, so that it acts before the end.
            plateau_patience=max(self.patience // 2, 1) if self.schedule == "plateau" else 0,
            save_minutes=self.save_minutes,
        )

    def rate(self) -> Schedule:
        """Returns the learning rate of every step."""
        return Schedule(
            self.schedule, self.learning_rate, self.epochs, self.warmup_epochs, self.step_epochs, self.step_factor
        )

    def updated(self, changes: Mapping[str, Any]) -> TrainConfig:
        """The same run with some fields changed and validated; raises UsageError."""
        return parse_config(self.model_dump() | dict(changes))

    def write(self, path: Path) -> None:
        """Write every field as YAML, atomically."""
        with atomic_write(path) as temporary:
            temporary.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


class TrainSettings(TypedDict, total=False):
    """The fields of :class:`TrainConfig` as arguments, for editors and type checkers; a path may be a string."""

    data: Path | str | None
    images: Path | str | None
    val_fraction: float
    test_fraction: float
    redraw_val: bool
    folds: int | None
    strict: bool
    path_column: str | None
    label_column: str | None
    patient_column: str | None
    split_column: str | None
    fold: int | None
    positive: str | None
    class_map: str | None
    bits: int | None
    keep_masks: bool
    task: TaskName
    labels: str | None
    label_separator: str | None
    blank: Blank
    views: str | None
    base_model: str
    weights: str
    freeze: str
    size: int | None
    normalize: str | None
    dropout: float | None
    augment: str
    loader: str
    threads: int | None
    cache: str
    balance: bool
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    warmup_epochs: float
    step_epochs: int
    step_factor: float
    label_smoothing: float
    class_weights: Literal["none", "balanced"]
    loss: Literal["auto", "bce", "focal", "asymmetric"]
    uncertain: str
    clip_norm: float | None
    accumulate: int
    qat: bool
    ema: float | None
    patience: int
    min_delta: float
    monitor: str
    threshold: str
    validate_every: int
    precision: Literal["auto", "bf16", "fp16", "fp32"]
    channels_last: bool
    compile: bool
    device: str
    gpus: int
    seed: int
    save_minutes: float


# Fields that may differ when a run is resumed: epochs that are already trained would have been the same but for the
# learning rate of a cosine schedule, which spans all epochs, and the grey level or so between two loaders.
RESUMABLE = frozenset(
    {
        "epochs",
        "patience",
        "min_delta",
        "loader",
        "threads",
        "cache",
        "device",
        "save_minutes",
        "threshold",
        "strict",
        "data",
        "images",
    }
)


def parse_config(values: Mapping[str, Any], origin: str | None = None) -> TrainConfig:
    """Validate values from the command line or a file.

    Args:
        values: field names and values.
        origin: the file they came from, for the error.

    Raises:
        UsageError: names the first flag that is unknown or out of range.
    """
    try:
        return TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise unknown("setting", name, TrainConfig.model_fields, origin) from error
        flag = f"{name} in {origin}" if origin else f"--{name.replace('_', '-')}"
        problem = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise UsageError(f"{flag} {problem} (given: {first['input']})") from error


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, validated; raises UsageError."""
    hint, example = "Check the path of --config", "A config.yaml from a run folder is a good start"
    values = read_settings(path, hint=hint, example=example)
    parse_config(values, str(path))
    return values
