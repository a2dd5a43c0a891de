"""Limits that the values of a spec must keep, checked one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from xraycls.tao.spec import Spec

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Limit:
    """What a value must be.

    Attributes:
        holds: whether a value is that.
        wanted: the same in words, after "must".
    """

    holds: Callable[[Any], bool]
    wanted: str


Limits = tuple[tuple[str, Limit], ...]
"""What fields of a spec must be, in the order of checking."""


def above(least: float) -> Limit:
    """More than a number."""
    return Limit(lambda value: value > least, f"be above {least:g}")


def at_least(least: float) -> Limit:
    """A number or more."""
    return Limit(lambda value: value >= least, f"be {least:g} or more")


def between(least: float, most: float) -> Limit:
    """More than a number and less than another."""
    return Limit(lambda value: least < value < most, f"lie between {least:g} and {most:g}")


def within(least: float, most: float) -> Limit:
    """From a number to another, both included."""
    return Limit(lambda value: least <= value <= most, f"be {least:g} to {most:g}")


def up_to(least: float, most: float) -> Limit:
    """More than a number, up to another."""
    return Limit(lambda value: least < value <= most, f"be above {least:g}, up to {most:g}")


def multiple_of(number: int) -> Limit:
    """A multiple of a number."""
    return Limit(lambda value: value % number == 0, f"be a multiple of {number}")


def one_of(*choices: object) -> Limit:
    """One of a few."""
    listed = ", ".join(map(str, choices))
    return Limit(lambda value: value in choices, f"be one of {listed}" if len(choices) > 1 else f"be {listed}")


def check_given(spec: Spec[Any], fields: Iterable[str]) -> None:
    """Raise SpecError for the first of these fields that isn't there; give holders before what they hold."""
    for field in fields:
        if spec.line(field) is None:
            raise spec.mistake(field, "is missing")


def check_limits(spec: Spec[Any], limits: Limits) -> None:
    """Raise SpecError for the first field that breaks its limit; a field is skipped where its message isn't given."""
    for field, limit in limits:
        value = value_at(spec.config, field)
        if value is not None and not limit.holds(value):
            found = "is missing" if spec.line(field) is None else f"is {shown(value)}"
            raise spec.mistake(field, f"{found}; it must {limit.wanted}")


def check_means(spec: Spec[Any], field: str, channels: str) -> None:
    """Raise SpecError when a mapping of means is given and lacks one of the channels, a letter each."""
    means = value_at(spec.config, field)
    if missing := [channel for channel in channels if means and channel not in means]:
        raise spec.mistake(field, f"has no {' and no '.join(missing)}")


def check_regularizer(spec: Spec[Any]) -> None:
    """Raise SpecError when a regulariser has a weight that it can't have."""
    if spec.config.training_config.regularizer.type != "NO_REG":
        check_limits(spec, (("training_config.regularizer.weight", between(0, 1)),))


def read_list(spec: Spec[Any], field: str, read: Callable[[str], Value]) -> Value:
    """A list of numbers that a field holds as a string.

    Args:
        spec: that has the field.
        field: of a message that is given.
        read: a function of :mod:`xraycls.tao.literal`.

    Raises:
        SpecError: it holds something else.
    """
    try:
        return read(value_at(spec.config, field))
    except ValueError as error:
        raise spec.mistake(field, f"can't be read: {error}") from error


def lower_case_mapping(spec: Spec[Any], field: str) -> Mapping[str, str]:
    """The class of every label, both in small letters, as TAO compares them.

    Args:
        spec: that has the field.
        field: the mapping.

    Raises:
        SpecError: labels that differ in case alone are of different classes.
    """
    mapping: dict[str, str] = {}
    for label, name in value_at(spec.config, field).items():
        if mapping.setdefault(label.lower(), name.lower()) != name.lower():
            message = f"gives {label.lower()!r} two classes: case makes no difference"
            raise spec.mistake(field, message, "Leave one of them out")
    return mapping


def value_at(config: Any, field: str) -> Any:
    """The value of a field, such as "ssd_config.scales"; None when a message that holds it isn't given."""
    for part in field.split("."):
        name, _, index = part.rstrip("]").partition("[")
        config = getattr(config, name)
        if index:
            config = config[int(index)]
        if config is None:
            return None
    return config


def shown(value: object) -> str:
    """A value as people write it: a float32 in its shortest form, words in quotes."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, float):
        return f"{value:.7g}"
    return repr(value) if isinstance(value, str) else str(value)
