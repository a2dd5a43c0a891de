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

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Keep the weights, and pass the epoch on."""
        epoch = int(row["epoch"])
        if epoch % self.interval == 0 or epoch == self.epochs:
            path = self.name(epoch)
            share_file(self.latest, path)
            self.listener.message(f"Epoch {epoch:05d}: saving model to {path}")
        self.listener.epoch(row, improved)
