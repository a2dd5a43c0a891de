"""Successive halving: trials that are worse than others were after as many epochs are given up.

The asynchronous rule of Li et al. (MLSys 2020): at each rung, a number of epochs that grows by a factor, a trial
goes on if it is among the best 1 / factor of those that have come so far. No trial waits for another, so the first
always goes on, and which trials are given up depends on the order in which they arrive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xraycls.workflows.sweep.folder import Goal


@dataclass(frozen=True, slots=True)
class Halving:
    """The rungs of a sweep.

    Attributes:
        factor: what the number of trials is divided by at each rung, 2 or more.
        grace: epochs of the first rung; never less than the warm-up takes.
        epochs: of the whole training.
        higher_is_better: the direction of the figure.
    """

    factor: int
    grace: int
    epochs: int
    higher_is_better: bool

    @classmethod
    def of(cls, goal: Goal, factor: int, grace: int | None) -> Halving:
        """Returns the rungs for a goal; without ``grace`` they begin at a fifth of the epochs, and not before 3.

        Example:
            >>> from xraycls.workflows.sweep.folder import Goal
            >>> Halving.of(Goal("loss", False, epochs=30, warmup=8.5), 2, None).rungs
            (9, 18)
        """
        asked = grace or max(3, math.ceil(goal.epochs / 5))
        return cls(factor, max(asked, math.ceil(goal.warmup)), goal.epochs, goal.higher_is_better)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which trials are compared, rising; the last epoch is none of them."""
        rungs, at = [], self.grace
        while at < self.epochs:
            rungs.append(at)
            at *= self.factor
        return tuple(rungs)

    def rung_of(self, epochs: int) -> int:
        """Returns the highest rung that so many epochs have reached; 0 before the first."""
        return max((rung for rung in self.rungs if rung <= epochs), default=0)

    def is_hopeless(self, rung: int, own: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
        """Whether a trial isn't among the best at a rung that it has reached.

        Args:
            rung: of :attr:`rungs`.
            own: its best value up to each epoch.
            others: those of all other trials, which may have come less far.
        """
        sign = -1.0 if self.higher_is_better else 1.0
        there = [_rank(sign * curve[rung - 1]) for curve in (own, *others) if len(curve) >= rung]
        kept = math.ceil(len(there) / self.factor)
        return sum(value < there[0] for value in there[1:]) >= kept


def _rank(value: float) -> float:
    """A value to sort by, where less is better and no number is worst."""
    return math.inf if math.isnan(value) else value
