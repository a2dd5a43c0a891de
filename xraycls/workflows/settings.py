"""The settings of a run, checked and fully resolved before any data is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xraycls.data.remote import local_copy
from xraycls.errors import UsageError, unknown
from xraycls.evaluation.metrics import metric
from xraycls.evaluation.thresholds import parse_method
from xraycls.loaders.cache import cache_settings
from xraycls.loaders.choose import ENGINES
from xraycls.loaders.recipes.classification import PRESETS
from xraycls.models.hub import hub_model
from xraycls.models.published import published
from xraycls.models.zoo import Normalization, find
from xraycls.training.config import TrainConfig
from xraycls.training.optimizers import OPTIMIZERS
from xraycls.training.schedules import SCHEDULES


def resolved(config: TrainConfig) -> TrainConfig:
    """The same settings with canonical names and absolute paths, so that they mean the same from any folder.

    Data at an address is fetched; its copy takes its place, so that a run notes no address.

    Raises:
        UsageError: a name that doesn't exist; gives the nearest.
    """
    metric(config.monitor, "--monitor")
    parse_method(config.threshold, "--threshold")
    for kind, name, choices, flag in (
        ("optimiser", config.optimizer.lower(), OPTIMIZERS, "--optimizer"),
        ("schedule", config.schedule, SCHEDULES, "--schedule"),
        ("augmentation preset", config.augment, PRESETS, "--augment"),
        ("loader", config.loader, ENGINES, "--loader"),
    ):
        if name not in choices:
            raise unknown(kind, name, choices, flag)
    cache_settings(config.cache)
    if config.normalize is not None:
        Normalization.parse(config.normalize)
    start = _start_of(config)
    base_model = start.pop("base_model", config.base_model)
    for name in ("val_fraction", "test_fraction", "redraw_val") if config.folds is not None else ():
        if getattr(config, name) != TrainConfig.model_fields[name].default:
            raise UsageError(f"--{name.replace('_', '-')} and --folds don't go together: every fold is an equal share")
    # The features of a frozen backbone are computed once where pictures look the same in every epoch.
    augment = "none" if config.freeze == "backbone" and "augment" not in config.model_fields_set else config.augment
    return config.updated(
        {
            **start,
            "base_model": find(base_model).name,
            "augment": augment,
            "optimizer": config.optimizer.lower(),
            "data": config.data and local_copy(config.data, alone=config.images is not None).resolve(),
            "images": config.images and local_copy(config.images).resolve(),
            "weights": str(Path(config.weights).resolve()) if Path(config.weights).exists() else config.weights,
        }
    )


def _start_of(config: TrainConfig) -> dict[str, Any]:
    """What the weights tell of the network and its input, where the user doesn't.

    A network that the user names is fed as itself, unless it is the one that the weights are of.
    """
    told: dict[str, Any] = {}
    given = config.model_fields_set
    if weights := published(config.weights):
        told = {"base_model": weights.base_model}  # the only network that they fit
    elif hub := hub_model(config.weights):
        told = hub.settings()
        if "base_model" in given and find(config.base_model).name != told["base_model"]:
            return {}
    return {name: value for name, value in told.items() if name not in given}
