"""The tree-structured Parzen estimator of optuna: which values to try next, by what others have given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xraycls.errors import MissingExtra
from xraycls.workflows.sweep.folder import Goal, Trial
from xraycls.workflows.sweep.space import Axis, Range, Space


def suggest(space: Space, seed: int, number: int, trials: Sequence[Trial], goal: Goal) -> dict[str, Any]:
    """Returns the values of the next trial.

    The study is made anew of the trials each time, so nothing has to be kept beside their folders; trials that still
    run count as bad ones, lest the same values be tried twice (optuna's "constant liar").

    Args:
        space: what is varied.
        seed: of the search.
        number: of the trial.
        trials: all before it.
        goal: the direction of the figure.

    Raises:
        MissingExtra: optuna isn't installed.
    """
    optuna = _optuna()
    sampler = optuna.samplers.TPESampler(seed=seed * 1_000_003 + number, constant_liar=True)
    direction = "maximize" if goal.higher_is_better else "minimize"
    study = optuna.create_study(sampler=sampler, direction=direction)
    distributions = {name: _distribution(optuna, axis) for name, axis in space.axes.items()}
    for trial in trials:
        study.add_trial(_as_optunas(optuna, trial, space, distributions))
    drawn = study.ask(distributions).params
    return {name: _value(axis, drawn[name]) for name, axis in space.axes.items()}


def require_optuna() -> None:
    """Raise MissingExtra where optuna isn't installed."""
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtra("optuna, which --search tpe asks,", "sweep") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, axis: Axis) -> Any:
    """A list is an index into it, as values may be of any type."""
    if not isinstance(axis, Range):
        return optuna.distributions.CategoricalDistribution(tuple(range(len(axis))))
    kind = optuna.distributions.IntDistribution if axis.is_whole else optuna.distributions.FloatDistribution
    return kind(axis.low, axis.high, log=axis.log)


def _value(axis: Axis, drawn: Any) -> Any:
    return drawn if isinstance(axis, Range) else axis[drawn]


def _as_optunas(optuna: Any, trial: Trial, space: Space, distributions: dict[str, Any]) -> Any:
    states = optuna.trial.TrialState
    known = not math.isnan(trial.best)
    state = {"finished": states.COMPLETE, "stopped": states.PRUNED, "failed": states.FAIL}.get(
        trial.state, states.RUNNING
    )
    if state == states.COMPLETE and not known:
        state = states.FAIL
    indexed = {
        name: trial.values[name] if isinstance(axis, Range) else list(axis).index(trial.values[name])
        for name, axis in space.axes.items()
    }
    return optuna.trial.create_trial(
        state=state,
        value=trial.best if state == states.COMPLETE else None,
        params=indexed,
        distributions=distributions,
        intermediate_values={len(trial.curve): trial.best} if known else {},
    )
