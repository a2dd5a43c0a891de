"""The protobuf library's complaints about a text spec, in our words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraycls.data.protobuf import TextError
from xraycls.errors import SpecError
from xraycls.tao.outline import Place

if TYPE_CHECKING:
    from google.protobuf.message import Message


def explained(error: TextError, path: Path, places: Sequence[Place], message: type[Message], program: str) -> SpecError:
    """The error that a user reads.

    Args:
        error: the library's.
        path: the spec.
        places: its fields.
        message: the class of the whole spec.
        program: that it is for.
    """
    text, line = str(error), error.line
    at = (line or 1, error.column or 0)
    place = next((p for p in reversed(places) if (p.line, p.column) <= at), None)
    field = ".".join(place.path) if place else None
    if unknown := re.fullmatch(r'Message type "(.+)" has no field named "(.+)"', text):
        owner = ".".join(place.path[:-1]) if place else ""
        hint = _nearest(message, owner, unknown[1], unknown[2])
        return SpecError(f"{owner or f'a spec of {program}'} has no field {unknown[2]!r}", path, line, field, hint)
    if "should not have multiple" in text:
        return SpecError(f"{field} is given twice", path, line, field, "Leave one of them out")
    if both := re.match(r'Field "(.+?)" is specified along with field "(.+?)"', text):
        return SpecError(f"{both[2]} and {both[1]} are both given", path, line, field, "Leave one of them out")
    if choice := re.match(r'Enum type "(.+)" has no value named (.+)', text):
        names = ", ".join(_choices(message, choice[1]))
        return SpecError(f"{field} is {choice[2]!r}; it must be one of {names}", path, line, field)
    text = text.replace("Couldn't parse integer:", "a whole number is expected, not")
    text = text.replace("Couldn't parse float:", "a number is expected, not")
    text = text[:1].lower() + text[1:]
    return SpecError(f"{field}: {text}" if field else text, path, line, field)


def _choices(message: type[Message], kind: str) -> list[str]:
    """The names that an enumeration has."""
    enums = (field.enum_type for _, holder in _messages(message.DESCRIPTOR, "") for field in holder.fields)
    return next([value.name for value in enum.values] for enum in enums if enum and enum.full_name == kind)


def _nearest(message: type[Message], owner: str, kind: str, name: str) -> str:
    """Where a field that a message of some kind doesn't have may belong."""
    holders = dict(_messages(message.DESCRIPTOR, ""))
    known = {place: [each.name for each in holder.fields] for place, holder in holders.items()}
    of_its_kind = next((known[place] for place, holder in holders.items() if holder.full_name == kind), [])
    if elsewhere := [place for place, names in known.items() if name in names and place not in ("", owner)]:
        return f"It belongs in {' or '.join(elsewhere[:3])}"
    if near := difflib.get_close_matches(name, of_its_kind, n=1, cutoff=0.6):
        return f"Did you mean {near[0]!r}?"
    paths: dict[str, str] = {}
    for place, names in known.items():
        for each in names:
            paths.setdefault(each, f"{place}.{each}".lstrip("."))
    if near := difflib.get_close_matches(name, paths, n=1, cutoff=0.75):
        return f"Did you mean {paths[near[0]]!r}?"
    return f"It has: {', '.join(of_its_kind)}"


def _messages(descriptor: Any, place: str) -> Iterator[tuple[str, Any]]:
    """A message and all that it holds, with the fields that lead there."""
    yield place, descriptor
    for field in descriptor.fields:
        if field.message_type is not None:
            yield from _messages(field.message_type, f"{place}.{field.name}".lstrip("."))
