"""A sweep on disk: sweep.yaml, and a run folder a trial whose files say how far it has come."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from xraycls.data.documents import read_json_object, read_settings
from xraycls.data.files import atomic_write
from xraycls.data.plain import from_plain, to_plain
from xraycls.data.rows import write_rows
from xraycls.errors import RunError, UsageError
from xraycls.training.run_folder import RunFolder

DESCRIPTION, TRIALS, TRIAL, OUTPUT, BEST = "sweep.yaml", "trials", "trial.json", "output.txt", "best"

State = Literal["waiting", "running", "finished", "stopped", "failed"]
"""Of a trial: stopped is one that successive halving gave up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """All that decides the trials of a sweep; ``sweep.yaml`` holds every field.

    Attributes:
        trainer: of :data:`~xraycls.workflows.sweep.trainers.TRAINERS`.
        over: values or ranges by setting, as :func:`~xraycls.workflows.sweep.space.parse_axis` reads them.
        settings: of every trial.
        when: settings of the trials that have a value.
        search: "grid" (every combination), "random" or "tpe" (Bergstra et al. 2011, by optuna).
        trials: how many, 1 or more; None for all of a grid.
        seed: of the search.
        halving: what successive halving divides trials by, 2 or more; None trains all to their end.
        grace: epochs before which no trial is given up; None for a fifth of all, at least 3.
    """

    trainer: str
    over: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    when: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    search: Literal["grid", "random", "tpe"] = "grid"
    trials: int | None = None
    seed: int = 0
    halving: int | None = None
    grace: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that can't be."""
        for name, least in (("trials", 1), ("halving", 2), ("grace", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"--{name} must be {least} or more, not {value}")
        if self.grace and not self.halving:
            raise UsageError("--grace says when successive halving may begin", "Add --halving 2, or leave it out")

    @classmethod
    def read(cls, path: Path, changes: Mapping[str, Any] | None = None) -> SweepConfig:
        """Returns the sweep of a YAML file, with some fields changed.

        Raises:
            UsageError: no such file, not YAML, or not a sweep.
        """
        hint, example = "Name a trainer, or the YAML file of a sweep", "It needs at least trainer and over"
        values = read_settings(path, hint=hint, example=example)
        try:
            return from_plain(cls, {**values, **(changes or {})})
        except ValueError as error:
            raise UsageError(f"{error} (in {path})") from error

    def write(self, path: Path) -> None:
        """Write every field as YAML, atomically."""
        with atomic_write(path) as temporary:
            temporary.write_text(yaml.safe_dump(to_plain(self), sort_keys=False, allow_unicode=True), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Goal:
    """What a training is judged by, and how long it takes.

    Attributes:
        monitor: a column of metrics.csv, or what follows ``val_`` in its name.
        higher_is_better: its direction.
        epochs: planned.
        warmup: epochs in which the learning rate still rises.
    """

    monitor: str
    higher_is_better: bool
    epochs: int
    warmup: float

    def value(self, row: Mapping[str, float]) -> float | None:
        """Returns the monitored figure of an epoch; None where the epoch wasn't validated."""
        return row.get(self.monitor, row.get(f"val_{self.monitor}"))


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a sweep, and how far it has come.

    Attributes:
        folder: its run folder.
        number: counted from 1.
        values: of the settings that are varied.
        command: of its training, after the program's name.
        state: where it stands.
        reason: why it failed; "" else.
        curve: the best value of the monitored figure up to each epoch; NaN before the first.
        best_epoch: where the best value was, counted from 1; 0 before the first.
        seconds: of all epochs.
    """

    folder: Path
    number: int
    values: Mapping[str, Any]
    command: tuple[str, ...]
    state: State = "waiting"
    reason: str = ""
    curve: tuple[float, ...] = ()
    best_epoch: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.folder.name

    @property
    def best(self) -> float:
        """The best value so far; NaN before the first."""
        return self.curve[-1] if self.curve else math.nan

    @property
    def is_over(self) -> bool:
        """Whether it has finished or was given up; one that failed is tried again when the sweep is."""
        return self.state in ("finished", "stopped")

    def write(self) -> None:
        """Write ``trial.json``."""
        kept = {
            "number": self.number,
            "values": dict(self.values),
            "command": list(self.command),
            "state": self.state,
            "reason": self.reason,
        }
        with atomic_write(self.folder / TRIAL) as temporary:
            temporary.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def ended(self, state: State, reason: str = "") -> Trial:
        """Write the state in ``trial.json``, and return the trial with it."""
        after = replace(self, state=state, reason=reason)
        after.write()
        return after

    def measured(self, goal: Goal) -> Trial:
        """Returns the same trial as its run folder shows it now."""
        rows = RunFolder(self.folder).read_metrics()
        best, curve, best_epoch = math.nan, [], 0
        for row in rows:
            value = goal.value(row)
            sign = 1 if goal.higher_is_better else -1
            if value is not None and not math.isnan(value) and not sign * value <= sign * best:
                best, best_epoch = value, int(row["epoch"])
            curve.append(best)
        seconds = sum(row.get("seconds", 0.0) for row in rows)
        return replace(self, curve=tuple(curve), best_epoch=best_epoch, seconds=seconds)

    @classmethod
    def read(cls, folder: Path) -> Trial:
        """Returns the trial in a folder as its ``trial.json`` describes it; one that was running is waiting now.

        Raises:
            RunError: the file is damaged.
        """
        try:
            kept = read_json_object(folder / TRIAL)
            state: State = kept["state"] if kept["state"] in ("finished", "stopped", "failed") else "waiting"
            return cls(folder, int(kept["number"]), kept["values"], tuple(kept["command"]), state, kept["reason"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RunError(
                f"{folder / TRIAL} is damaged ({error})", "Remove the folder: the trial starts anew"
            ) from error


def trial_folder(sweep: Path, number: int, values: Mapping[str, Any]) -> Path:
    """Returns the run folder of a trial: ``trials/003-adam-0.001``."""
    words = [f"{value:.4g}" if isinstance(value, float) else Path(str(value)).name for value in values.values()]
    plain = re.sub(r"[^\w.+-]+", "-", "-".join(words)).strip("-.")[:80]
    return sweep / TRIALS / f"{number:03d}-{plain}"


def read_trials(sweep: Path) -> dict[int, Trial]:
    """Returns the trials that a sweep has begun, by their numbers.

    Raises:
        RunError: a file is damaged.
    """
    found = (Trial.read(path.parent) for path in sorted((sweep / TRIALS).glob(f"*/{TRIAL}")))
    return {trial.number: trial for trial in found}


def write_table(sweep: Path, trials: Sequence[Trial], goal: Goal) -> Path:
    """Write ``table.csv``, a row a trial, and return its path."""
    varied = list(dict.fromkeys(name for trial in trials for name in trial.values))
    head = ["trial", *varied, "state", "epochs", "best_epoch", goal.monitor, "seconds", "reason"]
    rows = []
    for trial in trials:
        best = "" if math.isnan(trial.best) else f"{trial.best:.6g}"
        row = [trial.name, *(trial.values.get(name, "") for name in varied), trial.state]
        rows.append([*row, len(trial.curve), trial.best_epoch or "", best, f"{trial.seconds:.1f}", trial.reason])
    path = sweep / "table.csv"
    write_rows(path, head, rows)
    return path


def best_of(trials: Sequence[Trial], goal: Goal) -> Trial | None:
    """Returns the finished trial with the best value, the first of several; None where none has a value."""
    judged = [trial for trial in trials if trial.state == "finished" and not math.isnan(trial.best)]
    sign = -1 if goal.higher_is_better else 1
    return min(judged, key=lambda trial: sign * trial.best, default=None)


def link_best(sweep: Path, best: Trial) -> None:
    """Make ``best`` a link to a trial's folder; file systems without links go without."""
    temporary = sweep / f".{BEST}.{os.getpid():08x}"
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(best.folder.relative_to(sweep), target_is_directory=True)
        temporary.replace(sweep / BEST)
