"""Protobuf messages to configuration objects and back, by the type annotations of the objects.

A dataclass has the full name of its message, ``xraycls.tao.<module>.<Class>``, and its field names. Annotations say the
rest: a plain type, ``tuple[X, ...]`` for a repeated field, ``Mapping[str, X]`` for a map, ``X | None`` for a message
that may be absent, and a dataclass for one that then has its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from xraycls.data.protobuf import Schema

if TYPE_CHECKING:
    from google.protobuf.message import Message

Config = TypeVar("Config")


@cache
def schema() -> Schema:
    """The schema of all specs."""
    return Schema("xraycls.tao", "schema/schema.binpb")


def message_of(kind: type[Any]) -> type[Message]:
    """The message class of a configuration class."""
    return schema().message(f"{kind.__module__}.{kind.__qualname__}")


def from_message(kind: type[Config], message: Any) -> Config:
    """A message as a configuration object."""
    values = {name: _value(hint, message, name) for name, hint in get_type_hints(kind).items()}
    return kind(**values)


def to_message(config: Any) -> Any:
    """A configuration object as a message; what has its default value stays unset."""
    message = message_of(type(config))()
    for each in fields(config):
        value, target = getattr(config, each.name), getattr(message, each.name)
        if isinstance(value, Mapping):
            target.update(value)
        elif isinstance(value, tuple):
            target.extend(map(to_message, value) if value and is_dataclass(value[0]) else value)
        elif is_dataclass(value):
            if value != each.default:
                target.CopyFrom(to_message(value))
        elif value != each.default:
            setattr(message, each.name, value)
    return message


def _value(hint: Any, message: Any, name: str) -> Any:
    value, origin = getattr(message, name), get_origin(hint)
    if origin is tuple:
        inner = get_args(hint)[0]
        return tuple(from_message(inner, each) for each in value) if _is_config(inner) else tuple(value)
    if origin is Mapping:
        return dict(value)
    choices = get_args(hint) or (hint,)
    if not _is_config(choices[0]):
        return value
    is_given = message.HasField(name) or len(choices) == 1
    return from_message(choices[0], value) if is_given else None


def _is_config(hint: Any) -> bool:
    return is_dataclass(hint)
