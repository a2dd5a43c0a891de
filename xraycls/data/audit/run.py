"""All checks of a data set, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xraycls.data.audit.boxes import check_boxes
from xraycls.data.audit.copies import check_exact_duplicates, check_near_duplicates
from xraycls.data.audit.finding import Audit, Evidence, Finding
from xraycls.data.audit.pictures import check_burnt_in_text, check_markers, check_polarity, check_unreadable
from xraycls.data.audit.sharded import Read, keep_facts, merged_facts
from xraycls.data.audit.shortcut import check_shortcut
from xraycls.data.audit.splits import check_balance, check_patients
from xraycls.data.facts import PictureFacts, picture_facts
from xraycls.data.headers import picture_headers
from xraycls.data.shards import Shard, ShardDone, Shards, open_shard
from xraycls.data.table import SampleTable
from xraycls.errors import DataError

COMMAND = "audit"

Progress = Callable[[int, int], None]


def audit(
    table: SampleTable,
    *,
    quick: bool = False,
    classes: Sequence[str] | None = None,
    threads: int | None = None,
    merged: Shards | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Look for what spoils results before anyone trains: nothing is found in clean data.

    Unreadable files; the same picture or patient in several splits; lacking classes and shifted shares; metadata or
    markers that tell the label; boxes that can't be right; inverted pictures.

    Args:
        table: as :func:`xraycls.data.source.read_source` gives it, with the files that can't be read.
        quick: read headers only; near duplicates, markers, inverted pictures and damage inside files stay hidden.
        classes: of boxes; None for any.
        threads: that decode; None for one a processor.
        merged: shards that have read the pictures already; None reads them.
        progress: called with the number of pictures done and their total.
    """
    read = merged_facts(table, merged) if merged else _read(table, quick, threads, progress)
    unreadable = list(check_unreadable(table, read))
    lost = {row for finding in unreadable for row in finding.samples}
    kept = [None if row in lost or isinstance(each, DataError) else each for row, each in enumerate(read)]
    facts = () if quick else tuple(each if isinstance(each, PictureFacts) else None for each in kept)
    evidence = Evidence(table, tuple(kept), facts)
    found = [*unreadable, *checks(evidence, classes)]
    return Audit(table, tuple(sorted(found, key=lambda finding: finding.severity)), quick)


def _read(table: SampleTable, quick: bool, threads: int | None, progress: Progress | None) -> Read:
    """What is known of every picture, or why it can't be read."""
    if quick:
        return picture_headers(table.samples, progress=progress, threads=threads)
    return picture_facts(table, progress=progress, threads=threads)


def shard_audit(
    table: SampleTable,
    target: Path,
    shard: Shard,
    settings: Mapping[str, Any],
    *,
    quick: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ShardDone:
    """Read the pictures of one shard, for ``xraycls data merge``.

    Args:
        table: the whole data set.
        target: folder of the report that the shards are merged to.
        shard: which part.
        settings: what reads the table again and audits it, as values of JSON.
        quick: as of :func:`audit`.
        threads: likewise.
        progress: likewise.
    """
    names = [table.name_of(sample) for sample in table]
    with open_shard(target, shard, COMMAND, settings, names) as part:
        own = table.with_samples(table[index] for index in part.indices)
        keep_facts(part, _read(own, quick, threads, progress))
    return ShardDone(target, shard, len(own), len(table))


def checks(evidence: Evidence, classes: Sequence[str] | None = None) -> Iterator[Finding]:
    """The findings of all checks that the evidence is enough for."""
    yield from check_exact_duplicates(evidence)
    yield from check_patients(evidence)
    yield from check_burnt_in_text(evidence)
    yield from check_balance(evidence)
    yield from check_shortcut(evidence)
    yield from check_boxes(evidence, classes)
    if evidence.decoded:
        yield from check_near_duplicates(evidence)
        yield from check_markers(evidence)
        yield from check_polarity(evidence)
