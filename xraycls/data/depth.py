"""How many bits the grey levels of 16-bit pictures have: one answer for a data set, not one a file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from xraycls.data.files import is_special
from xraycls.data.processors import available_processors
from xraycls.types import Sample

logger = logging.getLogger(__name__)

ATTRIBUTE = "grey bits"
"""The attribute of a sample that says how many bits its grey levels have."""

DEPTHS = (8, 10, 12, 14, 16)
_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".pgm", ".pnm"})  # of pictures that may have 16 bits
_LOOKED_AT = 48


def bits_of(sample: Sample) -> int | None:
    """The bits of a sample's grey levels, where that was decided."""
    noted = next((text for name, text in sample.attributes if name == ATTRIBUTE), None)
    return int(noted) if noted and noted.isdecimal() else None


def with_bits(samples: Iterable[Sample], bits: int | None) -> tuple[Sample, ...]:
    """The samples with pictures that may have 16 bits marked as having so many; those that are marked stay."""
    if bits is None:
        return tuple(samples)
    return tuple(
        replace(sample, attributes=(*sample.attributes, (ATTRIBUTE, str(bits))))
        if _may_be_deep(sample) and bits_of(sample) is None
        else sample
        for sample in samples
    )


def one_depth(samples: Sequence[Sample], root: Path, bits: int | None = None) -> tuple[Sample, ...]:
    """The samples of a set with one depth: the given one, or else the one that its pictures show; marked ones stay."""
    return with_bits(samples, bits or decided_bits([sample for sample in samples if bits_of(sample) is None], root))


def depth_of(samples: Iterable[Sample]) -> int | None:
    """The bits that the 16-bit pictures of a set were decided to have; None where it has none."""
    return next((bits for sample in samples if (bits := bits_of(sample))), None)


def decided_bits(samples: Sequence[Sample], root: Path) -> int | None:
    """The bits that hold the largest value of some pictures spread over a set; None where none has 16 bits a sample.

    Films of 10 or 12 bits stand in files of 16, and which it is can't be told from one film: an under-exposed one would
    come out several times as bright as the others.
    """
    candidates = [sample.path for sample in samples if _may_be_deep(sample)]
    some = candidates[:: max(len(candidates) // _LOOKED_AT, 1)]
    with ThreadPoolExecutor(available_processors()) as pool:
        largest = [value for value in pool.map(_largest, some) if value is not None]
    if not largest:
        return None
    bits = next(bits for bits in DEPTHS if max(largest) < 1 << bits)
    logger.info(
        "16-bit pictures of %s are taken to have %d bits, as the largest value of %d looked at is %d; --bits sets it.",
        root,
        bits,
        len(largest),
        max(largest),
    )
    return bits


def _may_be_deep(sample: Sample) -> bool:
    return sample.member is None and sample.content is None and sample.path.suffix.lower() in _SUFFIXES


def _largest(path: Path) -> int | None:
    """The largest grey level of a 16-bit picture; None for others, and for those that can't be read."""
    if is_special(path):
        return None
    try:
        with path.open("rb") as handle:
            head = handle.read(26)
        if head.startswith(b"\x89PNG") and head[24:25] != b"\x10":
            return None
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    except (OSError, cv2.error):
        return None
    return int(pixels.max()) if pixels is not None and pixels.dtype == np.uint16 else None
