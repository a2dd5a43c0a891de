"""The outline of a text spec: which fields stand where, read without a schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<skip>\#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<name>(?<![\w.])[A-Za-z_]\w*)|(?P<mark>[{}<>:])"""
)


@dataclass(frozen=True, slots=True)
class Place:
    """A field of a text spec.

    Attributes:
        path: its name after those of the messages that hold it.
        line: from 1.
        column: from 1.
    """

    path: tuple[str, ...]
    line: int
    column: int


def outline(text: str) -> list[Place]:
    """The fields of a text in protobuf's text format, in order; of a text that isn't, whatever looks like fields."""
    return list(_outline(text))


def line_of(places: Sequence[Place], field: str) -> int | None:
    """The line of a field, from 1; None when it isn't there.

    Args:
        places: of a text, in order.
        field: after the messages that hold it, such as "dataset_config.data_sources[1].tfrecords_path"; without a
            number the first is meant.
    """
    path: tuple[str, ...] = ()
    found: list[Place] = list(places)
    for part in field.split("."):
        name, _, number = part.rstrip("]").partition("[")
        path = (*path, name)
        starts = [index for index, place in enumerate(found) if place.path == path]
        ends = [*starts[1:], len(found)]
        chosen = int(number or 0)
        if chosen >= len(starts):
            return None
        found = found[starts[chosen] : ends[chosen]]
    return found[0].line


def _outline(text: str) -> Iterator[Place]:
    parents: list[str] = []
    name: re.Match[str] | None = None
    last, is_open = "", False
    line, counted = 1, 0
    for token in _TOKEN.finditer(text):
        if token["skip"]:
            continue
        if token["name"]:
            name = token
        elif token["mark"] in ":{<":
            if name is not None or not is_open:
                at, last = (name or token).start(), name["name"] if name else last
                line, counted = line + text.count("\n", counted, at), at
                yield Place((*parents, last), line, at - text.rfind("\n", 0, at))
                name = None
            is_open = token["mark"] == ":"
            if not is_open:
                parents.append(last)
        elif parents:
            last = parents.pop()  # which the next brace of `[{ }, { }]` gives again
            name, is_open = None, False
