"""Work done ahead of the model, by threads.

OpenCV releases the GIL while it decodes and warps, so threads decode in parallel without the copies between
processes, the start-up time and the shared-memory limits of worker processes. They are started once: to begin an
epoch anew costs as much as to draw a few pictures.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import islice
from typing import TypeVar

import cv2

from xraycls.loaders.plan import BatchPlan

T = TypeVar("T")

_NAME = "xraycls-loader"
_CHUNK = 8  # images a task: long enough to make hand-over free, short enough to share the last batch
_LONGEST = 64  # of images that need no decoding: what is computed once a task would be most of a short one


def prefetched(
    plans: Iterator[BatchPlan],
    begin: Callable[[BatchPlan], T],
    fill: Callable[[T, BatchPlan, range], None],
    *,
    threads: int,
    prefetch: int,
    is_light: bool = False,
) -> Generator[tuple[BatchPlan, T], None, None]:
    """Each batch and what was prepared of it, in order; errors come at the batch that they belong to.

    Args:
        plans: of the batches to prepare.
        begin: makes what a batch is prepared in; called in the consumer's thread.
        fill: prepares some rows of a batch in it; called by several threads at once.
        threads: how many; 0 prepares in the consumer's thread.
        prefetch: batches ahead of the consumer.
        is_light: whether the pictures are decoded already: then a batch is cut into fewer and longer tasks.
    """
    cv2.setNumThreads(1)  # parallel over pictures; OpenCV's own threads inside each would only get in the way
    if threads == 0:
        for plan in plans:
            pending = begin(plan)
            fill(pending, plan, range(len(plan.batch.indices)))
            yield plan, pending
        return
    pool = _pool(threads)

    def submit(plan: BatchPlan) -> tuple[BatchPlan, T, list[Future[None]]]:
        pending, count = begin(plan), len(plan.batch.indices)
        # Long tasks still keep every thread busy, because several batches are in work at a time.
        size = min(max(-(-2 * count // threads), _CHUNK), _LONGEST) if is_light else _CHUNK
        chunks = (range(first, min(first + size, count)) for first in range(0, count, size))
        return plan, pending, [pool.submit(fill, pending, plan, rows) for rows in chunks]

    queue: deque[tuple[BatchPlan, T, list[Future[None]]]] = deque()
    try:
        queue.extend(submit(plan) for plan in islice(plans, prefetch))
        while queue:
            plan, pending, tasks = queue[0]
            for task in tasks:
                task.result()
            queue.popleft()
            queue.extend(submit(upcoming) for upcoming in islice(plans, 1))
            yield plan, pending
    finally:
        running = [task for _, _, tasks in queue for task in tasks if not task.cancel()]
        if not threading.current_thread().name.startswith(_NAME):  # where garbage is collected, it would be for itself
            wait(running)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """So many threads, for all loaders of the process."""
    return ThreadPoolExecutor(threads, thread_name_prefix=_NAME)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork has no threads but the one that forked
