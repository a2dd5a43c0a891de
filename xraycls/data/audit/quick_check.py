"""The short form of an audit, for the start of every training: seconds, and a sentence a fault."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from pathlib import Path

from xraycls.data.audit.boxes import check_boxes
from xraycls.data.audit.finding import Evidence, Finding, Group, counted
from xraycls.data.audit.shortcut import check_shortcut
from xraycls.data.audit.splits import check_patients
from xraycls.data.duplicates import duplicates_across_splits
from xraycls.data.headers import picture_headers
from xraycls.data.table import SampleTable
from xraycls.errors import DataError

logger = logging.getLogger(__name__)

_NAMED = 3


def warn_of_faults(table: SampleTable, given: Path | None = None) -> None:
    """Log how the classes are spread, and warn of what headers and file contents tell without decoding.

    The same content or patient in several splits, metadata that tell the label, and boxes that can't be right.

    Args:
        table: with its splits.
        given: the path that the user gave, for the command that shows more; None for the table's root.
    """
    if not logger.isEnabledFor(logging.WARNING):  # one process of several talks to the user
        return
    for split in table.splits:
        counts = ", ".join(f"{count:,} {name}" for name, count in table.split(split).counts().items())
        logger.info("%s: %s", split, counts)
    source = shlex.quote(str(given or table.root))
    headers = picture_headers(table.samples)
    evidence = Evidence(table, tuple(None if isinstance(each, DataError) else each for each in headers))
    found = [finding for finding in _findings(evidence) if finding.severity == "error"]
    for finding in found:
        logger.warning("%s%s.", finding.title, _named(table, finding))
    if any(finding.kind == "patient-across-splits" for finding in found):
        logger.warning("xraycls data split %s --redraw writes splits that keep patients apart.", source)
    if found:
        logger.warning("xraycls data audit %s shows more.", source)


def _findings(evidence: Evidence) -> Iterator[Finding]:
    table = evidence.table
    copies = duplicates_across_splits(table)
    if copies:
        row_of = {id(sample): row for row, sample in enumerate(table)}
        groups = tuple(Group(tuple(row_of[id(sample)] for sample in group)) for group in copies)
        verb = "stands" if len(copies) == 1 else "stand"
        title = f"{counted(len(copies), 'image')} {verb} in more than one split"
        yield Finding("duplicate-across-splits", "error", title, "", groups)
    yield from check_patients(evidence)
    yield from check_shortcut(evidence)
    yield from check_boxes(evidence)


def _named(table: SampleTable, finding: Finding) -> str:
    """The first pictures concerned, one of each split, where there are some worth naming."""
    if finding.kind == "shortcut":
        return ""
    sign = " = " if finding.kind.startswith("duplicate") else " and "
    groups = []
    for group in finding.groups[:_NAMED]:
        one_a_split = {table[row].split: row for row in reversed(group.samples)}
        groups.append(sign.join(_with_split(table, row) for row in sorted(one_a_split.values())))
    return f": {'; '.join(groups)}{'; …' if len(finding.groups) > _NAMED else ''}"


def _with_split(table: SampleTable, row: int) -> str:
    split = table[row].split
    return table.name_of(table[row]) + (f" ({split})" if split else "")
