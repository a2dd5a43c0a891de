"""Protobuf messages to configuration objects and back, both described by the annotations of the objects.

A plain type, ``Literal["A", "B"]`` for an enumeration, ``tuple[X, ...]`` for a repeated field, ``Mapping[str, X]`` for
a map, ``X | None`` for what may be absent, and a dataclass for a message that then has its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from xraycls.data.protobuf import FieldShape, Schema
from xraycls.tao.fields import Field, definition_of, message_in

if TYPE_CHECKING:
    from google.protobuf.message import Message

Config = TypeVar("Config")

_MESSAGES: dict[type[Any], type[Message]] = {}
_SCALARS: Mapping[Any, str] = {str: "string", int: "uint32", float: "float", bool: "bool"}


class UnknownNumber(ValueError):
    """An enumeration's number that means nothing.

    Args:
        field: that has it, after the messages that hold it.
        number: the number.
        names: what the field can be.
    """

    def __init__(self, field: str, number: int, names: tuple[str, ...]) -> None:
        self.field, self.number, self.names = field, number, names
        super().__init__(f"{field} is {number}; it must be one of {', '.join(names)}")


def message_of(kind: type[Any]) -> type[Message]:
    """The message class of a configuration class: fields of its names, numbered in their order."""
    if kind not in _MESSAGES:
        hints = get_type_hints(kind)
        shapes = [_shape(each.name, hints[each.name], definition_of(each)) for each in fields(kind)]
        _MESSAGES[kind] = _schema().add(_full_name(kind), shapes)
    return _MESSAGES[kind]


def from_message(kind: type[Config], message: Any, holder: str = "") -> Config:
    """A message as a configuration object.

    Args:
        kind: the class of the object.
        message: of the class's own message class.
        holder: the field that holds it and a dot, for the error.

    Raises:
        UnknownNumber: an enumeration has a number that it doesn't know.
    """
    return kind(**{name: _value(hint, message, name, holder) for name, hint in get_type_hints(kind).items()})


def to_message(config: Any) -> Any:
    """A configuration object as a message; what has its default value stays unset."""
    message = message_of(type(config))()
    for each in fields(config):
        value, target = getattr(config, each.name), getattr(message, each.name)
        if isinstance(value, Mapping):
            target.update(value)
        elif isinstance(value, tuple):
            target.extend(map(to_message, value) if value and is_dataclass(value[0]) else value)
        elif value == each.default:
            continue
        elif is_dataclass(value):
            target.SetInParent()
            target.CopyFrom(to_message(value))
        else:
            choices = message.DESCRIPTOR.fields_by_name[each.name].enum_type
            setattr(message, each.name, choices.values_by_name[value].number if choices else value)
    return message


@cache
def _schema() -> Schema:
    return Schema()


def _full_name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _shape(name: str, hint: Any, definition: Field) -> FieldShape:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Mapping:
        return FieldShape(name, _SCALARS[inner[1]], key=_SCALARS[inner[0]])
    if origin is Literal:
        return FieldShape(name, inner, presence=True)
    if held := message_in(hint):
        message_of(held)
    kind = held or (inner[0] if origin in (tuple, UnionType) else hint)
    return FieldShape(
        name,
        _full_name(held) if held else definition.scalar or _SCALARS[kind],
        repeated=origin is tuple,
        oneof=definition.oneof,
        presence=origin is not tuple and not definition.oneof,
    )


def _value(hint: Any, message: Any, name: str, holder: str) -> Any:
    value, origin, inner = getattr(message, name), get_origin(hint), get_args(hint)
    if origin is tuple:
        nested = (from_message(inner[0], each, f"{holder}{name}.") for each in value)
        return tuple(nested if is_dataclass(inner[0]) else value)
    if origin is Mapping:
        return dict(sorted(value.items()))
    if origin is Literal:
        number = message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number.get(value)
        if number is None:
            raise UnknownNumber(holder + name, value, inner)
        return number.name
    if origin is UnionType and not message.HasField(name):
        return None
    kind: type[Any] = inner[0] if origin is UnionType else hint
    return from_message(kind, value, f"{holder}{name}.") if is_dataclass(kind) else value
