"""Work done ahead of the model, by threads.

OpenCV releases the GIL while it decodes and warps, so threads decode in parallel without the copies between
processes, the start-up time and the shared-memory limits of worker processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import cv2

from xraycls.loaders.plan import BatchPlan

T = TypeVar("T")

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
    with ThreadPoolExecutor(threads, thread_name_prefix="xraycls-loader") as pool:

        def submit(plan: BatchPlan) -> tuple[BatchPlan, T, list[Future[None]]]:
            pending, count = begin(plan), len(plan.batch.indices)
            # Long tasks still keep every thread busy, because several batches are in work at a time.
            size = min(max(-(-2 * count // threads), _CHUNK), _LONGEST) if is_light else _CHUNK
            chunks = (range(first, min(first + size, count)) for first in range(0, count, size))
            return plan, pending, [pool.submit(fill, pending, plan, rows) for rows in chunks]

        queue = deque(submit(plan) for plan in islice(plans, prefetch))
        try:
            while queue:
                plan, pending, tasks = queue.popleft()
                for task in tasks:
                    task.result()
                queue.extend(submit(upcoming) for upcoming in islice(plans, 1))
                yield plan, pending
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
