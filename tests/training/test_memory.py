"""What a step frees serves the next step."""

import json
import os
import platform
import subprocess
import sys

import pytest

# In a process of its own: what a process has freed before decides where its next tensors lie.
COUNTED = """
import json, resource
import torch
from xraycls.training.memory import freed_memory_kept

def pages_cleared():
    # By ten tensors of 64 MiB, one after the other, once others were there before.
    for _ in range(5):
        torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

without = pages_cleared()
with freed_memory_kept():
    within, kept = pages_cleared(), resident()
print(json.dumps([without, within, kept, resident()]))
"""


@pytest.fixture
def counted():
    """Pages before and in the block, and bytes in memory at its end and after it, with variables of the C library."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("needs the GNU C library")

    def counted(**variables):
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
        told = subprocess.run([sys.executable, "-c", COUNTED], env=plain | variables, capture_output=True, check=True)
        return json.loads(told.stdout)

    return counted


def test_memory_is_used_again_in_the_block_and_given_back_after_it(counted):
    without, within, kept, after = counted()
    assert within < without / 2
    assert after < kept - 2**25


def test_what_the_user_has_set_stays(counted):
    without, within, _, _ = counted(MALLOC_ARENA_MAX="2")
    assert within > without / 2
