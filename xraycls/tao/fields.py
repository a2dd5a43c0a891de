"""How a field of a spec is defined: once, with its meaning, its limits, the versions that know it and its support.

A message is a frozen dataclass, and each of its fields stands in one statement::

    @message
    class NMSConfig:
        top_k: int = define("predictions an image at most", at_least(1))
        force_on_cpu: bool = define("where TensorFlow does it", ignored("suppression runs where the network runs"))

Everything else is made from it: the descriptor that the protobuf library parses by, the checks, the versions that a
spec may be of, and the report of what becomes of each field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from types import UnionType
from typing import Any, Literal, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

from xraycls.tao.limits import Limit

Dialect = Literal["TLT 2", "TLT 3", "TAO 5"]
"""TLT 3 stands for TAO 3 too, TAO 5 for TAO 4."""

DIALECTS: tuple[Dialect, ...] = ("TLT 2", "TLT 3", "TAO 5")
FIRST, LATER, LAST = DIALECTS[:1], DIALECTS[1:], DIALECTS[2:]

Outcome = Literal["honoured", "approximated", "ignored", "not yet"]

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class Support:
    """What becomes of a field here.

    Attributes:
        outcome: whether it has the effect that it has in TAO.
        note: how it is approximated or why it is ignored; may add to what is honoured.
    """

    outcome: Outcome
    note: str = ""


HONOURED = Support("honoured")


def honoured(note: str) -> Support:
    """It has the same effect; what there is to know of it."""
    return Support("honoured", note)


def approximated(how: str) -> Support:
    """It has nearly the same effect."""
    return Support("approximated", how)


def ignored(why: str) -> Support:
    """It has no effect."""
    return Support("ignored", why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The definition of a field.

    Attributes:
        doc: what it means, with its unit.
        limits: what its value must be.
        when: whether the limits count, told by the message that holds the field; None for always.
        required: whether it must be given where its message is.
        dialects: the versions that know it.
        support: what becomes of it; None is that of the message that holds it, and honoured at last. That of a message
            with one of its own is that of the whole message.
        within: what differs, for the network that this message belongs to, in fields of the message that this one
            holds: :func:`but` by name, such as "adam.beta1".
        oneof: the group of which one field at most may be given.
        scalar: the type in protobuf, where it isn't the usual one of its annotation.
        now: its name in later versions, after the messages that hold it, where that differs.
    """

    doc: str
    limits: tuple[Limit, ...] = ()
    when: Callable[[Any], bool] | None = None
    required: bool = False
    dialects: tuple[Dialect, ...] = DIALECTS
    support: Support | None = None
    within: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    oneof: str = ""
    scalar: str = ""
    now: str = ""


_TABLES: dict[type[Any], Mapping[str, Field]] = {}


def define(doc: str, *marks: Limit | Support, **more: Any) -> Any:
    """The definition of a field, for a class under :func:`message`; its default is the zero of its type.

    Args:
        doc: what it means.
        marks: its limits and its support.
        more: other attributes of :class:`Field`.
    """
    return Field(doc=doc, **but(*marks, **more))


def but(*marks: Limit | Support, **more: Any) -> dict[str, Any]:
    """What differs from a field's definition in one place, for ``within``; arguments as those of :func:`define`."""
    supports = [each for each in marks if isinstance(each, Support)]
    limits = tuple(each for each in marks if isinstance(each, Limit))
    return {**({"limits": limits} if limits else {}), **({"support": supports[0]} if supports else {}), **more}


@dataclass_transform(frozen_default=True)
def message(kind: type[Message]) -> type[Message]:
    """A class of :func:`define`d fields as a frozen dataclass."""
    for name, hint in get_type_hints(kind).items():
        if isinstance(field := kind.__dict__.get(name), Field):
            setattr(kind, name, dataclasses.field(**_zero(hint), metadata={"definition": field}))
    return dataclass(frozen=True, slots=True)(kind)


def definition_of(field: dataclasses.Field[Any]) -> Field:
    """The definition of a dataclass's field; of one that has none, nothing but its name."""
    found: Field = field.metadata.get("definition") or Field(doc="")
    return found


def definitions(kind: type[Any]) -> Mapping[str, Field]:
    """The definitions of all fields of a spec, by their names after those of the messages that hold them.

    Args:
        kind: the class of the outermost message.
    """
    if kind not in _TABLES:
        _TABLES[kind] = dict(_definitions(kind, "", {}))
    return _TABLES[kind]


def message_in(hint: Any) -> type[Any] | None:
    """The class of the message that a field of this annotation holds, one or several; None when it holds values."""
    return next((each for each in (hint, *get_args(hint)) if is_dataclass(each) and isinstance(each, type)), None)


def versions_with(kind: type[Any], field: str) -> frozenset[Dialect]:
    """The versions that know a field of a spec and all that hold it.

    Args:
        kind: the class of the spec.
        field: after the messages that hold it; entries of mappings and what isn't known are of all versions.
    """
    table, known_to = definitions(kind), frozenset(DIALECTS)
    for holder in holders(field):
        if holder in table:
            known_to &= frozenset(table[holder].dialects)
    return known_to


def holders(field: str) -> Iterator[str]:
    """A field and all that hold it, the innermost first."""
    while field:
        yield field
        field = field.rpartition(".")[0]


def _definitions(kind: type[Any], holder: str, differing: Mapping[str, Any]) -> Iterator[tuple[str, Field]]:
    hints = get_type_hints(kind)
    for each in dataclasses.fields(kind):
        own = replace(definition_of(each), **differing.get(each.name, {}))
        yield f"{holder}{each.name}", own
        if inner := message_in(hints[each.name]):
            below = {name.partition(".")[2]: new for name, new in differing.items() if name.startswith(f"{each.name}.")}
            yield from _definitions(inner, f"{holder}{each.name}.", {**own.within, **below})


def _zero(hint: Any) -> dict[str, Any]:
    """What a field of this annotation is when it isn't given, as arguments of ``dataclasses.field``."""
    origin = get_origin(hint)
    if origin is Mapping:
        return {"default_factory": dict}
    if origin is UnionType:
        return {"default": None}
    return {"default": get_args(hint)[0] if origin is Literal else () if origin is tuple else hint()}
