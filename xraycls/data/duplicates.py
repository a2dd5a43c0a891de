"""The same image in two splits: it makes a test look better than it is."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

from xraycls.data.medmnist import read_pixels
from xraycls.data.store import stored_checksums, stored_pixels
from xraycls.data.table import SampleTable
from xraycls.types import PIXELS, Sample


def duplicates_across_splits(table: SampleTable) -> list[tuple[Sample, ...]]:
    """Groups of samples with the very same content of which two or more splits hold one, in the order of the table.

    Files are compared byte by byte, rows of a container pixel by pixel. Only files whose size occurs in several
    splits are read, and only those pictures of a prepared store whose checksum does.
    """
    alike = _across_splits(table, _size_or_checksum)
    candidates = (sample for group in alike for sample in group)
    return _across_splits(candidates, _content)


def _across_splits(samples: Iterable[Sample], key: Callable[[Sample], Hashable]) -> list[tuple[Sample, ...]]:
    groups: dict[Hashable, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[key(sample)].append(sample)
    return [tuple(group) for group in groups.values() if len({sample.split for sample in group}) > 1]


def _size_or_checksum(sample: Sample) -> int:
    if sample.path.name == PIXELS and sample.row is not None:
        return stored_checksums(sample.path)[sample.row]
    return sample.path.stat().st_size


def _content(sample: Sample) -> bytes:
    if sample.member is not None and sample.row is not None:
        if sample.path.name == PIXELS:
            return _digest(stored_pixels(sample.path)[sample.row].tobytes())
        return _digest(read_pixels(sample.path, sample.member, sample.row).tobytes())
    return _digest(sample.path.read_bytes())


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
