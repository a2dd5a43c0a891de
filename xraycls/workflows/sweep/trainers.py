"""What can be swept: each trainer's settings, how they are checked before a trial starts, and its command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from xraycls.data.plain import with_fields
from xraycls.data.source import require_source
from xraycls.errors import DataError, UsageError, unknown
from xraycls.evaluation.metrics import metric
from xraycls.loaders.choose import ENGINES
from xraycls.models.detection.registry import build_detector
from xraycls.training.config import TrainConfig, parse_config
from xraycls.training.job import DetectionJob
from xraycls.training.precision import choose_device
from xraycls.training.schedules import Schedule
from xraycls.workflows.settings import resolved
from xraycls.workflows.sweep.folder import Goal
from xraycls.workflows.unet.settings import Asked, original_job, unet_job


@dataclass(frozen=True, slots=True)
class Trainer:
    """A command that trains.

    Attributes:
        words: of the command line, after the program's name.
        resume: flags with which it goes on with what is in its output folder, or starts there.
        goal: checks settings; raises UsageError for the first that is wrong.
        flags: the settings that are flags of their own; all others go through ``--set``.
        aliases: shorter names of settings.
    """

    words: tuple[str, ...]
    resume: tuple[str, ...]
    goal: Callable[[Mapping[str, Any]], Goal]
    flags: frozenset[str]
    aliases: Mapping[str, str]

    def spelt(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns settings by their full names, with paths that are there made absolute."""
        named = {self.name_of(name): value for name, value in settings.items()}
        return {name: _absolute(value) if name in _PATHS else value for name, value in named.items()}

    def name_of(self, name: str) -> str:
        """Returns the full name of a setting."""
        plain = name.strip().removeprefix("--").replace("-", "_")
        return self.aliases.get(plain, plain)

    def arguments(self, settings: Mapping[str, Any], output: Path) -> list[str]:
        """Returns the command line of a training in a folder, after the program's name."""
        words = [*self.words]
        for name, value in settings.items():
            if value is None:
                continue
            flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
            if name not in self.flags:
                words += ["--set", f"{name}={_yaml(value)}"]
            elif value is True:
                words.append(flag)
            elif value is False:
                words += [] if name in _SWITCHES else [f"--no-{flag.removeprefix('--')}"]
            else:
                words += [flag, str(value)]
        return [*words, "--output", str(output), *self.resume]


def trainer_of(name: str) -> Trainer:
    """Returns a trainer of the table; raises UsageError with the nearest name where there is none."""
    if name not in TRAINERS:
        raise unknown("trainer", name, TRAINERS)
    return TRAINERS[name]


def _classifier(settings: Mapping[str, Any]) -> Goal:
    texts = {name for name, field in TrainConfig.model_fields.items() if field.annotation is str}
    given = {name: str(value) if name in texts else value for name, value in settings.items()}
    config = resolved(parse_config(given))
    choose_device(config.device)
    if config.gpus > 1:
        raise UsageError(f"A trial trains in one process, and --gpus is {config.gpus}", "Leave it out, add --workers")
    if config.data is not None:
        require_source(config.data, config.images)
    return Goal(config.monitor, metric(config.monitor).higher_is_better, config.epochs, config.warmup_epochs)


def _unet(settings: Mapping[str, Any]) -> Goal:
    known = {field.name for field in fields(Asked)} - {"settings"}
    asked: dict[str, Any] = {
        name: Path(value) if name in _PATHS and value is not None else value
        for name, value in settings.items()
        if name in known
    }
    others = {name: value for name, value in settings.items() if name not in known}
    recipe = others.pop("recipe", "modern")
    if recipe not in ("modern", "original"):
        raise unknown("recipe", str(recipe), ("modern", "original"), "--recipe")
    _check_machine(others)
    others = {name: value for name, value in others.items() if name not in _OF_UNET}
    if unheard := [name for name in others if name.partition(".")[0] not in DetectionJob.__dataclass_fields__]:
        raise unknown("setting", unheard[0], sorted({*known, *_OF_UNET, *DetectionJob.__dataclass_fields__}))
    made = original_job if recipe == "original" else unet_job
    return _of_job(made(Asked(**asked, settings=others)))


def _detector(settings: Mapping[str, Any]) -> Goal:
    _check_machine(settings)
    given = {name: value for name, value in settings.items() if name not in _MACHINE}
    config = given.pop("config", None)
    if config is not None:
        return _of_job(DetectionJob.read(Path(config), given))
    return _of_job(DetectionJob.parse(with_fields({}, given), "the sweep"))


def _of_job(job: DetectionJob) -> Goal:
    """The goal of a job, whose network, optimiser, rate and data are there."""
    for source in (*job.data.training, *job.data.validation):
        if source.path is not None and not source.path.exists():
            raise DataError(f"There is no {source.path} to learn from", source.path, "Name the data with --data")
    if job.weights is not None and not job.weights.exists():
        raise UsageError(f"There is no file {job.weights} to start from", "Name another with weights")
    steps = 1000
    rates = [job.rate.at(step, steps) for step in range(steps)]
    job.optimizer.build([torch.nn.Parameter(torch.zeros(1, 1))], rates[0])
    build_detector(replace(job.detector, classes=job.detector.classes or ("object",)))
    share = getattr(job.rate, "soft_start", 0.0)
    warmup = job.rate.warmup_epochs if isinstance(job.rate, Schedule) else share * job.loop.epochs
    return Goal(job.loop.monitor, job.loop.higher_is_better, job.loop.epochs, warmup)


def _check_machine(settings: Mapping[str, Any]) -> None:
    """Raise UsageError for a device or loader that there isn't."""
    choose_device(settings.get("device", "auto"))
    if (loader := settings.get("loader", "auto")) not in ENGINES:
        raise unknown("loader", loader, ENGINES, "--loader")


def _absolute(value: Any) -> Any:
    """A path that is there as one from the root: a sweep goes on from any folder."""
    if not isinstance(value, str | Path):
        return value
    return str(Path(value).resolve()) if str(value) and Path(value).exists() else str(value)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...")


_PATHS = ("data", "images", "labels", "weights", "config")
_FLAGS = {"class_map": "--map"}
_SWITCHES = frozenset(
    name for name, field in TrainConfig.model_fields.items() if field.annotation is bool and not field.default
)
"""Flags of classifiers that can only be given, not denied."""

_MACHINE = frozenset({"device", "precision", "loader", "threads"})
_OF_UNET = _MACHINE | {"recipe", "save_images"}
_SHORT = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size"}

TRAINERS: dict[str, Trainer] = {
    "train": Trainer(
        words=("train",),
        resume=("--resume", "auto"),
        goal=_classifier,
        flags=frozenset(TrainConfig.model_fields),
        aliases={**_SHORT, "map": "class_map", "model": "base_model"},
    ),
    "unet": Trainer(
        words=("unet", "train"),
        resume=("--resume",),
        goal=_unet,
        flags=frozenset({field.name for field in fields(Asked)} - {"settings"}) | _OF_UNET,
        aliases=_SHORT,
    ),
    "detector": Trainer(
        words=("detector", "train"),
        resume=("--resume",),
        goal=_detector,
        flags=_MACHINE | {"config", "data"},
        aliases={
            "bs": "batch_size",
            "backbone": "detector.backbone",
            "epochs": "loop.epochs",
            "optimizer": "optimizer.name",
            "seed": "loop.seed",
        },
    ),
}
"""By the names that ``xraycls sweep`` takes."""
