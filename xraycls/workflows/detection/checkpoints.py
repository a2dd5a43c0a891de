"""The models that TAO's training leaves behind, one every few epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xraycls.data.files import share_file
from xraycls.training.reporter import PassOn, Reporter


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Keeps the latest weights under a name of their own at every interval and at the end.

    Attributes:
        latest: the weights that training writes after every epoch.
        name: the file of an epoch, counted from 1.
        interval: epochs between two files.
        message: called with a sentence on every file.
    """

    latest: Path
    name: Callable[[int], Path]
    interval: int
    message: Callable[[str], None]

    def __call__(self, epoch: int, last: bool) -> None:
        """Keep the weights of an epoch where they are due."""
        if epoch % self.interval == 0 or last:
            path = self.name(epoch)
            share_file(self.latest, path)
            self.message(f"Epoch {epoch:05d}: saving model to {path}")

    def repair(self, epoch: int, last: bool) -> None:
        """Keep the weights of an epoch that a training of an earlier version was killed before keeping."""
        if epoch and not self.name(epoch).is_file() and self.latest.is_file():
            self(epoch, last)


class AfterEpoch(PassOn):
    """Passes everything on, and the lines that are left with it once the figures of the epoch are out."""

    def __init__(self, listener: Reporter) -> None:
        super().__init__(listener)
        self._lines: list[str] = []

    def later(self, text: str) -> None:
        """Leave a line for the end of the epoch."""
        self._lines.append(text)

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Pass the figures on, and then the lines."""
        super().epoch(row, improved)
        for line in self._lines:
            self.message(line)
        self._lines.clear()
