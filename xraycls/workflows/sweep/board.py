"""The trials of a running sweep: which is next, how far each has come, and which are given up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xraycls.workflows.sweep.folder import Goal, State, SweepConfig, Trial, read_trials, trial_folder, write_table
from xraycls.workflows.sweep.halving import Halving
from xraycls.workflows.sweep.space import Space
from xraycls.workflows.sweep.tpe import suggest
from xraycls.workflows.sweep.trainers import Trainer

logger = logging.getLogger(__name__)

Watch = Callable[[Sequence[Trial]], None]
"""Is told of all trials whenever one has come further."""


class Board:
    """Hands out trials and keeps their standing; both backends work through it.

    What is known of a trial is in its folder alone, so that a board of the same folder begins where another ended.

    Args:
        folder: of the sweep.
        config: what it consists of.
        trainer: of all its trials.
        space: what they vary.
        goal: what they are compared by.
        watch: is told of every change.
    """

    def __init__(
        self, folder: Path, config: SweepConfig, trainer: Trainer, space: Space, goal: Goal, watch: Watch
    ) -> None:
        self.folder, self.config, self.trainer, self.space, self.goal = folder, config, trainer, space, goal
        self.watch = watch
        self.halving = Halving.of(goal, config.halving, config.grace) if config.halving else None
        if self.halving:
            _say_rungs(self.halving, config.grace)
        begun = read_trials(folder)
        if config.search != "tpe":
            planned = enumerate(planned_values(config, space), start=1)
            begun = {number: begun.get(number) or self._made(number, values) for number, values in planned}
        begun = {number: self._here(trial) for number, trial in begun.items()}
        self._trials = {number: trial.measured(goal) for number, trial in sorted(begun.items())}
        self._rungs = {number: self._rung(trial) for number, trial in self._trials.items()}
        self._waiting = [number for number, trial in self._trials.items() if not trial.is_over]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials so far, by number."""
        return tuple(self._trials.values())

    def next_trial(self) -> Trial | None:
        """Returns the next trial to start or to go on with, its folder made; None when there is none left."""
        if self._waiting:
            number = self._waiting.pop(0)
        elif self.config.search == "tpe" and len(self._trials) < (self.config.trials or 0):
            number = len(self._trials) + 1
            values = suggest(self.space, self.config.seed, number, self.trials, self.goal)
            self._trials[number] = self._made(number, values)
        else:
            return None
        trial = replace(self._trials[number], state="running", reason="")
        trial.write()
        return self._noted(trial)

    def look(self, trial: Trial) -> Trial:
        """Returns a running trial as its run folder shows it now."""
        now = trial.measured(self.goal)
        return now if now == trial else self._noted(now)

    def end(self, trial: Trial, state: State, reason: str = "") -> Trial:
        """Note that a trial has ended, or that it waits to be gone on with."""
        after = self._noted(trial.measured(self.goal).ended(state, reason))
        write_table(self.folder, self.trials, self.goal)
        return after

    def is_hopeless(self, trial: Trial) -> bool:
        """Whether a trial has reached another rung of successive halving and isn't among the best there."""
        rung = self._rung(trial)
        if self.halving is None or rung <= self._rungs.get(trial.number, 0):
            return False
        self._rungs[trial.number] = rung
        others = [other.curve for other in self.trials if other.number != trial.number]
        return self.halving.is_hopeless(rung, trial.curve, others)

    def _noted(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        self.watch(self.trials)
        return trial

    def _rung(self, trial: Trial) -> int:
        return 0 if self.halving is None else self.halving.rung_of(len(trial.curve))

    def _here(self, trial: Trial) -> Trial:
        """The same trial with its command for where the sweep is now, as a folder may be moved."""
        return replace(trial, command=self._made(trial.number, trial.values, trial.folder).command)

    def _made(self, number: int, values: Mapping[str, Any], folder: Path | None = None) -> Trial:
        folder = folder or trial_folder(self.folder, number, values)
        command = self.trainer.arguments(self.space.settings(values), folder)
        return Trial(folder, number, values, tuple(command))


def _say_rungs(halving: Halving, asked: int | None) -> None:
    """Say when trials are given up, where that isn't what was asked for."""
    if not halving.rungs:
        logger.warning("No trial is given up: all end before epoch %d, where halving would begin.", halving.grace)
    elif asked and asked < halving.grace:
        logger.warning("No trial is given up before epoch %d, where the warm-up ends.", halving.grace)


def planned_values(config: SweepConfig, space: Space) -> list[dict[str, Any]]:
    """Returns the values of every trial of a search that knows them beforehand."""
    if config.search == "random":
        return [space.draw(config.seed, number) for number in range(1, (config.trials or 0) + 1)]
    return list(space.grid())
