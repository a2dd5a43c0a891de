"""Learning rates as pure functions of the progress of a training, and the schedules of classifiers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from xraycls.errors import unknown


class LearningRate(Protocol):
    """The learning rate before each step of a training."""

    def at(self, step: int, steps: int, plateaus: int = 0) -> float:
        """Returns the rate in force after ``step`` of all ``steps`` of a training.

        Args:
            step: batches done, over all epochs.
            steps: batches of all planned epochs.
            plateaus: how often the monitored metric has stalled.
        """


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule by name, with a linear warm-up that never starts at 0.

    Attributes:
        name: "constant", "cosine" (half a cosine from the base to 0: Loshchilov and Hutter, ICLR 2017, without
            restarts), "step" or "plateau".
        base: the highest rate.
        epochs: planned, which ``warmup_epochs`` and ``step_epochs`` relate to.
        warmup_epochs: length of the warm-up.
        step_epochs: length of a step of "step".
        step_factor: factor of each step, or of each plateau.
    """

    name: str
    base: float
    epochs: int
    warmup_epochs: float = 0.0
    step_epochs: int = 10
    step_factor: float = 0.1

    def at(self, step: int, steps: int, plateaus: int = 0) -> float:
        """Returns the rate in force after so many of all ``steps`` of a training.

        Raises:
            UsageError: no such schedule; names the nearest.
        """
        if self.name not in SCHEDULES:
            raise unknown("schedule", self.name, SCHEDULES, "--schedule")
        epoch = step / (steps / self.epochs)
        factor = SCHEDULES[self.name](self, epoch, plateaus)
        if epoch < self.warmup_epochs:
            factor *= 0.01 + 0.99 * epoch / self.warmup_epochs
        return self.base * factor


def _constant(schedule: Schedule, epoch: float, plateaus: int) -> float:
    return 1.0


def _cosine(schedule: Schedule, epoch: float, plateaus: int) -> float:
    span = max(schedule.epochs - schedule.warmup_epochs, 1e-9)
    done = min(max((epoch - schedule.warmup_epochs) / span, 0.0), 1.0)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _step(schedule: Schedule, epoch: float, plateaus: int) -> float:
    return schedule.step_factor ** int(epoch // schedule.step_epochs)


def _plateau(schedule: Schedule, epoch: float, plateaus: int) -> float:
    return schedule.step_factor**plateaus


SCHEDULES: dict[str, Callable[[Schedule, float, int], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "plateau": _plateau,
}
"""Name → the factor of the base rate, from the schedule, the epochs done and the plateaus."""
