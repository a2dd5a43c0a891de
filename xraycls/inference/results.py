"""What a model says of pictures, one result each; imports no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from xraycls.data.image import GreyImage
from xraycls.evaluation.cases import FloatArray, predicted_classes
from xraycls.evaluation.summary import format_threshold
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
    """

    index: int
    sample: Sample
    output: Output | None
    input: GreyImage | None
    error: str | None = None


def decide(probabilities: FloatArray, threshold: float | None) -> int:
    """Returns the class index that probabilities [C] mean, at the operating threshold of two classes, if any."""
    return int(predicted_classes(probabilities[None], 0.5 if threshold is None else threshold)[0])


def most_likely(probabilities: FloatArray, thresholds: Sequence[float]) -> int:
    """Returns the finding whose probability, of [F], lies highest above its threshold, or least below it."""
    return int(np.argmax(probabilities - np.asarray(thresholds)))


def at_threshold(threshold: float | None) -> str:
    """Returns " at threshold 0.422", to stand behind the class that was decided for; "" without a threshold."""
    return "" if threshold is None else f" at threshold {format_threshold(threshold)}"


def predictions_of(
    results: Iterable[Result[FloatArray]], threshold: float | None, thresholds: Sequence[float] | None = None
) -> Iterator[Prediction]:
    """Returns an iterator with one :class:`~xraycls.types.Prediction` a result.

    Args:
        results: of a classifier, whose outputs are probabilities [C].
        threshold: the operating threshold of two classes; None without one.
        thresholds: of a classifier of findings, from which each is called; None for one of classes.
    """
    for result in results:
        name, label, findings = result.sample.name, result.sample.label, result.sample.findings
        if result.output is None:
            yield Prediction(name, (), None, label, result.error, findings=findings)
        elif np.isnan(result.output).any():
            error = f"{name}: the model gives no number; try precision fp32"
            yield Prediction(name, (), None, label, error, findings=findings)
        else:
            probabilities = tuple(map(float, result.output))
            if thresholds is None:
                yield Prediction(name, probabilities, decide(result.output, threshold), label, findings=findings)
            else:
                called = tuple(np.flatnonzero(result.output >= np.asarray(thresholds)).tolist())
                yield Prediction(name, probabilities, None, label, None, called, findings)


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
