"""Learning-rate schedules as pure functions of the training's progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from xraycls.errors import unknown


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a training stands.

    Attributes:
        epoch: epochs done, with the fraction of the present one.
        epochs: epochs planned.
        warmup_epochs: length of the linear warm-up.
        step_epochs: length of a step of the step schedule.
        step_factor: factor of each step, or of each plateau.
        plateaus: how often the monitored metric has stalled.
    """

    epoch: float
    epochs: int
    warmup_epochs: float = 0.0
    step_epochs: int = 10
    step_factor: float = 0.1
    plateaus: int = 0


def _constant(_: Moment) -> float:
    return 1.0


def _cosine(moment: Moment) -> float:
    """Half a cosine from 1 to 0 after the warm-up (Loshchilov & Hutter, ICLR 2017, without restarts)."""
    span = max(moment.epochs - moment.warmup_epochs, 1e-9)
    done = min(max((moment.epoch - moment.warmup_epochs) / span, 0.0), 1.0)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _step(moment: Moment) -> float:
    return moment.step_factor ** int(moment.epoch // moment.step_epochs)


def _plateau(moment: Moment) -> float:
    return moment.step_factor**moment.plateaus


SCHEDULES: dict[str, Callable[[Moment], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "plateau": _plateau,
}


def learning_rate_factor(schedule: str, moment: Moment) -> float:
    """The factor of the base learning rate at a moment, 0–1; the warm-up rises linearly and never starts at 0.

    Raises:
        UsageError: no such schedule; names the nearest.
    """
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, SCHEDULES, "--schedule")
    factor = SCHEDULES[schedule](moment)
    if moment.epoch < moment.warmup_epochs:
        factor *= 0.01 + 0.99 * moment.epoch / moment.warmup_epochs
    return factor
