"""What ``store.json`` says of the pictures of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xraycls.data.partial_store import Row
from xraycls.data.store import Pictures, Settings, Sources, StoreFile
from xraycls.data.table import SampleTable
from xraycls.types import Box


def described_store(settings: Settings, table: SampleTable, done: Sequence[tuple[int, Row]]) -> StoreFile:
    """The description of a store.

    Args:
        settings: what it is prepared from, and how.
        table: the samples of the source.
        done: the index of each sample that the store holds, in the order of its rows, and how it was made.
    """
    samples = [table[index] for index, _ in done]
    rows = [row for _, row in done]
    files = {sample.path: row.file for sample, row in zip(samples, rows, strict=True)}
    position = {path: number for number, path in enumerate(files)}
    return StoreFile(
        settings=settings,
        classes=table.classes,
        findings=table.findings,
        sources=Sources(
            name=[_below(path, table.root) for path in files],
            size=[facts.size for facts in files.values()],
            mtime_ns=[facts.mtime_ns for facts in files.values()],
            sha256=[facts.sha256 for facts in files.values()],
        ),
        pictures=Pictures(
            name=[table.name_of(sample) for sample in samples],
            source=[position[sample.path] for sample in samples],
            label=[sample.label for sample in samples],
            patient=[sample.patient for sample in samples],
            split=[sample.split for sample in samples],
            boxes=[_boxes_within(row, sample.boxes) for sample, row in zip(samples, rows, strict=True)],
            left=[row.left for row in rows],
            top=[row.top for row in rows],
            width=[row.width for row in rows],
            height=[row.height for row in rows],
            crc32=[row.crc32 for row in rows],
            findings=[list(sample.findings) for sample in samples] if table.findings else [],
        ),
    )


def _boxes_within(row: Row, boxes: Sequence[Box]) -> list[tuple[str, float, float, float, float]]:
    """What the row's region leaves of each box, in pixels of the region."""
    cut = []
    for box in boxes:
        left, right = (min(max(x - row.left, 0.0), float(row.width)) for x in (box.left, box.right))
        top, bottom = (min(max(y - row.top, 0.0), float(row.height)) for y in (box.top, box.bottom))
        if left < right and top < bottom:
            cut.append((box.label, left, top, right, bottom))
    return cut


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.resolve().as_posix()
