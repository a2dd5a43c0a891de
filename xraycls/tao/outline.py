"""The outline of a text spec: which fields stand where, read without a schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
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


def _outline(text: str) -> Iterator[Place]:
    parents: list[str] = []
    name: re.Match[str] | None = None
    last = ""
    for token in _TOKEN.finditer(text):
        if token["skip"]:
            continue
        if token["name"]:
            name = token
        elif token["mark"] in ":{<":
            if name is not None:
                last = name["name"]
                before = text[: name.start()]
                yield Place((*parents, last), before.count("\n") + 1, name.start() - before.rfind("\n"))
                name = None
            if token["mark"] != ":":
                parents.append(last)
        elif parents:
            parents.pop()
            name = None
