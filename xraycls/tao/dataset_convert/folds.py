"""Which image goes into which fold and shard: TAO's rules, to the last random number.

TAO's converter seeds Python's generator with 42 when it is made and draws from it for the shuffles alone, so shard
membership is reproducible. The order of the draws: in random mode fold 0 and then fold 1 are shuffled when they are
made, and in both modes every fold, from 0 on, is shuffled before it is cut into shards. COCO images aren't shuffled.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")

_SEED = 42


def random_folds(names: Sequence[str], val_split: float) -> list[list[str]]:
    """Two folds: the first images by name for validation, the rest for training, each shuffled twice.

    Args:
        names: of the images, sorted with their extension.
        val_split: percent for validation, at least 0 and below 100. The count is rounded down after binary
            floating-point arithmetic: 29 % of 100 images are 28.
    """
    count = int(val_split / 100.0 * len(names))
    return _shuffled([list(names[:count]), list(names[count:])], times=2)


def sequence_folds(sequences: Mapping[str, Sequence[str]], count: int) -> list[list[str]]:
    """Folds of whole sequences, shuffled once: the longest first, dealt in turn, and the last fold becomes the first.

    Args:
        sequences: the images of each.
        count: folds; with 0 or 1 there is one, of all sequences in the order given.
    """
    if count <= 1:
        return _shuffled([[name for names in sequences.values() for name in names]], times=1)
    folds: list[list[str]] = [[] for _ in range(count)]
    by_length = sorted(sequences.items(), key=lambda item: (-len(item[1]), item[0]))
    for position, (_, names) in enumerate(by_length):
        folds[position % count] += names
    return _shuffled(folds[::-1], times=1)


def shards(items: Sequence[Item], count: int) -> list[Sequence[Item]]:
    """A fold cut into equal parts; the last takes the remainder, so with too few items all others are empty.

    Args:
        items: of the fold.
        count: parts; 0 means one.
    """
    size, count = len(items) // max(count, 1), max(count, 1)
    return [items[part * size : (part + 1) * size if part + 1 < count else len(items)] for part in range(count)]


def shard_name(prefix: str, fold: int, folds: int, shard: int, count: int) -> str:
    """The name of a shard's file, such as ``kitti-fold-000-of-002-shard-00000-of-00010``.

    Args:
        prefix: of all files.
        fold: number, from 0.
        folds: as the spec says; 0 leaves the fold out of the name.
        shard: number, from 0.
        count: shards a fold as the spec says; 0 leaves the shard out.
    """
    fold_part = f"-fold-{fold:03d}-of-{folds:03d}" if folds else ""
    shard_part = f"-shard-{shard:05d}-of-{count:05d}" if count else ""
    return prefix + fold_part + shard_part


def _shuffled(folds: list[list[str]], times: int) -> list[list[str]]:
    generator = random.Random(_SEED)
    for _ in range(times):
        for fold in folds:
            generator.shuffle(fold)
    return folds
