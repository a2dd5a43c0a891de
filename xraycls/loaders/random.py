"""Counter-based random numbers: a run that resumes draws exactly what it would have drawn."""

from __future__ import annotations

import numpy as np

_BLOCK = 4  # numbers that Philox gives a counter
_ORDER_STREAM, _VIEW_STREAM, _BATCH_STREAM = 0, 1, 2


def generator(seed: int, epoch: int, position: int | None = None, draws: int = _BLOCK) -> np.random.Generator:
    """Random numbers that depend on nothing but these: of an epoch's order, or of its views from one position on.

    Philox is counter-based (Salmon et al., SC 2011): any position is reached at once. Every position owns as many
    numbers as one view needs, ``draws``, a multiple of 4, so those of consecutive positions are drawn in one call.
    """
    stream, start = (_ORDER_STREAM, 0) if position is None else (_VIEW_STREAM, position * draws // _BLOCK)
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[start, 0, 0, stream]))


def batch_generator(seed: int, epoch: int, number: int) -> np.random.Generator:
    """Random numbers of a whole batch, or of several in a row, by its number in the epoch."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[number, 0, 0, _BATCH_STREAM]))
