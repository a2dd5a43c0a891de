"""The same image twice, to the byte: in two splits it makes a test look better than it is."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from xraycls.data.encoded import picture_within
from xraycls.data.medmnist import read_pixels
from xraycls.data.store import stored_checksums, stored_pixels
from xraycls.data.table import SampleTable
from xraycls.types import PIXELS, Sample

Rows = list[int]


def duplicates(samples: Sequence[Sample]) -> list[tuple[int, ...]]:
    """Groups of positions of samples with the very same content, in order.

    Files are compared byte by byte, rows of a container pixel by pixel. Only files whose size occurs more than once
    are read, and only those pictures of a prepared store whose checksum does.
    """
    return _same_content(samples, lambda rows: len(rows) > 1)


def duplicates_across_splits(table: SampleTable) -> list[tuple[Sample, ...]]:
    """Groups of samples with the very same content of which two or more splits hold one, in the order of the table.

    As :func:`duplicates`; files whose size only one split has are not read.
    """
    groups = _same_content(table.samples, lambda rows: len({table[row].split for row in rows}) > 1)
    return [tuple(table[row] for row in group) for group in groups]


def _same_content(samples: Sequence[Sample], matters: Callable[[Rows], bool]) -> list[tuple[int, ...]]:
    alike = _grouped(range(len(samples)), lambda row: _size_or_checksum(samples[row]), matters)
    candidates = (row for group in alike for row in group)
    return [tuple(group) for group in _grouped(candidates, lambda row: _content(samples[row]), matters)]


def _grouped(rows: Iterable[int], key: Callable[[int], Hashable], matters: Callable[[Rows], bool]) -> list[Rows]:
    groups: dict[Hashable, Rows] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return [group for group in groups.values() if matters(group)]


def _size_or_checksum(sample: Sample) -> int:
    if sample.path.name == PIXELS and sample.row is not None:
        return stored_checksums(sample.path)[sample.row]
    return sample.path.stat().st_size


def _content(sample: Sample) -> bytes:
    if (encoded := picture_within(sample)) is not None:
        return _digest(encoded)
    if sample.member is not None and sample.row is not None:
        if sample.path.name == PIXELS:
            return _digest(stored_pixels(sample.path)[sample.row].tobytes())
        return _digest(read_pixels(sample.path, sample.member, sample.row).tobytes())
    return _digest(sample.path.read_bytes())


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
