"""Out of memory as one sentence that says which batch size to try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xraycls.errors import TrainingError

# The allocators of CPU and MPS raise a plain RuntimeError, and so does CUDA outside of torch's own.
_WORDS = ("can't allocate", "not enough memory", "out of memory")


@contextmanager
def explained_out_of_memory(hint: str, batch_size: int) -> Iterator[None]:
    """Turn an exhausted memory inside the block into a TrainingError with the way out; other errors pass."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        exhausted = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not exhausted and not any(words in str(error) for words in _WORDS):
            raise
        raise TrainingError(f"Out of memory at --batch-size {batch_size}", hint) from error
