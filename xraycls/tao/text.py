"""A text spec before it means anything: which fields stand where, and what the protobuf library has against it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraycls.data.protobuf import TextError
from xraycls.errors import SpecError

if TYPE_CHECKING:
    from google.protobuf.message import Message

_PATTERN = re.compile(
    r"""(?P<skip>\#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<name>(?<![\w.])[A-Za-z_]\w*)|(?P<mark>[{}<>:])"""
)


@dataclass(frozen=True, slots=True)
class Token:
    """A field where it stands in a text spec.

    Attributes:
        path: its name after those of the messages that hold it.
        line: from 1.
        column: from 1.
    """

    path: tuple[str, ...]
    line: int
    column: int


def tokens(text: str) -> list[Token]:
    """The fields of a text in protobuf's text format, in order; of a text that isn't, whatever looks like fields."""
    return list(_tokens(text))


def line_of(fields: Sequence[Token], field: str) -> int | None:
    """The line of a field, from 1; None when it isn't there.

    Args:
        fields: of a text, in order.
        field: after the messages that hold it, such as "dataset_config.data_sources[1].tfrecords_path"; without a
            number the first is meant.
    """
    path: tuple[str, ...] = ()
    found = list(fields)
    for part in field.split("."):
        name, _, number = part.rstrip("]").partition("[")
        path = (*path, name)
        starts = [index for index, each in enumerate(found) if each.path == path]
        ends = [*starts[1:], len(found)]
        chosen = int(number or 0)
        if chosen >= len(starts):
            return None
        found = found[starts[chosen] : ends[chosen]]
    return found[0].line


def _tokens(text: str) -> Iterator[Token]:
    parents: list[str] = []
    name: re.Match[str] | None = None
    last, is_open = "", False
    line, counted = 1, 0
    for token in _PATTERN.finditer(text):
        if token["skip"]:
            continue
        if token["name"]:
            name = token
        elif token["mark"] in ":{<":
            if name is not None or not is_open:
                at, last = (name or token).start(), name["name"] if name else last
                line, counted = line + text.count("\n", counted, at), at
                yield Token((*parents, last), line, at - text.rfind("\n", 0, at))
                name = None
            is_open = token["mark"] == ":"
            if not is_open:
                parents.append(last)
        elif parents:
            last = parents.pop()  # which the next brace of `[{ }, { }]` gives again
            name, is_open = None, False


def explained(error: TextError, path: Path, fields: Sequence[Token], message: type[Message], program: str) -> SpecError:
    """The error that a user reads.

    Args:
        error: the library's.
        path: the spec.
        fields: its fields, in order.
        message: the class of the whole spec.
        program: that it is for.
    """
    text, line = str(error), error.line
    at = (line or 1, error.column or 0)
    token = next((each for each in reversed(fields) if (each.line, each.column) <= at), None)
    field = ".".join(token.path) if token else None
    if unknown := re.fullmatch(r'Message type "(.+)" has no field named "(.+)"', text):
        owner = ".".join(token.path[:-1]) if token else ""
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
