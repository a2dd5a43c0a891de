"""From what a user asks of a U-Net to the settings of a detection job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xraycls.data.plain import with_fields
from xraycls.errors import DataError, UsageError
from xraycls.training.job import DetectionJob

_BACKBONE = "mobilenet_v2"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a user asks of a training; None leaves a setting to the recipe.

    Attributes:
        data: pictures and boxes in any format, or the folder of the pictures where ``labels`` are given.
        labels: the table of boxes, such as ``train.csv`` of ``xraycls data rsna-features``.
        val_fraction: share of the films for validation, by patient, where the data have no split.
        backbone: of :data:`xraycls.models.backbones.BACKBONES`, or ``timm:NAME``.
        size: side of the input, pixels.
        epochs: how often every film is seen.
        batch_size: films a process.
        optimizer: its name.
        learning_rate: at its peak.
        weight_decay: of kernels.
        momentum: of SGD.
        eps: of the Adam family.
        seed: of weights, order, views and splits.
        train_threshold: whether thresholds are chosen on validation.
        box_threshold: of the mask.
        weights: what to start from.
        settings: fields of a job by path, which take the place of all others.
        bn_momentum: of the original network, like the next three.
        bn_eps: of batch normalisation.
        alpha_leaky: slope of LeakyReLU.
        rescale_factor: how much smaller than 1024 pixels the input is.
        learning_rate_decay: of Adagrad.
    """

    data: Path | None = None
    labels: Path | None = None
    val_fraction: float | None = None
    backbone: str | None = None
    size: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    momentum: float | None = None
    eps: float | None = None
    seed: int | None = None
    train_threshold: bool | None = None
    box_threshold: float | None = None
    weights: Path | None = None
    settings: Mapping[str, Any] | None = None
    bn_momentum: float | None = None
    bn_eps: float | None = None
    alpha_leaky: float | None = None
    rescale_factor: int | None = None
    learning_rate_decay: float | None = None


def unet_job(asked: Asked) -> DetectionJob:
    """Returns the job of a modern U-Net.

    Raises:
        UsageError: a setting that there isn't, or that is out of range.

    Example:
        >>> from pathlib import Path
        >>> from xraycls.workflows.unet.settings import Asked, unet_job
        >>> job = unet_job(Asked(data=Path("films"), size=192, epochs=5))
        >>> job.detector.network, job.detector.width, job.loop.epochs, job.optimizer.name
        ('unet', 192, 5, 'adamw')
    """
    if given_too := [name for name in _ORIGINALS if getattr(asked, name) is not None]:
        flag = f"--{given_too[0].replace('_', '-')}"
        raise UsageError(f"{flag} is a setting of the original network", "Add --recipe original, or leave it out")
    adam = {} if asked.eps is None else {"eps": asked.eps}
    changes = {
        "detector.network": "unet",
        "detector.backbone": asked.backbone or _BACKBONE,
        "detector.height": asked.size,
        "detector.width": asked.size,
        "detector.boxes.threshold": asked.box_threshold,
        "detector.choose": None if asked.train_threshold is None else ("auto" if asked.train_threshold else "none"),
        "data": data_of(asked),
        "optimizer.name": asked.optimizer,
        "optimizer.backbone": 0.3 if asked.optimizer else None,
        "optimizer.weight_decay": asked.weight_decay,
        "optimizer.options": momentum_of(asked) or adam or None,
        "rate.base": asked.learning_rate,
        "loop.epochs": asked.epochs,
        "loop.seed": asked.seed,
        "batch_size": asked.batch_size,
        "weights": None if asked.weights is None else str(asked.weights),
    }
    given = {name: value for name, value in changes.items() if value is not None}
    return DetectionJob.parse(with_fields(with_fields({}, given), asked.settings or {}), "the command line")


_ORIGINALS = ("bn_momentum", "bn_eps", "alpha_leaky", "rescale_factor", "learning_rate_decay")
MENDED = (
    "The original recipe keeps its network, loss, rates and schedule. Mended are: the state of the optimiser is kept "
    "between epochs; validation thresholds probabilities; final.pth.tar holds the best epoch; the warp draws a field "
    "for every film and moves its mask; a detection hits one box; --rescale-factor counts everywhere; settings travel "
    "with the weights; validation is drawn by patient and class; figures are means over the films that count."
)
"""What is told of the original recipe."""


