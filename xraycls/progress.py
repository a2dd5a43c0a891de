"""Progress for people: bars on a terminal and in notebooks, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

from xraycls.errors import shown

if TYPE_CHECKING:
    from rich.progress import Progress

    from xraycls.training.reporter import StepReport


def printable(text: str) -> str:
    """A text of several lines with the control characters in it shown as escapes."""
    return shown(text, len(text), keep="\n\t")


class _Escaped:
    """What rich draws, with rich's own codes and without those in the texts."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.inner, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


class _Escape(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Escaped(each) for each in renderables]


def console(*, stderr: bool = True, **options: Any) -> Console:
    """A console of rich that shows the control characters in texts as escapes.

    Args:
        stderr: standard error, so that standard output stays readable for programs.
        **options: others of rich's console.
    """
    stream = sys.stderr if stderr else sys.stdout
    # Asked for now: a progress bar puts a stream of its own in its place.
    made = Console(file=getattr(stream, "rich_proxied_file", stream), highlight=False, **options)
    made.push_render_hook(_Escape())
    return made


def default_console() -> Console:
    """Standard error, or the notebook; silent with --quiet."""
    quiet = logging.getLogger("xraycls").level >= logging.WARNING
    return Console(highlight=False, quiet=quiet) if "ipykernel" in sys.modules else console(quiet=quiet)


class _NowAndThen:
    """True at most once in a while, for lines in a log file."""

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self.last = time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


class TrainingProgress:
    """Shows a training: a bar an epoch where there is a terminal, and a line of figures after each epoch.

    Args:
        console: where to draw; None for standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or default_console()
        self._bar: Progress | None = None
        self._due = _NowAndThen()

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def preparing(self, done: int, total: int) -> None:
        """Show how far the data is drawn or checked."""
        if self._bar is None:
            self._start("preparing data")
        self._move(done, total)
        if done == total:
            self._close()

    def step(self, report: StepReport) -> None:
        """Move the bar of the epoch."""
        if self._bar is None:
            self._start(
                "epoch {task.fields[epoch]:>3}/{task.fields[epochs]}",
                "loss {task.fields[loss]:.4f}",
                "[cyan]{task.fields[rate]:,.0f} images/s",
                "[dim]waiting {task.fields[waiting]:.0%}",
                **_fields(report),
            )
        self._move(report.step, report.steps, **_fields(report))
        if self._bar is None and report.step < report.steps and self._due():
            self.console.print(
                f"epoch {report.epoch + 1:>3}/{report.epochs}  batch {report.step}/{report.steps}  "
                f"loss {report.loss:.4f}  {report.images_per_second:,.0f} images/s  waiting {report.data_time:.0%}",
                soft_wrap=True,
            )

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Replace the bar by a line of figures."""
        self._close()
        shown = [f"epoch {row['epoch']:>3.0f}", f"train loss {row['train_loss']:.4f}"]
        names = [name for name in ("loss", "auroc", "accuracy", "mAP") if f"val_{name}" in row]
        shown += [f"val {name} {row[f'val_{name}']:.4f}" for name in names]
        shown.append(f"{row['seconds']:.1f} s, waiting {row['waiting']:.0%}")
        self.console.print("  ".join(shown) + ("  [green]best so far" if improved else ""), soft_wrap=True)

    def message(self, text: str) -> None:
        """Print a sentence."""
        self.console.print(printable(text), markup=False, soft_wrap=True)

    def _start(self, *texts: str, **fields: Any) -> None:
        if _draws(self.console):
            self._bar = _bar(self.console, *texts)
            self._bar.add_task("", total=None, **fields)
            self._bar.start()

    def _move(self, done: int, total: int, **fields: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, **fields)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _draws(console: Console) -> bool:
    return console.is_terminal or console.is_jupyter


def _bar(console: Console, label: str, *texts: str) -> Progress:
    """A bar that isn't started: its label, how far it is, further texts, and the time that remains."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    head, tail = (TextColumn(label), BarColumn(bar_width=28), MofNCompleteColumn()), TimeRemainingColumn(compact=True)
    return Progress(*head, *map(TextColumn, texts), tail, console=console, transient=True)


def _fields(report: StepReport) -> dict[str, Any]:
    return {
        "epoch": report.epoch + 1,
        "epochs": report.epochs,
        "loss": report.loss,
        "rate": report.images_per_second,
        "waiting": report.data_time,
    }


@contextmanager
def counting(label: str, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """A bar for anything that reports (done, total); where there is no terminal, a line every half minute."""
    console = console or default_console()
    if not _draws(console):
        due = _NowAndThen()

        def update(done: int, total: int) -> None:
            if due():
                console.print(f"{label}: {done} of {total}")

        yield update
        return
    with _bar(console, "{task.description}") as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
