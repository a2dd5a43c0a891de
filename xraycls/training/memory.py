"""Memory of a training: what one step frees serves the next, and running out of it is one sentence."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


# Of malloc.h. A setting ends glibc's own adjustments, so what follows a training is what these would have come to.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let what is freed in a block serve what is asked for next, instead of going back to the system every time.

    Each step of a training asks for the same hundreds of megabytes, and the C library of most Linux systems returns and
    requests the larger ones again and again; the system then clears every page anew, which can be a third of a
    step's processor time. After the block what is free goes back. What the user has set with the C library's own
    variables stays, and other libraries are left alone.
    """
    library = _adjustable_library()
    if library is None:
        yield
        return
    _adjust(library, _KEEPING)
    try:
        yield
    finally:
        _adjust(library, _USUAL)
        library.malloc_trim(0)


def _adjustable_library() -> Any:
    """The GNU C library, unless it was set by hand."""
    if sys.platform != "linux" or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def _adjust(library: Any, settings: dict[int, int]) -> None:
    for setting, value in settings.items():
        library.mallopt(setting, value)
