"""Limits that a value of a spec must keep, each with the words that say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Limit:
    """What a value must be.

    Attributes:
        holds: whether a value is that.
        wanted: the same in words, after "must".
    """

    holds: Callable[[Any], bool]
    wanted: str


def above(least: float) -> Limit:
    """More than a number."""
    return Limit(lambda value: value > least, f"be above {least:g}")


def at_least(least: float) -> Limit:
    """A number or more."""
    return Limit(lambda value: value >= least, f"be {least:g} or more")


def zero_or_at_least(least: float) -> Limit:
    """A number or more, where 0 stands for a default."""
    return Limit(lambda value: value == 0 or value >= least, f"be {least:g} or more")


def between(least: float, most: float) -> Limit:
    """More than a number and less than another."""
    return Limit(lambda value: least < value < most, f"lie between {least:g} and {most:g}")


def within(least: float, most: float) -> Limit:
    """From a number to another, both included."""
    return Limit(lambda value: least <= value <= most, f"be {least:g} to {most:g}")


def up_to(least: float, most: float) -> Limit:
    """More than a number, up to another."""
    return Limit(lambda value: least < value <= most, f"be above {least:g}, up to {most:g}")


def below(least: float, most: float) -> Limit:
    """From a number to below another."""
    return Limit(lambda value: least <= value < most, f"be {least:g} or more, and below {most:g}")


def multiple_of(number: int) -> Limit:
    """A multiple of a number."""
    return Limit(lambda value: value % number == 0, f"be a multiple of {number}")


def one_of(*choices: object) -> Limit:
    """One of a few; a text without letters stands for a default."""
    listed = ", ".join(str(choice) for choice in choices if choice != "")
    return Limit(lambda value: value in choices, f"be one of {listed}" if len(choices) > 1 else f"be {listed}")


def all_above(least: float) -> Limit:
    """One number or more, each of them more than this one."""
    return Limit(lambda values: values and all(value > least for value in values), f"have numbers above {least:g}")


def whole_numbers() -> Limit:
    """Numbers that TAO declares as floating-point ones and counts with."""
    return Limit(lambda values: all(float(value).is_integer() for value in values), "have whole numbers")
