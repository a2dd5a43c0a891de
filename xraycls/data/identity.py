"""Pictures recognised by their content, under any path: what a run was trained with, and what a test may hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.files import atomic_write
from xraycls.data.headers import of_each
from xraycls.data.image import GreyImage
from xraycls.data.open import open_image
from xraycls.data.processors import one_thread_a_picture
from xraycls.errors import DataError
from xraycls.types import Sample

SAME = 0.94
"""Correlation of two signatures above which they are of one film.

Of 4.3 million pairs of 2,928 different paediatric films the most alike reach 0.88, but for one film that is there
twice; copies that were compressed at quality 40, halved, doubled, or changed in brightness or gamma keep 0.969 or more.
"""

_SIDE = 32
_NEEDED = 128  # pixels of the shorter side that are worth decoding
_DIGEST = 16  # bytes
_LEAST_DETAIL = 1e-3
_BLOCK = 1024


@dataclass(frozen=True)
class Identities:
    """What tells pictures apart, one row each; a picture that can't be read has zeros alone.

    Attributes:
        digests: uint8 [n, 16], of the bytes of a file or the pixels of a row.
        signatures: int8 [n, 1024], the fine structure of the picture at 32 × 32: no picture can be made from it again.
    """

    digests: npt.NDArray[np.uint8]
    signatures: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.digests)

    def write(self, path: Path) -> None:
        """Write them as safetensors, atomically; raises XrayclsError."""
        from safetensors.numpy import save_file

        with atomic_write(path) as temporary:
            save_file({"digests": self.digests, "signatures": self.signatures}, temporary)


def read_identities(path: Path) -> Identities | None:
    """What :meth:`Identities.write` wrote; None where there is no such file, or it is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        return None
    try:
        arrays = load_file(path)
        digests, signatures = arrays["digests"], arrays["signatures"]
    except (SafetensorError, KeyError, OSError, ValueError):
        return None
    kinds = digests.dtype == np.uint8 and signatures.dtype == np.int8
    rows = digests.shape[0] if digests.shape else -1
    is_sound = kinds and digests.shape == (rows, _DIGEST) and signatures.shape == (rows, _SIDE**2)
    return Identities(digests, signatures) if is_sound else None


def identities(samples: Sequence[Sample], progress: Callable[[int, int], None] | None = None) -> Identities:
    """The identities of pictures, decoded no larger than needed.

    Args:
        samples: of any source.
        progress: called with the number of pictures done and their total.
    """
    with one_thread_a_picture():
        found = of_each(_identity, samples, progress, None)
    nothing = np.zeros(_DIGEST, np.uint8), np.zeros(_SIDE**2, np.int8)
    rows = [nothing if isinstance(each, DataError) else each for each in found]
    return Identities(
        np.array([digest for digest, _ in rows], np.uint8).reshape(-1, _DIGEST),
        np.array([signature for _, signature in rows], np.int8).reshape(-1, _SIDE**2),
    )


def known_among(found: Identities, known: Identities) -> npt.NDArray[np.bool_]:
    """Which pictures are among others, copied, renamed, resized or encoded again: bool [n]."""
    digests = {row.tobytes() for row in known.digests} - {bytes(_DIGEST)}
    same = np.array([row.tobytes() in digests for row in found.digests], np.bool_)
    if not len(known) or not len(found):
        return same
    theirs = _normalised(known.signatures)
    for start in range(0, len(found), _BLOCK):
        block = slice(start, start + _BLOCK)
        same[block] |= (_normalised(found.signatures[block]) @ theirs.T).max(axis=1) >= SAME
    return same


def _normalised(signatures: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    values = signatures.astype(np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1.0), np.float32)


def _identity(sample: Sample) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8]]:
    image = open_image(sample)
    shorter = min(image.width, image.height)
    grey = image.decode(max((scale for scale in image.scales if shorter >= scale * _NEEDED), default=1))
    content = sample.path.read_bytes() if sample.member is None else grey.tobytes()
    digest = np.frombuffer(hashlib.blake2b(content, digest_size=_DIGEST).digest(), np.uint8)
    return digest, signature(grey)


def signature(grey: GreyImage) -> npt.NDArray[np.int8]:
    """Fine structure: the picture squeezed to 32 × 32 less its surroundings, as int8 [1024]; 0 for a flat one."""
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = (small - cv2.GaussianBlur(small, (0, 0), 2)).ravel()
    fine -= fine.mean()
    largest = float(np.abs(fine).max())
    if largest < _LEAST_DETAIL:
        return np.zeros(_SIDE**2, np.int8)
    return np.asarray(np.round(fine * (127 / largest)), np.int8)
