"""Frozen dataclasses as values of JSON and YAML, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from xraycls.errors import UsageError

Value = TypeVar("Value")


def to_plain(value: Any) -> Any:
    """Returns a dataclass, with all that it holds, as mappings, lists, numbers and text.

    Example:
        >>> from xraycls.data.plain import from_plain, to_plain
        >>> from xraycls.loaders.views import Canvas
        >>> to_plain(Canvas(64, 96))
        {'height': 64, 'width': 96, 'fill': 0}
        >>> from_plain(Canvas, {"height": 64, "width": 96})
        Canvas(height=64, width=96, fill=0)
    """
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def from_plain(kind: type[Value], values: Any) -> Value:
    """Returns what :func:`to_plain` made these values of; fields that have a default may be missing.

    Raises:
        ValueError: a field is missing, unknown or of another type; the message begins with its name.
    """
    adapter = TypeAdapter(kind)
    try:
        made = adapter.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        problem = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or kind.__name__}: {problem}") from None
    if lost := _lost(values, adapter.dump_python(made, mode="json")):
        raise ValueError(f"{lost}: there is no such field")
    return made


def with_fields(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested values with other fields, which are named by their path.

    Args:
        values: mappings within mappings.
        changes: values by path, such as ``"loop.epochs"``; mappings that a path needs and that are lacking are added.

    Raises:
        UsageError: a path leads into a value that has no fields.

    Example:
        >>> from xraycls.data.plain import with_fields
        >>> with_fields({"loop": {"epochs": 80, "seed": 1}}, {"loop.epochs": 3, "rate.kind": "schedule"})
        {'loop': {'epochs': 3, 'seed': 1}, 'rate': {'kind': 'schedule'}}
    """
    changed = dict(values)
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if not rest:
            changed[name] = value
            continue
        inner = changed.get(name)
        if not isinstance(inner, Mapping | None):
            raise UsageError(
                f"{name} is {inner!r}, so {path} can't be set", f"Write its fields out in place of {inner!r}"
            )
        changed[name] = with_fields(inner or {}, {rest: value})
    return changed


def _lost(given: Any, kept: Any) -> str:
    """The first field of some values that reading them passed over; "" for none."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        for name, value in given.items():
            if name not in kept:
                return str(name)
            if inner := _lost(value, kept[name]):
                return f"{name}.{inner}"
    if isinstance(given, list | tuple) and isinstance(kept, list):
        for index, (value, read) in enumerate(zip(given, kept, strict=False)):
            if inner := _lost(value, read):
                return f"{index}.{inner}"
    return ""
