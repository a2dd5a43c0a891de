"""`xraycls.sweep`: many trainings that differ in some settings, and the best of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from xraycls.data.lock import sole_writer
from xraycls.data.plain import from_plain, to_plain
from xraycls.errors import TrainingError, UsageError, unknown
from xraycls.training.run_folder import RUNS
from xraycls.workflows.sweep.board import Board, Watch, planned_values
from xraycls.workflows.sweep.folder import DESCRIPTION, Goal, SweepConfig, Trial, best_of, link_best, write_table
from xraycls.workflows.sweep.local import LocalPool
from xraycls.workflows.sweep.ray import require_ray, run_on_ray
from xraycls.workflows.sweep.report import write_report
from xraycls.workflows.sweep.space import Range, Space, parse_axis
from xraycls.workflows.sweep.tpe import require_optuna
from xraycls.workflows.sweep.trainers import TRAINERS, Trainer, trainer_of

BACKENDS: dict[str, Callable[[Board, int], None]] = {
    "local": lambda board, workers: LocalPool(board, workers).run(),
    "ray": run_on_ray,
}
"""What runs the trials of a board, so many at a time."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A finished sweep.

    Attributes:
        folder: of the sweep.
        trials: all of them, by number.
        best: the finished trial with the best value; None where none has one.
        monitor: the figure that they are compared by.
    """

    folder: Path
    trials: tuple[Trial, ...]
    best: Trial | None
    monitor: str


def sweep(
    trainer: str | Path,
    over: Mapping[str, Any] | None = None,
    *,
    when: Mapping[str, Mapping[str, Any]] | None = None,
    output: Path | str | None = None,
    search: Literal["grid", "random", "tpe"] | None = None,
    trials: int | None = None,
    search_seed: int | None = None,
    halving: int | None = None,
    grace: int | None = None,
    workers: int = 1,
    backend: str = "local",
    watch: Watch = lambda trials: None,
    **settings: Any,
) -> SweepResult:
    """Train once for each combination of some settings, and compare the trainings.

    Run again with the same folder, a sweep goes on: finished trials aren't repeated, and interrupted ones are resumed.

    Args:
        trainer: "train" (classifiers), "unet" or "detector"; or the folder or YAML file of a sweep.
        over: the values of each setting that varies: a list, or text such as "log:1e-5..1e-2" or "0..0.5".
        when: settings of the trials that have a value: ``{"adagrad": {"learning_rate": 0.1}}``.
        output: the sweep's folder; None makes a new one below ``runs/``.
        search: "grid", "random" or "tpe"; None for a grid, or for random where there are ranges.
        trials: how many, of random and tpe.
        search_seed: of random and tpe; 0 by default.
        halving: give up all but the best 1 / halving of the trials at each rung; None trains all to their end.
        grace: epochs before which none is given up; the warm-up always counts.
        workers: trials at a time.
        backend: "local" (child processes), or "ray": Ray Tune on the cluster of RAY_ADDRESS, else on this machine.
        watch: is told of all trials whenever one has come further.
        **settings: of every trial, by the names of the trainer's flags; dotted names for fields of a detector's job.

    Returns:
        The trials and the best of them.

    Raises:
        UsageError: a setting that there isn't, or that is out of range; no trial has started then.
        TrainingError: all trials failed; gives the reason of the first.
        Interrupted: Ctrl-C; all trials are saved.

    Example:
        >>> import xraycls
        >>> done = xraycls.sweep(
        ...     "train", over={"optimizer": ["adam", "sgd"]}, when={"sgd": {"learning_rate": 0.01}}, data="phantom"
        ... )  # doctest: +SKIP
        >>> done.best.folder  # doctest: +SKIP
        PosixPath('/home/me/runs/sweep-train-20260211-101500/trials/001-adam')
        >>> xraycls.sweep("train", over={"optimizer": ["adam", "sdg"]}, data="phantom")
        Traceback (most recent call last):
        ...
        xraycls.errors.UsageError: Unknown optimiser 'sdg' for optimizer. Did you mean sgd?
    """
    given = {
        "over": over,
        "when": when,
        "search": search,
        "trials": trials,
        "seed": search_seed,
        "halving": halving,
        "grace": grace,
        "settings": settings or None,
    }
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS, "--backend")
    if workers < 1:
        raise UsageError(f"--workers must be 1 or more, not {workers}")
    if backend == "ray":
        require_ray()
    config, folder = _described(trainer, {name: value for name, value in given.items() if value is not None}, output)
    made = trainer_of(config.trainer)
    space = Space({name: parse_axis(name, each) for name, each in config.over.items()}, config.settings, config.when)
    goal = _checked(config, made, space)
    with sole_writer(folder):
        _begin(folder, config)
        board = Board(folder, config, made, space, goal, watch)
        try:
            BACKENDS[backend](board, workers)
        finally:
            best = _conclude(board)
    _require_success(board.trials)
    return SweepResult(folder, board.trials, best, goal.monitor)


def _described(trainer: str | Path, given: Mapping[str, Any], output: Path | str | None) -> tuple[SweepConfig, Path]:
    """The sweep that is asked for and its folder, of a trainer's name, a sweep's folder or its YAML file."""
    folder = Path(output) if output else None
    path = Path(trainer)
    if trainer in TRAINERS or not path.exists():
        trainer_of(str(trainer))
        try:
            config = from_plain(SweepConfig, {"trainer": str(trainer), "over": {}, **given})
        except ValueError as error:
            raise UsageError(str(error)) from error
    else:
        if path.is_dir():
            folder = folder or path
            path = path / DESCRIPTION
        config = SweepConfig.read(path, given)
    has_range = any(isinstance(parse_axis(name, values), Range) for name, values in config.over.items())
    if has_range and "search" not in given and config.search == "grid":
        config = replace(config, search="random")
    return _spelt(config), (folder or RUNS / f"sweep-{config.trainer}-{time.strftime('%Y%m%d-%H%M%S')}").resolve()


def _spelt(config: SweepConfig) -> SweepConfig:
    """The same sweep with full names of settings and absolute paths."""
    trainer = trainer_of(config.trainer)
    when = {}
    for condition, settings in config.when.items():
        name, equals, value = condition.partition("=")
        when[f"{trainer.name_of(name)}={value}" if equals else condition] = trainer.spelt(settings)
    over = {trainer.name_of(name): values for name, values in config.over.items()}
    return replace(config, over=over, settings=trainer.spelt(config.settings), when=when)


def _checked(config: SweepConfig, trainer: Trainer, space: Space) -> Goal:
    """The goal of all trials; raises UsageError for the first setting of any trial that is wrong."""
    if config.search == "grid" and config.trials is not None:
        raise UsageError("--trials is for --search random and tpe: a grid has as many as there are combinations")
    if config.search != "grid" and config.trials is None:
        raise UsageError(f"--search {config.search} doesn't say how many trials", "Add --trials 20")
    if config.search == "tpe":
        require_optuna()
    combinations = space.corners() if config.search == "tpe" else planned_values(config, space)
    goals = [trainer.goal(space.settings(values)) for values in combinations]
    first = goals[0]
    for other in goals:
        if (other.monitor, other.higher_is_better) != (first.monitor, first.higher_is_better):
            raise UsageError(
                f"One trial is judged by {first.monitor} and another by {other.monitor}", "Give all the same monitor"
            )
    return Goal(
        first.monitor,
        first.higher_is_better,
        max(goal.epochs for goal in goals),
        max(goal.warmup for goal in goals),
    )


def _begin(folder: Path, config: SweepConfig) -> None:
    """Write ``sweep.yaml``; where there is one, it must be of the same sweep, but for the number of trials."""
    path = folder / DESCRIPTION
    if path.is_file():
        before, after = to_plain(SweepConfig.read(path)), to_plain(config)
        for name, was in before.items():
            if name != "trials" and was != after[name]:
                raise UsageError(
                    f"{name} is {after[name]}, and the sweep in {folder} began with {was}",
                    "Go on with it by its folder alone, or choose another --output",
                )
    elif (folder / "config.yaml").is_file():
        raise UsageError(f"{folder} holds a run and not a sweep", "Choose another --output")
    config.write(path)


def _conclude(board: Board) -> Trial | None:
    """Write what compares the trials; returns the best."""
    best = best_of(board.trials, board.goal)
    write_table(board.folder, board.trials, board.goal)
    if best:
        link_best(board.folder, best)
    write_report(board.folder, board.trials, board.goal, best)
    return best


def _require_success(trials: Sequence[Trial]) -> None:
    failed = [trial for trial in trials if trial.state == "failed"]
    if failed and len(failed) == len(trials):
        raise TrainingError(f"All {len(trials)} trials failed, the first for this reason: {failed[0].reason}")
