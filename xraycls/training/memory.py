"""Out of memory as one sentence that says which batch size to try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xraycls.errors import TrainingError

# torch raises a plain RuntimeError when the allocator of the CPU fails.
_CPU_ALLOCATOR = ("can't allocate memory", "not enough memory")


@contextmanager
def explained_out_of_memory(batch_size: int) -> Iterator[None]:
    """Turn an exhausted memory inside the block into a TrainingError; other errors pass."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        exhausted = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not exhausted and not any(words in str(error) for words in _CPU_ALLOCATOR):
            raise
        smaller = batch_size // 2
        hint = (
            f"Try --batch-size {smaller} --accumulate 2" if smaller else "Try a smaller --size or another --base-model"
        )
        raise TrainingError(f"Out of memory at --batch-size {batch_size}", hint) from error
