"""What a sweep varies: lists of values and ranges of numbers, and the settings of each trial that follow from them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xraycls.data.documents import parse_yaml
from xraycls.errors import UsageError

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two ends, both included.

    Attributes:
        low: the lower end.
        high: the upper end; of the same type, and whole numbers stay whole.
        log: whether the logarithm is drawn evenly, as suits a learning rate.
    """

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the numbers are whole ones."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """Returns the number at a share of the range, 0 to below 1."""
        low, high = float(self.low), float(self.high) + self.is_whole
        value = math.exp(math.log(low) + share * math.log(high / low)) if self.log else low + share * (high - low)
        return min(max(math.floor(value), self.low), self.high) if self.is_whole else value


Axis = Sequence[Any] | Range
"""The values of one setting."""


def parse_axis(name: str, given: Any) -> Axis:
    """Returns the values that a setting is to take.

    Args:
        name: of the setting, for errors.
        given: a list, one value, or the text of either: ``"adam,sgd"``, ``"log:1e-5..1e-2"``, ``"0..0.5"``.

    Raises:
        UsageError: no value, one twice, or a range from more to less.

    Example:
        >>> parse_axis("learning_rate", "log:1e-5..1e-2")
        Range(low=1e-05, high=0.01, log=True)
        >>> parse_axis("optimizer", "adam,sgd"), parse_axis("size", [64, 96])
        (('adam', 'sgd'), (64, 96))
    """
    if isinstance(given, str) and (matched := _RANGE.fullmatch(given.strip())):
        return _range(name, given, matched)
    values = parse_value(name, f"[{given}]") if isinstance(given, str) else given
    listed = tuple(values) if isinstance(values, list | tuple) else (values,)
    if not listed:
        raise UsageError(f"{name} has no values to try", f"Write --over {name}=A,B or --over {name}=log:1e-5..1e-2")
    for index, value in enumerate(listed):
        if value in listed[:index]:
            raise UsageError(f"{name} is to take {value} twice", "Name every value once")
    return listed


def parse_value(name: str, text: str) -> Any:
    """Returns the value of a text, read as YAML; ``1e-3`` is a number, too.

    Raises:
        UsageError: it can't be read.
    """
    try:
        return _with_numbers(parse_yaml(text))
    except ValueError as error:
        raise UsageError(f"The value of {name} can't be read: {text}", "Write it as YAML: 0.1, adam, [0, 1]") from error


def _with_numbers(value: Any) -> Any:
    """Numbers such as ``1e-3``, which YAML 1.1 takes for text as they have no point."""
    if isinstance(value, list):
        return [_with_numbers(each) for each in value]
    return float(value) if isinstance(value, str) and re.fullmatch(_NUMBER, value) else value


def _range(name: str, text: str, matched: re.Match[str]) -> Range:
    log, *ends = matched.groups()
    whole = all(re.fullmatch(r"[+-]?\d+", end) for end in ends)
    low, high = (int(end) if whole else float(end) for end in ends)
    if low >= high or (log and low <= 0):
        why = "a range of logarithms starts above 0" if log and low <= 0 else "a range goes from less to more"
        raise UsageError(f"{name} can't be {text}: {why}", f"Write it as --over {name}=log:1e-5..1e-2, or 0..0.5")
    return Range(low, high, bool(log))


@dataclass(frozen=True, slots=True)
class Space:
    """All combinations of the values of some settings.

    Attributes:
        axes: the values by setting.
        base: settings of every trial.
        when: settings of the trials that have a value, by ``"VALUE"`` or ``"SETTING=VALUE"``.
    """

    axes: Mapping[str, Axis]
    base: Mapping[str, Any]
    when: Mapping[str, Mapping[str, Any]]

    def __post_init__(self) -> None:
        """Refuse a space without axes, and conditions that no trial can meet."""
        if not self.axes:
            raise UsageError("Nothing says what to vary", "Name it with --over, such as --over optimizer=adam,sgd")
        if both := [name for name in self.axes if name in self.base]:
            raise UsageError(f"{both[0]} is varied and set to {self.base[both[0]]} as well", "Leave out one of them")
        for condition in self.when:
            named = [name for name, axis in self.axes.items() if _meets(condition, name, axis)]
            if len(named) != 1:
                which = f"is a value of {' and of '.join(named)}" if named else "is no value of what is varied"
                raise UsageError(
                    f"--set {condition}:… can't apply: {condition} {which}", "Write it as --set SETTING=VALUE:NAME=…"
                )

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns all settings of the trial with some values; what a condition sets takes the place of the rest."""
        made = {**self.base, **values}
        for condition, settings in self.when.items():
            if any(_meets(condition, name, (value,)) for name, value in values.items()):
                made |= settings
        return made

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yields every combination, the last setting changing fastest.

        Raises:
            UsageError: a setting has a range.
        """
        for name, axis in self.axes.items():
            if isinstance(axis, Range):
                raise UsageError(f"{name} has a range, which a grid can't go through", "Add --search random or tpe")
        for combination in itertools.product(*(axis for axis in self.axes.values() if not isinstance(axis, Range))):
            yield dict(zip(self.axes, combination, strict=True))

    def draw(self, seed: int, number: int) -> dict[str, Any]:
        """Returns the combination of a trial of a random search; it depends on nothing but the seed and its number."""
        shares = np.random.default_rng((seed, number)).random(len(self.axes))
        return {name: _at(axis, share) for (name, axis), share in zip(self.axes.items(), shares, strict=True)}

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yields combinations in which every listed value and every end of a range occurs at least once."""
        ends = {name: (a.low, a.high) if isinstance(a, Range) else tuple(a) for name, a in self.axes.items()}
        for index in range(max(map(len, ends.values()))):
            yield {name: values[min(index, len(values) - 1)] for name, values in ends.items()}


def _meets(condition: str, name: str, axis: Axis) -> bool:
    """Whether a condition names one of the listed values of a setting."""
    listed = () if isinstance(axis, Range) else axis
    return any(condition in (str(value), f"{name}={value}") for value in listed)


def _at(axis: Axis, share: float) -> Any:
    return axis.at(share) if isinstance(axis, Range) else axis[int(share * len(axis))]
