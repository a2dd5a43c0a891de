"""Files that can't be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xraycls.data.audit.finding import Finding, Group, counted
from xraycls.data.headers import PictureHeader
from xraycls.data.table import SampleTable
from xraycls.data.verify import find_unreadable
from xraycls.errors import DataError


def check_unreadable(table: SampleTable, read: Sequence[PictureHeader | DataError]) -> Iterator[Finding]:
    """Missing, empty, cut short or damaged files, and what is no picture at all.

    Args:
        table: the data set.
        read: the header or facts of every sample, or why there are none.
    """
    problems = find_unreadable(table)
    groups = []
    for row, (sample, result) in enumerate(zip(table, read, strict=True)):
        if sample.path in problems and sample.member is None:
            groups.append(Group((row,), problems[sample.path]))
        elif isinstance(result, DataError):
            groups.append(Group((row,), result.message.removeprefix(f"{sample.path} ")))
    if groups:
        yield Finding(
            "unreadable",
            "error",
            f"{counted(len(groups), 'file')} of {len(table):,} can't be read",
            "Training leaves them out, so the data is not what the table says. Fetch them again, or remove them.",
            tuple(groups),
        )
