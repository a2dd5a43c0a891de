"""What a model says of pictures, one result each; imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np

from xraycls.data.image import GreyImage
from xraycls.evaluation.cases import FloatArray, predicted_classes
from xraycls.evaluation.thresholds import format_threshold
from xraycls.types import Prediction, Sample

S = TypeVar("S")
T = TypeVar("T")
Output = TypeVar("Output")


@dataclass(frozen=True, slots=True)
class Result(Generic[Output]):
    """What a model says of one picture.

    Attributes:
        index: the row of the table, or the place in the sequence of pictures; from 0.
        sample: the picture.
        output: what the model gives; None when the picture could not be read.
        input: uint8 [H, W], the picture as the model saw it; None unless the predictor keeps inputs.
        error: why the picture could not be read; None when it could.
        spread: of probabilities [C] that are a mean, the standard deviation over what was averaged, [C]; else None.
    """

    index: int
    sample: Sample
    output: Output | None
    input: GreyImage | None
    error: str | None = None
    spread: FloatArray | None = None


class _Thresholds(Protocol):
    @property
    def threshold(self) -> float | None: ...
    @property
    def thresholds(self) -> Sequence[float] | None: ...


class Decisions:
    """Mixed into classifiers: what their probabilities mean, at thresholds that were chosen on validation.

    A classifier has a ``threshold`` of two classes, None without one, and the ``thresholds`` of its findings, None
    where it tells classes.
    """

    __slots__ = ()

    def at_threshold(self: _Thresholds) -> str:
        """Returns " at threshold 0.422", to stand behind the class that was decided for; "" without a threshold."""
        return "" if self.threshold is None else f" at threshold {format_threshold(self.threshold)}"

    def decide(self: _Thresholds, probabilities: FloatArray) -> int:
        """Returns the class index that probabilities [C] mean, at the operating threshold where there is one.

        Of findings it is the one that lies highest above its threshold, or least below it.
        """
        return _decided(self, probabilities)

    def predictions(self: _Thresholds, results: Iterable[Result[FloatArray]]) -> Iterator[Prediction]:
        """Returns an iterator with one :class:`~xraycls.types.Prediction` a result, whose output is [C]."""
        return (_prediction(self, result) for result in results)


def _decided(model: _Thresholds, probabilities: FloatArray) -> int:
    if model.thresholds is not None:
        return int(np.argmax(probabilities - np.asarray(model.thresholds)))
    return int(predicted_classes(probabilities[None], 0.5 if model.threshold is None else model.threshold)[0])


def _prediction(model: _Thresholds, result: Result[FloatArray]) -> Prediction:
    sample, output = result.sample, result.output
    unread = Prediction(sample.name, (), None, sample.label, result.error, findings=sample.findings)
    if output is None:
        return unread
    if np.isnan(output).any():
        return replace(unread, error=f"{sample.name}: the model gives no number; try precision fp32")
    told = replace(
        unread,
        probabilities=tuple(map(float, output)),
        uncertainty=() if result.spread is None else tuple(map(float, result.spread)),
    )
    if model.thresholds is None:
        return replace(told, predicted=_decided(model, output))
    return replace(told, positive=tuple(np.flatnonzero(output >= np.asarray(model.thresholds)).tolist()))


def overlapped(items: Iterable[S], work: Callable[[S], T], *, threads: int) -> Iterator[T]:
    """Returns an iterator over what ``work`` makes of every item, in order.

    Threads do the work while the next items are fetched, in the caller's thread. An error comes at its item's turn.

    Args:
        items: such as results of a :class:`~xraycls.inference.predictor.Predictor`.
        work: writes or draws one; called by several threads at once.
        threads: how many.

    Example:
        >>> list(overlapped(range(4), lambda number: number**2, threads=2))
        [0, 1, 4, 9]
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="xraycls-results") as pool:
        queue: deque[Future[T]] = deque()
        try:
            for item in items:
                queue.append(pool.submit(work, item))
                while queue and (queue[0].done() or len(queue) > 2 * threads):
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
