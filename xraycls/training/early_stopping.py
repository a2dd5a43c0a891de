"""Early stopping: how long the monitored metric may go without getting better."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Counts misses: epochs in a row in which the metric did not improve.

    Attributes:
        patience: misses allowed; the training stops with this many. None never stops it.
        min_delta: an improvement must be larger than this.
        higher_is_better: direction of the metric.
        best: the best value so far; NaN before the first.
        best_epoch: its epoch, counted from 0; -1 before the first.
        misses: epochs since then.
    """

    patience: int | None
    min_delta: float = 0.0
    higher_is_better: bool = False
    best: float = math.nan
    best_epoch: int = -1
    misses: int = 0

    def update(self, value: float, epoch: int) -> bool:
        """Note an epoch's value; True when it is the best so far. A NaN is a miss, but the first epoch is best."""
        gain = value - self.best if self.higher_is_better else self.best - value
        if self.best_epoch < 0 or gain > self.min_delta or (math.isnan(self.best) and not math.isnan(value)):
            self.best, self.best_epoch, self.misses = value, epoch, 0
            return True
        self.misses += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether patience is used up."""
        return self.patience is not None and self.misses >= self.patience

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"best": self.best, "best_epoch": self.best_epoch, "misses": self.misses}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint."""
        self.best, self.best_epoch, self.misses = state["best"], int(state["best_epoch"]), int(state["misses"])
