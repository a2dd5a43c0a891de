"""The report of a sweep: one page with a table of the trials and their curves side by side."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xraycls.data.files import atomic_write
from xraycls.evaluation import style
from xraycls.page import render
from xraycls.training.run_folder import RunFolder
from xraycls.workflows.sweep.folder import TRIALS, Goal, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT, CURVES = "report.html", "curves.png"


def write_report(sweep: Path, trials: Sequence[Trial], goal: Goal, best: Trial | None) -> Path:
    """Write ``report.html`` and ``curves.png``; returns the path of the page.

    Args:
        sweep: its folder.
        trials: all of them.
        goal: what they are compared by.
        best: the one that is linked first; None where none has finished.
    """
    picture = sweep / CURVES
    with atomic_write(picture) as temporary:
        style.save(curves_plot(trials, goal), temporary)
    varied = list(dict.fromkeys(name for trial in trials for name in trial.values))
    direction = "higher" if goal.higher_is_better else "lower"
    page = render(
        "sweep.html",
        judged=f"{len(trials)} trials, judged by {goal.monitor} on validation: {direction} is better.",
        best=best and {"name": best.name, "value": _number(best.best), "epoch": best.best_epoch},
        command=best and shlex.join(["xraycls", *best.command]),
        head=[*varied, "state", "epochs", "best epoch", goal.monitor, "minutes"],
        rows=[(trial.name, _cells(trial, varied), trial.reason) for trial in trials],
        curves=picture.read_bytes(),
        tensorboard=shlex.join(["tensorboard", "--logdir", str(sweep / TRIALS)]),
    )
    path = sweep / REPORT
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def curves_plot(trials: Sequence[Trial], goal: Goal) -> Figure:
    """Training loss and the monitored figure of every epoch, a line a trial."""
    figure = style.new_figure(13.6, 5.2 + 0.1 * len(trials), "Curves", f"{len(trials)} trials")
    panels = figure.subplots(1, 2)
    titles = ("Loss of training", f"{goal.monitor} on validation")
    for axes, title in zip(panels, titles, strict=True):
        style.quiet(axes, "Epoch", title)
    for index, trial in enumerate(trials):
        rows = RunFolder(trial.folder).read_metrics()
        for number, (axes, value) in enumerate(zip(panels, (_training_loss, goal.value), strict=True)):
            points = [(row["epoch"], v) for row in rows if (v := value(row)) is not None and not math.isnan(v)]
            if points:
                label = trial.name if number else None
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label, **style.series(index))
    style.legend(panels[1], "upper left")
    return figure


def _training_loss(row: Mapping[str, float]) -> float | None:
    return row.get("train_loss")


def _cells(trial: Trial, varied: Sequence[str]) -> list[str]:
    values = [_number(trial.values.get(name, "")) for name in varied]
    figures = [str(trial.best_epoch or ""), _number(trial.best), f"{trial.seconds / 60:.1f}"]
    return [*values, trial.state, str(len(trial.curve)), *figures]


def _number(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return str(value)
