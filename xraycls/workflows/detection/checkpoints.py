"""The models that TAO's training leaves behind, one every few epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from xraycls.data.files import share_file
from xraycls.training.reporter import PassOn, Reporter


class Checkpoints(PassOn):
    """Keeps the latest weights under TAO's name at every interval and at the end, and tells what validation gave.

    Args:
        listener: the reporter to pass on to.
        latest: the weights that training writes after every epoch.
        name: the file of an epoch, counted from 1.
        interval: epochs between two files.
        epochs: planned.
    """

    def __init__(
        self, listener: Reporter, latest: Path, name: Callable[[int], Path], interval: int, epochs: int
    ) -> None:
        super().__init__(listener)
        self.latest = latest
        self.name = name
        self.interval = interval
        self.epochs = epochs
        self._left: int | None = None

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Keep the weights, and pass the epoch on."""
        self._left = int(row["epoch"])
        if self._left % self.interval == 0 or self._left == self.epochs:
            self.finish()
        self.listener.epoch(row, improved)

    def finish(self) -> None:
        """Keep the weights of the last epoch if they aren't kept yet: training may have stopped early."""
        if self._left is not None:
            path = self.name(self._left)
            share_file(self.latest, path)
            self.listener.message(f"Epoch {self._left:05d}: saving model to {path}")
            self._left = None
