"""What a training tells of itself while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StepReport:
    """How far an epoch has come.

    Attributes:
        epoch: counted from 0.
        epochs: planned.
        step: batches done.
        steps: batches an epoch.
        loss: mean over the epoch so far.
        images_per_second: over the epoch so far.
        data_time: share of the time in which the model waited for the loader, 0–1.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    data_time: float


class Reporter(Protocol):
    """Listens to a training: a progress bar, plain lines, or nothing."""

    def preparing(self, done: int, total: int) -> None:
        """So many files of the data are drawn or checked."""

    def step(self, report: StepReport) -> None:
        """A batch is done."""

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """An epoch is done; ``row`` is its line of metrics.csv."""

    def message(self, text: str) -> None:
        """Something the user should know."""


class Silent:
    """A reporter that says nothing."""

    def preparing(self, done: int, total: int) -> None:
        """Ignore it."""

    def step(self, report: StepReport) -> None:
        """Ignore it."""

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        """Ignore it."""


class PassOn:
    """A reporter that hands everything on to another; a base for those that listen to something on the way.

    Args:
        listener: the reporter to pass on to.
    """

    def __init__(self, listener: Reporter) -> None:
        self.listener = listener

    def preparing(self, done: int, total: int) -> None:
        """Pass it on."""
        self.listener.preparing(done, total)

    def step(self, report: StepReport) -> None:
        """Pass it on."""
        self.listener.step(report)

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Pass it on."""
        self.listener.epoch(row, improved)

    def message(self, text: str) -> None:
        """Pass it on."""
        self.listener.message(text)


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