def original_job(asked: Asked) -> DetectionJob:
    """Returns the job of the original U-Net: its network, loss, rates and schedule.

    Raises:
        UsageError: a setting that there isn't, that is out of range, or that the network hasn't.

    Example:
        >>> from pathlib import Path
        >>> from xraycls.workflows.unet.settings import Asked, original_job
        >>> job = original_job(Asked(data=Path("films"), optimizer="adagrad", learning_rate=0.1))
        >>> job.rate.name, job.rate.base, job.optimizer.options["lr_decay"], job.batch_size, job.loop.epochs
        ('constant', 0.1, 0.5, 10, 2)
    """
    if asked.backbone is not None:
        raise UsageError("--backbone is for the modern recipe: the original network has none", "Leave it out")
    name = asked.optimizer or "adam"
    options: dict[str, float] = {}
    if name == "sgd":
        options = {"momentum": 0.9 if asked.momentum is None else asked.momentum, "nesterov": False}
    elif name == "adagrad":
        options = {"lr_decay": 0.5 if asked.learning_rate_decay is None else asked.learning_rate_decay}
    elif name in ("adam", "adamw", "adamax"):
        options = {"eps": 1e-8 if asked.eps is None else asked.eps}
    side = asked.size or 1024 // (asked.rescale_factor or 4)
    changes = {
        "detector.network": "unet_original",
        "detector.height": side,
        "detector.width": side,
        "detector.boxes.threshold": asked.box_threshold,
        "detector.search": asked.train_threshold,
        "detector.bn_momentum": asked.bn_momentum,
        "detector.bn_eps": asked.bn_eps,
        "detector.slope": asked.alpha_leaky,
        "data": {"val_fraction": 0.1, **data_of(asked)},
        "optimizer.name": name,
        "optimizer.options": options,
        "optimizer.weight_decay": asked.weight_decay,
        "rate.kind": "schedule",
        "rate.name": "constant" if name == "adagrad" else "step",
        "rate.step_epochs": 1,
        "rate.step_factor": 0.5,
        "rate.base": 0.5 if asked.learning_rate is None else asked.learning_rate,
        "loop.epochs": asked.epochs,
        "loop.seed": asked.seed,
        "batch_size": asked.batch_size or 10,
        "weights": None if asked.weights is None else str(asked.weights),
    }
    given = {path: value for path, value in changes.items() if value is not None}
    return DetectionJob.parse(with_fields(with_fields({}, given), asked.settings or {}), "the command line")


def momentum_of(asked: Asked) -> dict[str, float]:
    """The option of SGD, where it is asked for."""
    if asked.momentum is None:
        return {}
    if asked.optimizer != "sgd":
        raise UsageError(f"--momentum is for the optimiser sgd, not for {asked.optimizer or 'adamw'}", "Leave it out")
    return {"momentum": asked.momentum}


def data_of(asked: Asked) -> dict[str, Any]:
    """The data of a job.

    Raises:
        UsageError: none is named.
        DataError: a folder of pictures, with a table of boxes, isn't there.
    """
    if asked.labels is None and asked.data is None:
        raise UsageError("Nothing says what to learn from", "Name the films with --data, and their table with --labels")
    if asked.labels is not None:
        if not asked.labels.exists():
            raise DataError(f"There is no table {asked.labels}", asked.labels, "xraycls data rsna-features writes one")
        if asked.data is not None and not asked.data.is_dir():
            raise DataError(f"There is no folder {asked.data}, which --data names", asked.data)
        images = {} if asked.data is None else {"images": str(asked.data)}
        source: dict[str, Any] = {"path": str(asked.labels), **images}
    else:
        source = {"path": str(asked.data)}
    val = {} if asked.val_fraction is None else {"val_fraction": asked.val_fraction}
    seed = {} if asked.seed is None else {"seed": asked.seed}
    return {"training": [source], **val, **seed}
