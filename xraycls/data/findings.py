"""Several findings an image: what the cells of a table say of each, and the one label that follows from them.

A finding is present (1), absent (0), uncertain (:data:`~xraycls.types.UNCERTAIN`) or unknown (None). What a reader of
an image doesn't mention is unknown, unless the table lists all that there is to see.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from xraycls.data.class_names import is_healthy, is_no_class, plain_class
from xraycls.data.classes import parse_map
from xraycls.data.options import Blank, ReadOptions
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError, unknown
from xraycls.types import NO_FINDING, UNCERTAIN

logger = logging.getLogger(__name__)

LABELS = (NO_FINDING, "Finding")
"""Classes of a table of findings where one label an image is asked for."""

Value = float | None
Values = tuple[Value, ...]

_WRITTEN: Mapping[str, float] = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), 1.0),
    **dict.fromkeys(("0", "0.0", "false", "no"), 0.0),
    **dict.fromkeys(("-1", "-1.0"), UNCERTAIN),
}
_LISTED = re.compile(r"[\[(]\s*(.*?)\s*[\])]")


@dataclass(frozen=True, slots=True)
class FindingCounts:
    """Images in which a finding is present, absent, uncertain and unknown."""

    present: int
    absent: int
    uncertain: int
    unknown: int


def cell_value(cell: str, blank: Blank = "unknown") -> Value:
    """What a cell of a finding's column says: 1, 0 or -1 for uncertain, and nothing.

    Args:
        cell: its text.
        blank: what an empty one, or "nan", means.

    Raises:
        ValueError: it is no such number.

    >>> cell_value("1.0"), cell_value("-1"), cell_value(""), cell_value("", "absent")
    (1.0, 0.5, None, 0.0)
    """
    text = cell.strip().lower()
    if text in _WRITTEN:
        return _WRITTEN[text]
    if is_no_class(text):
        return 0.0 if blank == "absent" else None
    raise ValueError(cell)


def listed_findings(cell: str, separator: str) -> frozenset[str] | None:
    """The findings that a cell lists; empty for a healthy image, None where nothing is known.

    >>> sorted(listed_findings("Effusion|Mass", "|") or ())
    ['Effusion', 'Mass']
    >>> listed_findings("No Finding", "|"), listed_findings("", "|")
    (frozenset(), None)
    """
    if is_no_class(cell):
        return None
    inner = match[1] if (match := _LISTED.fullmatch(cell.strip())) else cell
    parts = [part.strip(" '\"") for part in inner.split(separator)]
    return frozenset(part for part in parts if part and not is_healthy(part) and not is_no_class(part))


def values_of_lists(
    lists: Sequence[frozenset[str] | None], order: Sequence[str] = ()
) -> tuple[tuple[str, ...], list[Values]]:
    """The findings that occur in some lists, and what each list says of them: what isn't listed is absent.

    Args:
        lists: findings of each image; None where nothing is known.
        order: names that come first, in this order.

    Returns:
        Names and, for each list, its values.
    """
    named = {name for each in lists if each for name in each}
    names = (*(name for name in order if name in named), *sorted(named - set(order)))
    return names, [(None,) * len(names) if each is None else tuple(float(n in each) for n in names) for each in lists]


def label_of(values: Iterable[Value]) -> int | None:
    """The index into ``LABELS`` that findings mean: None where none is present and one is uncertain or all unknown.

    >>> label_of((0.0, 1.0, None)), label_of((0.0, None)), label_of((0.5, 0.0)), label_of((None,))
    (1, 0, None, None)
    """
    known = {value for value in values if value is not None}
    if 1.0 in known:
        return 1
    return 0 if known == {0.0} else None


def for_task(table: SampleTable, options: ReadOptions) -> SampleTable:
    """The table with what the task needs: findings where several are asked for or the source has them.

    Raises:
        UsageError: no such task, or several findings asked for where the source has none.
        DataError: nothing is known of any image's findings.
    """
    if options.task not in ("auto", "single", "multi"):
        raise unknown("task", options.task, ("auto", "single", "multi"), "--task")
    if options.blank not in ("unknown", "absent"):
        raise unknown("meaning", options.blank, ("unknown", "absent"), "--blank")
    if options.task == "single":
        return table.single_label()
    if options.task == "auto" and not options.labels and (len(table.findings) < 2 or _names_classes(table, options)):
        return table.single_label()
    if not table.findings:
        table = findings_of_classes(table)
    if options.labels:
        table = with_findings(table, options.label_columns)
    known = table.labelled()
    if not len(known):
        raise DataError(
            f"Nothing is known of {', '.join(table.findings)} in {table.root}: all labels are blank",
            table.root,
            "Name other columns with --labels, or take blank cells for absent with --blank absent",
        )
    if left_out := len(table) - len(known):
        logger.warning("%d of %d images of %s have no known finding.", left_out, len(table), table.root)
    return table


def findings_of_classes(table: SampleTable) -> SampleTable:
    """The table with a finding for each class but the healthy one, such as the appearances of SIIM's studies.

    Raises:
        UsageError: no class is healthy, or no other is there.
    """
    others = [number for number, name in enumerate(table.classes) if not is_healthy(name)]
    if not others or len(others) == len(table.classes):
        raise UsageError(
            f"{table.root} tells one label an image and no findings, of which there may be several",
            'Name their columns with --labels A,B, or what separates them in a cell with --label-separator "|"',
        )

    def findings(label: int | None) -> Values:
        return tuple(None if label is None else float(label == number) for number in others)

    samples = (
        replace(s, findings=findings(s.label), label=None if s.label is None else int(s.label in others)) for s in table
    )
    names = tuple(table.classes[number] for number in others)
    return replace(table, samples=tuple(samples), classes=LABELS, findings=names)


def _names_classes(table: SampleTable, options: ReadOptions) -> bool:
    """Whether the user speaks of the classes of one label an image."""
    known = {plain_class(name) for name in table.classes}
    mapped = parse_map(options.class_map) if options.class_map else {}
    return options.positive is not None or (bool(mapped) and {plain_class(name) for name in mapped} <= known)


def counts_of_findings(table: SampleTable) -> dict[str, FindingCounts]:
    """How often each finding is present, absent, uncertain and unknown."""
    counted = [Counter(sample.findings[number] for sample in table) for number in range(len(table.findings))]
    return {
        name: FindingCounts(count[1.0], count[0.0], count[UNCERTAIN], count[None])
        for name, count in zip(table.findings, counted, strict=True)
    }


def with_mapped_findings(table: SampleTable, text: str) -> SampleTable:
    """The table with findings renamed, and merged where they get one name: present where one of them is.

    Args:
        table: with findings.
        text: as :func:`xraycls.data.classes.parse_map`.

    Raises:
        UsageError: a name that is no finding, or an entry that can't be read.
    """
    known = {plain_class(name): name for name in table.findings}
    becomes = {}
    for old, new in parse_map(text).items():
        if plain_class(old) not in known:
            raise unknown("finding", old, table.findings, "--map")
        becomes[known[plain_class(old)]] = new
    renamed = [becomes.get(name, name) for name in table.findings]
    names = tuple(dict.fromkeys(renamed))
    parts = [[at for at, new in enumerate(renamed) if new == name] for name in names]
    samples = (replace(s, findings=tuple(_merged([s.findings[at] for at in part]) for part in parts)) for s in table)
    return replace(table, findings=names, samples=tuple(samples))


def with_findings(table: SampleTable, names: tuple[str, ...]) -> SampleTable:
    """The table with these findings, such as those of a model, matched by name in any spelling.

    Those that it lacks are unknown, with a warning.

    Raises:
        DataError: it has none of them.
    """
    place = {plain_class(name): at for at, name in enumerate(table.findings)}
    at = [place.get(plain_class(name)) for name in names]
    if all(each is None for each in at):
        told = ", ".join(table.findings) if table.findings else "one label an image"
        raise DataError(
            f"{table.root} tells {told}, and not {', '.join(names)}",
            table.root,
            'Rename findings with --map "theirs=ours", or name their columns with --labels',
        )
    if lacking := [name for name, each in zip(names, at, strict=True) if each is None]:
        logger.warning("%s tells nothing of %s.", table.root, ", ".join(lacking))
    samples = (replace(s, findings=tuple(None if a is None else s.findings[a] for a in at)) for s in table)
    return replace(table, findings=names, samples=tuple(samples))


def _merged(values: Sequence[Value]) -> Value:
    for wins in (1.0, UNCERTAIN, None):
        if wins in values:
            return wins
    return 0.0
