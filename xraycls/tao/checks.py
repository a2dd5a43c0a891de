"""Checks of a spec's values: what each field's own definition asks for, and the tools of checks across fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from xraycls.tao.fields import Field, definitions
from xraycls.tao.limits import Limit
from xraycls.tao.spec import Spec, value_at

Value = TypeVar("Value")


def check_fields(spec: Spec[Any], *messages: str) -> None:
    """Raise SpecError for the first field that is missing or breaks a limit of its definition.

    Fields are looked at where the message that holds them is given and isn't ignored as a whole; first whether all that
    must be there is.

    Args:
        spec: of a class of defined fields.
        messages: outermost or inner messages to check, with all that they hold.
    """
    ignored: list[str] = []
    defined: list[tuple[str, Field]] = []
    for name, field in definitions(type(spec.config)).items():
        if field.support is not None and field.support.outcome == "ignored":
            ignored.append(f"{name}.")
        has_rules = field.required or field.limits
        if has_rules and _is_in(name, messages) and not name.startswith(tuple(ignored)) and _is_held(spec, name):
            defined.append((name, field))
    for name, field in defined:
        if field.required and spec.line(name) is None:
            raise spec.mistake(name, "is missing")
    for name, field in defined:
        if field.when is None or field.when(value_at(spec.config, name.rpartition(".")[0])):
            for limit in field.limits:
                check_limit(spec, name, limit)


def check_given(spec: Spec[Any], *fields: str) -> None:
    """Raise SpecError for the first of these fields that isn't there."""
    for field in fields:
        if spec.line(field) is None:
            raise spec.mistake(field, "is missing")


def check_limit(spec: Spec[Any], field: str, limit: Limit) -> None:
    """Raise SpecError when a field breaks a limit; not where the message that holds it isn't given."""
    value = value_at(spec.config, field)
    if value is not None and not limit.holds(value):
        found = "is missing" if spec.line(field) is None else f"is {shown(value)}"
        raise spec.mistake(field, f"{found}; it must {limit.wanted}")


def check_means(spec: Spec[Any], field: str, channels: str) -> None:
    """Raise SpecError when a mapping of means is given and lacks one of the channels, a letter each."""
    means = value_at(spec.config, field)
    if missing := [channel for channel in channels if means and channel not in means]:
        raise spec.mistake(field, f"has no {' and no '.join(missing)}")


def check_below(spec: Spec[Any], lower: str, upper: str) -> None:
    """Raise SpecError when a field isn't below another."""
    if value_at(spec.config, lower) >= value_at(spec.config, upper):
        raise spec.mistake(lower, f"must be below {upper.rpartition('.')[2]}")


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


def shown(value: object) -> str:
    """A value as people write it: a float32 in its shortest form, words in quotes."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, float):
        return f"{value:.7g}"
    return repr(value) if isinstance(value, str) else str(value)


def _is_in(field: str, messages: tuple[str, ...]) -> bool:
    return any(f"{field}.".startswith(f"{each}.") for each in messages)


def _is_held(spec: Spec[Any], field: str) -> bool:
    """Whether the message that holds a field is there, one and not several."""
    holder: Any = spec.config
    for part in field.split(".")[:-1]:
        holder = getattr(holder, part)
        if holder is None or isinstance(holder, tuple):
            return False
    return True
