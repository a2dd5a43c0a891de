"""What an audit finds, and what its checks look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from xraycls.data.facts import PictureFacts
from xraycls.data.headers import PictureHeader
from xraycls.data.table import SampleTable

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that a finding is about, together.

    Attributes:
        samples: rows of the table.
        note: what is the matter with them; "" where the finding says it all.
    """

    samples: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a data set.

    Attributes:
        kind: its name for programs, such as "duplicate-across-splits".
        severity: "error" spoils results, "warning" may be as it should.
        title: what was found, one sentence with counts.
        advice: why it matters and the way out.
        groups: the pictures concerned.
        figures: numbers behind it, for programs.
    """

    kind: str
    severity: Severity
    title: str
    advice: str
    groups: tuple[Group, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def samples(self) -> tuple[int, ...]:
        """Rows of the table, each once, in its order."""
        return tuple(sorted({row for group in self.groups for row in group.samples}))


@dataclass(frozen=True, slots=True)
class Audit:
    """All findings of a data set, the gravest first.

    Attributes:
        table: what was audited.
        findings: none for clean data.
        quick: whether only headers were read.
    """

    table: SampleTable
    findings: tuple[Finding, ...]
    quick: bool

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that spoil results."""
        return tuple(finding for finding in self.findings if finding.severity == "error")


@dataclass(frozen=True)
class Evidence:
    """What checks look at.

    Attributes:
        table: the data set.
        headers: of every sample; None where it can't be read.
        facts: likewise, once decoded; empty for a quick audit.
    """

    table: SampleTable
    headers: tuple[PictureHeader | None, ...]
    facts: tuple[PictureFacts | None, ...] = ()

    @cached_property
    def readable(self) -> tuple[int, ...]:
        """Rows of the samples that can be read."""
        return tuple(row for row, header in enumerate(self.headers) if header is not None)

    @cached_property
    def decoded(self) -> dict[int, PictureFacts]:
        """Facts by row, where there are some."""
        return {row: facts for row, facts in enumerate(self.facts) if facts is not None}

    def splits_of(self, rows: tuple[int, ...]) -> set[str]:
        """The splits that some samples belong to; those without one count for none."""
        return {split for row in rows if (split := self.table[row].split) is not None}


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun, such as "1 picture" or "1,200 pictures"."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
