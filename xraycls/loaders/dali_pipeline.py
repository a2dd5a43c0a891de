"""One way through DALI: batches go in ahead of the model and their pictures come out in order, whatever fails."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple
from weakref import WeakMethod

import numpy as np
import numpy.typing as npt

from xraycls.errors import UsageError
from xraycls.loaders.dali_feed import Feed, packed
from xraycls.loaders.dali_graph import DaliGraph, GraphFailure, Pictures
from xraycls.loaders.plan import BatchPlan

logger = logging.getLogger(__name__)


class Fed(NamedTuple):
    """What was read of a plan's pictures: a feed and a grey curve each, and which could not be read."""

    feeds: list[Feed]
    curves: npt.NDArray[np.uint8] | None
    failed: set[int]


class DaliPipeline:
    """A graph, and the batches that it has not drawn yet.

    After a failure the graph is built anew and goes on with what is left, so no batch is lost.

    Args:
        build: makes a graph of a :data:`~xraycls.loaders.dali_graph.Source` and a ``prefetch``.
        prefetch: batches in work at a time; lowered to 1 once when memory runs out.
    """

    def __init__(self, build: Callable[..., DaliGraph], prefetch: int) -> None:
        self.build = build
        self.prefetch = prefetch
        self._coming: Iterator[tuple[BatchPlan, Fed]] = iter(())
        self._in_work: deque[tuple[BatchPlan, Fed]] = deque()
        self._error: Exception | None = None
        self._graph: DaliGraph | None = None
        try:
            self._graph = self._built()  # now, so that a GPU which DALI can't use is known before training starts
        except GraphFailure as failure:
            self._recover(failure)

    def start(self, coming: Iterator[tuple[BatchPlan, Fed]]) -> None:
        """Begin an epoch."""
        self._coming, self._error = coming, None
        self._in_work.clear()

    def next(self) -> tuple[BatchPlan, Fed, Pictures | None] | None:
        """The next batch with its pictures, or with None where DALI refused it; None at the end.

        Raises:
            MemoryError: there is not even room for one batch at a time.
            UsageError: DALI doesn't work on this machine.
            DataError: what reading the next batch raised.
        """
        while True:
            try:
                self._graph = self._graph or self._built()
                images = self._graph.run()
            except GraphFailure as failure:
                self._graph = None
                if self._in_work and not failure.out_of_memory:
                    logger.debug("DALI refused a batch: %s", failure)
                    return *self._in_work.popleft(), None
                self._recover(failure)
                continue
            if images is not None:
                return *self._in_work.popleft(), images
            if self._error:
                raise self._error
            return None

    def finish(self) -> None:
        """End an epoch that was left early: a graph must see the end of one before it begins the next."""
        self._coming = iter(())
        try:
            while self._graph and self._graph.in_epoch:
                self._graph.run()
        except GraphFailure:
            self._graph = None
        self._in_work.clear()

    def _built(self) -> DaliGraph:
        """A graph that begins with what the last one left undone."""
        self._coming = chain(tuple(self._in_work), self._coming)
        self._in_work.clear()
        # Weakly, so that a line which nobody uses any more frees its graph at once.
        hand_over = WeakMethod(self._hand_over)

        def source() -> tuple[Any, ...]:
            method = hand_over()
            if method is None:
                raise StopIteration
            return method()

        return self.build(source, prefetch=self.prefetch)

    def _hand_over(self) -> tuple[Any, ...]:
        """The next feeds, field by field. An error waits until the batches before it are drawn."""
        try:
            plan, fed = next(self._coming)
        except StopIteration:
            raise
        except Exception as error:
            self._error = error
            raise StopIteration from error
        self._in_work.append((plan, fed))
        return packed(fed.feeds)

    def _recover(self, failure: GraphFailure) -> None:
        """Make it possible to build another graph, or raise."""
        if not failure.out_of_memory:
            raise UsageError(f"DALI does not work here: {failure}", "Take --loader torch") from failure
        if self.prefetch == 1:
            raise MemoryError(f"out of memory in DALI: {failure}") from failure
        logger.warning("DALI ran out of memory; it now keeps one batch in work instead of %d.", self.prefetch)
        self.prefetch = 1
