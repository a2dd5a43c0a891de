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

from xraycls.loaders.sampler import IndexBatch

T = TypeVar("T")

_CHUNK = 8  # images a task: long enough to make hand-over free, short enough to share the last batch


def prefetched(
    batches: Iterator[IndexBatch],
    begin: Callable[[IndexBatch], T],
    fill: Callable[[T, IndexBatch, range], None],
    *,
    threads: int,
    prefetch: int,
) -> Generator[tuple[IndexBatch, T], None, None]:
    """Each batch and what was prepared of it, in order; errors come at the batch that they belong to.

    Args:
        batches: what to prepare.
        begin: makes the place that a batch is prepared in; called in the consumer's thread.
        fill: prepares some rows of a batch in that place; called by several threads at once.
        threads: how many; 0 prepares in the consumer's thread.
        prefetch: batches ahead of the consumer.
    """
    cv2.setNumThreads(1)  # parallel over pictures; OpenCV's own threads inside each would only get in the way
    if threads == 0:
        for batch in batches:
            place = begin(batch)
            fill(place, batch, range(len(batch.indices)))
            yield batch, place
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="xraycls-loader") as pool:

        def submit(batch: IndexBatch) -> tuple[IndexBatch, T, list[Future[None]]]:
            place, count = begin(batch), len(batch.indices)
            chunks = (range(first, min(first + _CHUNK, count)) for first in range(0, count, _CHUNK))
            return batch, place, [pool.submit(fill, place, batch, rows) for rows in chunks]

        queue = deque(submit(batch) for batch in islice(batches, prefetch))
        try:
            while queue:
                batch, place, tasks = queue.popleft()
                for task in tasks:
                    task.result()
                queue.extend(submit(upcoming) for upcoming in islice(batches, 1))
                yield batch, place
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
