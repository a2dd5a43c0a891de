"""The processors that this process may use, and how its threads share them with each other and with neighbours."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE = 64  # items that a thread takes at most: handing over one costs as much as a look at a small file
_TURNS = 8  # of every thread, so that none waits long for the others
_TRIED = 32  # items between two looks at the clock, where threads may not pay
_SHORT = 0.0005  # seconds of an item; handing it over to another thread takes some such time

_limit: ContextVar[int | None] = ContextVar("threads that were asked for", default=None)


def available_processors() -> int:
    """Processors that this process may use, at least 1.

    Counts those of its affinity mask, no more than the quota of its control group (as of containers and schedulers),
    and no more threads than :func:`limited_to` allows.
    """
    whole = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(math.ceil(min(whole, _quota())), _limit.get() or whole)


def pool_size(most: int) -> int:
    """Threads of a pool that waits for the disk more than it computes: ``most``, unless fewer were asked for."""
    return min(most, _limit.get() or most)


def in_threads(work: Callable[[T], R], items: Sequence[T], threads: int) -> Iterator[R]:
    """What ``work`` returns for every item, in order, from threads that take several items at a time.

    Example:
        >>> list(in_threads(len, ["a", "bc", ""], threads=2))
        [1, 2, 0]
    """
    size = min(max(len(items) // (threads * _TURNS), 1), _AT_ONCE)
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(threads) as pool:
        for done in pool.map(lambda part: [work(item) for item in part], parts):
            yield from done


def in_threads_if_slow(work: Callable[[T], R], items: Sequence[T], threads: int) -> Iterator[R]:
    """As :func:`in_threads`, for what is mostly short, such as looks at files: in this thread as long as it is.

    A look at a file that is in memory takes less than handing it over to another thread; one that has to wait for the
    disk or the network takes far more.

    Example:
        >>> list(in_threads_if_slow(len, ["a", "bc", ""], threads=2))
        [1, 2, 0]
    """
    for start in range(0, len(items), _TRIED):
        done, clock = [], [time.perf_counter()]
        for item in items[start : start + _TRIED]:
            done.append(work(item))
            clock.append(time.perf_counter())
        yield from done
        times = sorted(after - before for before, after in pairwise(clock))
        if times[len(times) // 2] > _SHORT:  # the median: a single long one may be a pause
            yield from in_threads(work, items[start + _TRIED :], threads)
            return


@contextmanager
def limited_to(threads: int | None) -> Iterator[None]:
    """Keep every pool of threads to a number in a block, as ``--threads`` asks; None sets no limit.

    Those that are opened in the block, and those that torch and NumPy compute with.
    """
    bound = None if threads is None else max(threads, 1)
    token = _limit.set(bound)
    try:
        with nullcontext() if bound is None else _computing_with(bound):
            yield
    finally:
        _limit.reset(token)


@contextmanager
def _computing_with(threads: int) -> Iterator[None]:
    """Bound the threads of torch, of OpenMP in whatever is loaded in the block, and of NumPy's linear algebra.

    ``OMP_NUM_THREADS`` and ``torch.set_num_threads`` may ask for fewer, and are as before after the block.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    before = os.environ.get("OMP_NUM_THREADS")
    if before and before.isdecimal():
        threads = min(threads, int(before) or 1)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch when it is imported
    torch = sys.modules.get("torch")
    of_torch = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(min(threads, of_torch))
    try:
        with threadpool_limits(threads, user_api="blas"):
            yield
    finally:
        if torch:
            torch.set_num_threads(of_torch)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait, where this machine is shared; to be called before torch is loaded.

    They spin by default. That is the fastest on processors of one's own; where other programs take turns on them, a
    thread that spins keeps the one it waits for from running. What the user has set stays.
    """
    if is_shared():
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def is_shared() -> bool:
    """Whether other programs compete for the processors: a quota, an affinity mask, or more load than half of them."""
    count = os.cpu_count() or 1
    if available_processors() < count:
        return True
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > count / 2


def _quota(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that the control groups of this process grant it; infinite where they set no limit."""
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        return math.inf
    quotas = [math.inf]
    for _, controllers, path in lines:
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        above = (PurePosixPath(path), *PurePosixPath(path).parents)
        quotas += [_quota_of(base / str(group).lstrip("/")) for group in above]
    return max(min(quotas), 1)


def _quota_of(group: Path) -> float:
    """Processors that one group grants: of version 2 ``cpu.max``, of version 1 ``cpu.cfs_quota_us``."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


@contextmanager
def one_thread_a_picture() -> Iterator[None]:
    """Work that is parallel over pictures: OpenCV's own threads inside each would only get in the way."""
    import cv2

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
