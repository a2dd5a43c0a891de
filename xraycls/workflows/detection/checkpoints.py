"""The models that TAO's training leaves behind, one every few epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xraycls.data.files import share_file
from xraycls.training.reporter import Reporter


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Keeps the latest weights under a name of their own at every interval and at the end.

    Attributes:
        latest: the weights that training writes after every epoch.
        name: the file of an epoch, counted from 1.
        interval: epochs between two files.
        reporter: told of every file.
    """

    latest: Path
    name: Callable[[int], Path]
    interval: int
    reporter: Reporter

    def __call__(self, epoch: int, last: bool) -> None:
        """Keep the weights of an epoch where they are due."""
        if epoch % self.interval == 0 or last:
            path = self.name(epoch)
            share_file(self.latest, path)
            self.reporter.message(f"Epoch {epoch:05d}: saving model to {path}")

    def repair(self, epoch: int, last: bool) -> None:
        """Keep the weights of an epoch that a training of an earlier version was killed before keeping."""
        if epoch and not self.name(epoch).is_file() and self.latest.is_file():
            self(epoch, last)
