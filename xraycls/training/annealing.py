"""The learning-rate schedules of TAO specs: functions of the progress of a whole training, step by step."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SoftStartAnnealing:
    """Up from the lowest rate, along the highest, and down again, geometrically (SSD and YOLOv4).

    Attributes:
        lowest: rate at both ends.
        highest: rate in the middle.
        soft_start: share of the training that the way up takes, 0–1.
        annealing: share after which the way down begins, 0–1.
    """

    lowest: float
    highest: float
    soft_start: float
    annealing: float

    def at(self, step: int, steps: int, plateaus: int = 0) -> float:
        """Returns the rate in force after so many of all ``steps`` of a training."""
        progress = step / steps
        share = 1.0
        if progress < self.soft_start:
            share = progress / self.soft_start
        elif progress > self.annealing:
            share = (1.0 - progress) / (1.0 - self.annealing)
        low, high = math.log(self.lowest), math.log(self.highest)
        return math.exp(low + share * (high - low))


@dataclass(frozen=True, slots=True)
class SoftStartCosine:
    """Up linearly, then down along a cosine (YOLOv4).

    As upstream, the cosine's phase isn't stretched over what the way up leaves, so the lowest rate is reached only
    without a soft start: with 0.3 the training ends at a fifth of the highest.

    Attributes:
        lowest: rate at the start.
        highest: rate after the soft start.
        soft_start: share of the training that the way up takes, 0–1.
    """

    lowest: float
    highest: float
    soft_start: float

    def at(self, step: int, steps: int, plateaus: int = 0) -> float:
        """Returns the rate in force after so many of all ``steps`` of a training."""
        progress = step / steps
        span = self.highest - self.lowest
        if progress < self.soft_start:
            return self.lowest + span * progress / self.soft_start
        return self.lowest + span * (1.0 + math.cos(math.pi * (progress - self.soft_start))) / 2.0


@dataclass(frozen=True, slots=True)
class SoftStartSteps:
    """Up linearly, then divided at every point that is passed (Faster R-CNN).

    Attributes:
        start: rate at the start.
        base: rate after the soft start.
        soft_start: share of the training that the way up takes, 0–1.
        points: shares of the training, rising.
        divider: of the rate at each point.
        decay: Keras' own, by which every rate is divided by 1 + decay · step on top; 0 for none.
    """

    start: float
    base: float
    soft_start: float
    points: tuple[float, ...]
    divider: float
    decay: float = 0.0

    def at(self, step: int, steps: int, plateaus: int = 0) -> float:
        """Returns the rate in force after so many of all ``steps`` of a training."""
        progress = step / steps
        if progress < self.soft_start:
            rate = self.start + (self.base - self.start) * progress / self.soft_start
        else:
            rate = self.base / self.divider ** bisect.bisect_left(self.points, progress)
        return rate / (1.0 + self.decay * step)


@dataclass(frozen=True, slots=True)
class ExponentialSteps:
    """Down smoothly, by a factor every so many percent of the training (Faster R-CNN's "step").

    Attributes:
        base: rate at the start.
        gamma: factor.
        percent: of the training's steps after which the rate has fallen by the factor.
        decay: Keras' own, by which every rate is divided by 1 + decay · step on top; 0 for none.
    """

    base: float
    gamma: float
    percent: float
    decay: float = 0.0

    def at(self, step: int, steps: int, plateaus: int = 0) -> float:
        """Returns the rate in force after so many of all ``steps`` of a training."""
        rate = self.base * self.gamma ** (step / max(steps * self.percent // 100, 1))
        return float(rate / (1.0 + self.decay * step))
