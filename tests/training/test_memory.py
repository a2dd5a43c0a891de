"""What a step frees serves the next step."""

import platform
import resource
from pathlib import Path

import pytest
import torch

from xraycls.training.memory import freed_memory_kept

gnu = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")
LARGE = 2**26  # bytes, more than glibc ever keeps by itself


def pages_cleared() -> int:
    """Page faults of ten large tensors, one after the other, once others were there before."""
    for _ in range(5):
        torch.ones(LARGE // 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(LARGE // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@gnu
def test_memory_is_used_again_in_the_block_and_given_back_after_it(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    without = pages_cleared()
    with freed_memory_kept():
        assert pages_cleared() < without / 2
        kept = resident()
    assert resident() < kept - LARGE / 2


@gnu
def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    without = pages_cleared()
    with freed_memory_kept():
        assert pages_cleared() > without / 2
