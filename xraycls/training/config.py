"""Everything that decides a training run, as one validated, frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xraycls.data.files import atomic_write
from xraycls.data.options import ReadOptions
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
    compile: bool = False
    validate_every: int = 1
    monitor: str = "loss"
    higher_is_better: bool = False
    patience: int | None = None
    min_delta: float = 0.0
    plateau_patience: int = 0
    save_minutes: float = 10.0


class TrainConfig(BaseModel):
    """A training run; ``config.yaml`` of a run folder holds every field.

    Learning rates are those of a batch as it is, not scaled by its size. ``batch_size`` counts images a process, and in
    training batch normalisation sees those of its own process only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Data
    data: Path | None = None
    images: Path | None = None
    val_fraction: float = Field(0.15, gt=0, lt=1)
    test_fraction: float = Field(0.15, ge=0, lt=1)
    redraw_val: bool = False
    strict: bool = False
    path_column: str | None = None
    label_column: str | None = None
    patient_column: str | None = None
    split_column: str | None = None
    fold: int | None = Field(None, ge=0)
    positive: str | None = None
    class_map: str | None = None
    keep_masks: bool = False
    # Model
    base_model: str = "resnet18"
    weights: str = "imagenet"
    freeze: str = "none"
    size: int | None = Field(None, ge=8)
    dropout: float | None = Field(None, ge=0, lt=1)
    # Loading
    augment: str = "radiograph"
    loader: str = "auto"
    threads: int | None = Field(None, ge=0)
    balance: bool = False
    # Optimisation
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(32, ge=1)
    optimizer: str = "adamw"
    learning_rate: float = Field(3e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    schedule: str = "cosine"
    warmup_epochs: float = Field(1.0, ge=0)
    step_epochs: int = Field(10, ge=1)
    step_factor: float = Field(0.1, gt=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    clip_norm: float | None = Field(None, gt=0)
    accumulate: int = Field(1, ge=1)
    ema: float | None = Field(None, gt=0, lt=1)
    # Stopping
    patience: int = Field(4, ge=1)
    min_delta: float = Field(0.0, ge=0)
    monitor: str = "loss"
    threshold: str = "youden"
    validate_every: int = Field(1, ge=1)
    # Machine
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    channels_last: bool = True
    compile: bool = False
    device: str = "auto"
    gpus: int = Field(1, ge=1)
    seed: int = Field(0, ge=0)
    save_minutes: float = Field(10.0, gt=0)

    @property
    def read_options(self) -> ReadOptions:
        """How the data is to be read, where the user knows better than its files tell."""
        return ReadOptions(**{field.name: getattr(self, field.name) for field in fields(ReadOptions)})

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


# Fields that may differ when a run is resumed: epochs that are already trained would have been the same but for the
# learning rate of a cosine schedule, which spans all epochs, and the grey level or so between two loaders.
RESUMABLE = frozenset(
    {
        "epochs",
        "patience",
        "min_delta",
        "loader",
        "threads",
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
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"--config {path} does not exist") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} is not a YAML file: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no settings", "A config.yaml from a run folder is a good start")
    parse_config(values, str(path))
    return values
