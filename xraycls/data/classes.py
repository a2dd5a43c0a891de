"""The classes of a table changed by the user's wish: the positive one, and names that are merged."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from xraycls.data.class_names import is_healthy, is_no_class, plain_class, positive_of
from xraycls.data.options import ReadOptions
from xraycls.data.spelling import in_order
from xraycls.data.table import SampleTable
from xraycls.errors import UsageError, unknown

logger = logging.getLogger(__name__)


def with_positive(table: SampleTable, positive: str) -> SampleTable:
    """The table with one of its two classes as the positive one, by its name in any spelling.

    Raises:
        UsageError: there aren't two classes, or none of that name.
    """
    if len(table.classes) != 2:
        raise UsageError(
            f"--positive {positive} goes with two classes, and {table.root} has {len(table.classes)}",
            "Merge classes with --map, or leave it out",
        )
    chosen = _spelt(table.classes, positive)
    if chosen is None:
        raise unknown("class", positive, table.classes, "--positive")
    return with_class_order(table, tuple(sorted(table.classes, key=lambda name: name == chosen)))


def with_class_order(table: SampleTable, classes: tuple[str, ...]) -> SampleTable:
    """The table with the same classes in another order."""
    if classes == table.classes:
        return table
    number = [classes.index(name) for name in table.classes]
    samples = (s if s.label is None else replace(s, label=number[s.label]) for s in table)
    return replace(table, classes=classes, samples=tuple(samples))


def tell_positive(table: SampleTable, options: ReadOptions) -> None:
    """Say which of two classes is the positive one, and warn where that is a guess."""
    if len(table.classes) != 2 or options.positive:
        return
    positive, is_sure = positive_of(table.classes)
    if not is_sure:
        logger.warning(
            "Nothing tells which of %s and %s is positive; %s is taken, the last one. --positive %s takes the other.",
            *table.classes,
            table.classes[1],
            table.classes[0],
        )
    elif positive != table.classes[1]:
        logger.info("The positive class of %s is %s, as the source orders them.", table.root, table.classes[1])


def parse_map(text: str) -> dict[str, str]:
    """Names of classes and what they become, from "COVID-19=PNEUMONIA,No Finding=NORMAL".

    Raises:
        UsageError: an entry without "=", an empty name, or a name that becomes two.

    >>> parse_map("COVID-19=PNEUMONIA, No Finding=NORMAL")
    {'COVID-19': 'PNEUMONIA', 'No Finding': 'NORMAL'}
    """
    found: dict[str, str] = {}
    for entry in text.split(","):
        old, equals, new = (part.strip() for part in entry.partition("="))
        if not (old and equals and new):
            raise UsageError(f"--map has {entry.strip()!r}", 'Write --map "COVID-19=PNEUMONIA,No Finding=NORMAL"')
        if found.setdefault(old, new) != new:
            raise UsageError(f"--map makes {old!r} both {found[old]!r} and {new!r}", "Name it once")
    return found


def with_mapped_classes(table: SampleTable, text: str) -> SampleTable:
    """The table with classes renamed, and merged where they get one name; names are matched in any spelling.

    Args:
        table: of any source.
        text: as :func:`parse_map`; a class that isn't in it keeps its name.

    Raises:
        UsageError: a name that is no class, or an entry that can't be read.
    """
    becomes: dict[str, str] = {}
    for old, new in parse_map(text).items():
        known = _spelt(table.classes, old)
        if known is None:
            raise unknown("class", old, table.classes, "--map")
        becomes[known] = new
    kept = {plain_class(name): name for name in table.classes if name not in becomes}
    renamed = [
        kept.get(plain_class(becomes[name]), becomes[name]) if name in becomes else name for name in table.classes
    ]
    classes = in_order(renamed) if set(renamed) != set(table.classes) else table.classes
    number = [classes.index(name) for name in renamed]
    samples = (s if s.label is None else replace(s, label=number[s.label]) for s in table)
    counts = {old: count for old, count in table.counts().items() if old in becomes}
    logger.info(
        "Renamed %s in %s.",
        ", ".join(f"{old} ({count:,}) to {becomes[old]}" for old, count in counts.items()),
        table.root,
    )
    return replace(table, classes=classes, samples=tuple(samples))


def suggested_map(strangers: Sequence[str], known: Sequence[str]) -> str | None:
    """The mapping that would fit classes to those of a model, for a message; None where nothing suggests one.

    A class of the same meaning comes first; of a model with two classes, healthy ones become its negative class and
    all others its positive one.

    >>> suggested_map(["COVID-19", "No Finding"], ["NORMAL", "PNEUMONIA"])
    'COVID-19=PNEUMONIA,No Finding=NORMAL'
    """
    entries: Mapping[str, str | None] = {name: _likely(name, known, is_healthy(name)) for name in strangers}
    if not all(entries.values()):
        return None
    return ",".join(f"{old}={new}" for old, new in entries.items())


def _likely(name: str, known: Sequence[str], healthy: bool) -> str | None:
    plain = plain_class(name)
    parts = [each for each in known if plain_class(each) in plain or plain in plain_class(each)]
    if len(parts) == 1 and is_healthy(parts[0]) == healthy:
        return parts[0]
    alike = [each for each in known if is_healthy(each) == healthy]
    return alike[0] if len(alike) == 1 else None


def _spelt(classes: Sequence[str], name: str) -> str | None:
    """The class of a name in any spelling; None without one."""
    if name in classes:
        return name
    found = [each for each in classes if plain_class(each) == plain_class(name)]
    return found[0] if len(found) == 1 and not is_no_class(name) else None
