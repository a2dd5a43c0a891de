"""Text specs of TLT/TAO: read into configuration objects, with mistakes named by file, line and field; written back.

The text form is protobuf's, so ``name { }`` and ``name: { }``, ``1.0f``, ``<>`` and ``[a, b]`` are all read; an unknown
field, a value given twice and two members of a oneof are mistakes.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

from xraycls.data.files import atomic_write
from xraycls.data.protobuf import TextError, parse_text, print_text
from xraycls.errors import SpecError
from xraycls.tao.dataset_export import DatasetExport
from xraycls.tao.kinds import kind_of_spec
from xraycls.tao.messages import from_message, message_of, schema, to_message
from xraycls.tao.outline import Place, outline

Config = TypeVar("Config")

KINDS: dict[type[Any], str] = {DatasetExport: "dataset_convert"}
"""The specs that can be read: the class of the outermost message, and the program that takes the spec."""


def read_spec(path: Path, kind: type[Config]) -> Config:
    """Read a text spec.

    Args:
        path: the spec.
        kind: what it should be, a class of :data:`KINDS`.

    Raises:
        SpecError: the file can't be read, is a spec of another program or has a mistake; names file, line and field.
        MissingExtra: protobuf isn't installed.
    """
    text = _read(path)
    places = outline(text)
    found = kind_of_spec({place.path[0] for place in places if len(place.path) == 1})
    if found not in (None, KINDS[kind]):
        raise SpecError(f"this spec is for {found}, not for {KINDS[kind]}", path, hint=_expected(kind))
    try:
        return from_message(kind, parse_text(message_of(kind), text))
    except TextError as error:
        raise _explained(error, path, places, kind) from error


def spec_text(config: Any) -> str:
    """A configuration object as a text spec; values that are the defaults are left out."""
    return print_text(to_message(config))


def write_spec(config: Any, path: Path) -> None:
    """Write a configuration object as a text spec; raises XrayclsError when the file can't be written."""
    with atomic_write(path) as temporary:
        temporary.write_text(spec_text(config), encoding="utf-8", newline="\n")


def wrong_value(path: Path, field: str, message: str, hint: str | None = None) -> SpecError:
    """The error for a value that parses but can't mean anything.

    Args:
        path: the spec, to look the line up.
        field: after the messages that hold it, such as "kitti_config.val_split".
        message: what is wrong, naming the field.
        hint: the way out.
    """
    dotted = tuple(field.split("."))
    line = next((place.line for place in outline(_read(path)) if place.path == dotted), None)
    return SpecError(message, path, line, field, hint)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(f"the spec could not be read: {error.strerror}", path) from error
    except UnicodeDecodeError as error:
        raise SpecError("the spec is not UTF-8 text", path) from error


def _expected(kind: type[Any]) -> str:
    names = [each.name for each in message_of(kind).DESCRIPTOR.fields if each.message_type is not None]
    return f"Give a spec with {' or '.join(names[:2])}"


def _explained(error: TextError, path: Path, places: list[Place], kind: type[Any]) -> SpecError:
    """The library's complaint in our words."""
    message, line = str(error), error.line
    at = (line or 1, error.column or 0)
    place = next((p for p in reversed(places) if (p.line, p.column) <= at), None)
    field = ".".join(place.path) if place else None
    if unknown := re.fullmatch(r'Message type "(.+)" has no field named "(.+)"', message):
        owner = ".".join(place.path[:-1]) if place else ""
        where = owner or f"a {KINDS[kind]} spec"
        return SpecError(f"{where} has no field {unknown[2]!r}", path, line, field, _nearest(unknown[1], unknown[2]))
    if "should not have multiple" in message:
        return SpecError(f"{field} is given twice", path, line, field, "Leave one of them out")
    if both := re.match(r'Field "(.+?)" is specified along with field "(.+?)"', message):
        return SpecError(f"{both[2]} and {both[1]} are both given", path, line, field, "Leave one of them out")
    message = message.replace("Couldn't parse integer:", "a whole number is expected, not")
    message = message.replace("Couldn't parse float:", "a number is expected, not")
    message = message[:1].lower() + message[1:]
    return SpecError(f"{field}: {message}" if field else message, path, line, field)


def _nearest(message: str, name: str) -> str:
    """Where a field that a message doesn't have may belong."""
    known = [each.name for each in schema().message(message).DESCRIPTOR.fields]
    package = message.rpartition(".")[0]
    relatives = [each for file in schema().files if file.package == package for each in file.message_type]
    owners = {f".{package}.{each.name}" for each in relatives if name in {field.name for field in each.field}}
    holders = [field.name for each in relatives for field in each.field if field.type_name in owners]
    if holders:
        return f"It belongs in {' or '.join(holders)}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(known)}"
