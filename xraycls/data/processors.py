"""The processors of this machine, and how pictures share them."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread_a_picture() -> Iterator[None]:
    """Work that is parallel over pictures: OpenCV's own threads inside each would only get in the way."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def available_memory() -> float:
    """Bytes that programs may still take on this machine; infinite where it doesn't tell."""
    facts = Path("/proc/meminfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    available = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return math.inf if available is None else 1024 * int(available)
