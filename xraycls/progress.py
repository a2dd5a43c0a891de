"""Progress for people: bars on a terminal and in notebooks, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from xraycls.training.reporter import StepReport


def default_console() -> Console:
    """Where progress goes: standard error, so that standard output stays readable for programs."""
    return Console(stderr="ipykernel" not in sys.modules, highlight=False)


class TrainingProgress:
    """Shows a training: a bar an epoch where there is a terminal, and a line of figures after each epoch.

    Args:
        console: where to draw; None for standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or default_console()
        self._bar: Progress | None = None

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def preparing(self, done: int, total: int) -> None:
        """Show how far the data is drawn or checked."""
        if self._bar is None:
            self._start(TextColumn("preparing data"), BarColumn(bar_width=28), MofNCompleteColumn())
        self._move(done, total)
        if done == total:
            self._close()

    def step(self, report: StepReport) -> None:
        """Move the bar of the epoch."""
        if self._bar is None:
            self._start(
                TextColumn("epoch {task.fields[epoch]:>3}/{task.fields[epochs]}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4f}"),
                TextColumn("[cyan]{task.fields[rate]:,.0f} images/s"),
                TextColumn("[dim]waiting {task.fields[waiting]:.0%}"),
                TimeRemainingColumn(compact=True),
                **_fields(report),
            )
        self._move(report.step, report.steps, **_fields(report))

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Replace the bar by a line of figures."""
        self._close()
        shown = [f"epoch {row['epoch']:>3.0f}", f"train loss {row['train_loss']:.4f}"]
        names = [name for name in ("loss", "auroc", "accuracy") if f"val_{name}" in row]
        shown += [f"val {name} {row[f'val_{name}']:.4f}" for name in names]
        shown.append(f"{row['seconds']:.1f} s, waiting {row['waiting']:.0%}")
        self.console.print("  ".join(shown) + ("  [green]best so far" if improved else ""))

    def message(self, text: str) -> None:
        """Print a sentence."""
        self.console.print(text, markup=False)

    def _start(self, *columns: ProgressColumn, **fields: Any) -> None:
        if self.console.is_terminal or self.console.is_jupyter:
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.add_task("", total=None, **fields)
            self._bar.start()

    def _move(self, done: int, total: int, **fields: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, **fields)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _fields(report: StepReport) -> dict[str, Any]:
    return {
        "epoch": report.epoch + 1,
        "epochs": report.epochs,
        "loss": report.loss,
        "rate": report.images_per_second,
        "waiting": report.waiting,
    }


@contextmanager
def counting(label: str, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """A bar for anything that reports (done, total); it shows on terminals and in notebooks only."""
    console = console or default_console()
    if not (console.is_terminal or console.is_jupyter):
        yield lambda _done, _total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
