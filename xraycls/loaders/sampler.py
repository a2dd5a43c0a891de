"""Which samples form which batch: order, class balance, shards and padding, the same for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xraycls.errors import UsageError
from xraycls.loaders.random import generator


@dataclass(frozen=True, slots=True)
class IndexBatch:
    """One rank's share of a global batch.

    Attributes:
        indices: int64 [B], rows of the sample table.
        positions: int64 [B], consecutive places in the epoch; they select the augmentation.
        weights: float32 [B], 0 for padding.
        number: of the batch in its epoch, from 0.
    """

    indices: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    number: int


class Sampler:
    """Batches of indices for a number of ranks.

    In training every batch is full: the last one is filled up with other samples of weight 0, which keeps shapes
    fixed and batch statistics sound while the loss counts every sample of the epoch exactly once. In evaluation
    the last batch is short, and padded only as far as all ranks need equal sizes.

    Args:
        labels: int64 [n], -1 where unknown; only ``balance`` looks at them.
        batch_size: samples a rank and batch.
        training: shuffled, full batches; otherwise in order.
        balance: draw every class equally often; an epoch keeps its length.
        seed: of the order.
        rank: this process.
        world: number of processes.
        weights: float64 [n], how often each sample is drawn relative to the others; None for once each. An epoch keeps
            its length, and a sample comes as often as its share of the weights says, rounded down or up.

    Raises:
        UsageError: weights and balance together, a negative weight, or none above 0.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.int64],
        batch_size: int,
        *,
        training: bool,
        balance: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        if weights is not None:
            if balance:
                raise UsageError(
                    "Sampling weights and a balance of classes contradict each other", "Choose one of them"
                )
            if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
                raise UsageError("Sampling weights must be numbers from 0, at least one of them above 0")
        self.labels = labels
        self.batch_size = batch_size
        self.training = training
        self.balance = balance
        self.seed = seed
        self.rank = rank
        self.world = world
        self.weights = weights
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return -(-len(self.labels) // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[IndexBatch]:
        """The batches of ``epoch`` from number ``start`` on."""
        return self.batches(self.epoch, self.start)

    def batches(self, epoch: int, start: int = 0) -> Iterator[IndexBatch]:
        """The batches of an epoch from number ``start`` on."""
        order = self.order(epoch)
        return (self._batch(order, number) for number in range(start, len(self)))

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Every sample of an epoch over all ranks, int64 [n]."""
        count = len(self.labels)
        if not self.training:
            return np.arange(count)
        random = generator(self.seed, epoch)
        if self.weights is not None:
            return self._weighted(random, self.weights)
        return self._balanced(random) if self.balance else random.permutation(count)

    def samples_before(self, batches: int) -> int:
        """Samples in the first so many batches of an epoch over all ranks, padding left out."""
        return min(batches * self.batch_size * self.world, len(self.labels))

    def valid(self, number: int) -> int:
        """Samples of batch ``number`` over all ranks, padding left out."""
        return self.samples_before(number + 1) - self.samples_before(number)

    def _batch(self, order: npt.NDArray[np.int64], number: int) -> IndexBatch:
        full = self.batch_size * self.world
        valid = self.valid(number)
        filled = full if self.training else -(-valid // self.world) * self.world
        share = filled // self.world
        offsets = np.arange(self.rank * share, (self.rank + 1) * share)
        positions = number * full + offsets
        weights = (offsets < valid).astype(np.float32)
        return IndexBatch(order[positions % len(order)], positions, weights, number)

    def _balanced(self, random: np.random.Generator) -> npt.NDArray[np.int64]:
        """Equal shares of the classes; each class is gone through whole before any of its samples repeats."""
        count = len(self.labels)
        classes = np.unique(self.labels)
        shares = [count // len(classes) + (i < count % len(classes)) for i in range(len(classes))]
        drawn = []
        for label, share in zip(random.permutation(classes), shares, strict=True):
            members = np.flatnonzero(self.labels == label)
            rounds = -(-share // len(members))
            drawn.append(np.concatenate([random.permutation(members) for _ in range(rounds)])[:share])
        return np.asarray(random.permutation(np.concatenate(drawn)), dtype=np.int64)

    def _weighted(self, random: np.random.Generator, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Samples by their weights: systematic resampling (Kitagawa 1996) along a random order, then shuffled."""
        count = len(self.labels)
        shuffled = random.permutation(count)
        ends = np.cumsum(weights[shuffled]) * (count / weights.sum())
        times = np.diff(np.floor(np.append(ends[:-1], count) + random.random()), prepend=0.0).astype(np.int64)
        return np.asarray(random.permutation(np.repeat(shuffled, times)), dtype=np.int64)


def weights_of_findings(targets: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """A weight a sample, so that rare findings are drawn more often; float64 [n].

    A sample weighs as much as its present findings together, each of which stands for an equal part whatever the number
    of its samples; those without a finding stand for one more part.

    Args:
        targets: float32 [n, F], 1 where a finding is present.

    Example:
        >>> weights_of_findings(np.array([[1, 0], [1, 1], [0, 0], [0, 0]], np.float32)).tolist()
        [0.5, 1.5, 0.5, 0.5]
    """
    shown = targets == 1
    parts = np.concatenate([shown, ~shown.any(axis=1, keepdims=True)], axis=1).astype(np.float64)
    return np.asarray((parts / np.maximum(parts.sum(axis=0), 1)).sum(axis=1), dtype=np.float64)


def weights_of_sources(counts: Sequence[int], weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """A weight a sample, so that each source is drawn from as its own weight says, whatever its size; float64 [n].

    Args:
        counts: samples of each source, in the order of the table.
        weights: of each source, relative to the others.

    Example:
        >>> weights_of_sources([2, 4], [1.0, 1.0])
        array([0.5 , 0.5 , 0.25, 0.25, 0.25, 0.25])
    """
    shares = [weight / max(count, 1) for count, weight in zip(counts, weights, strict=True)]
    return np.repeat(np.array(shares, np.float64), counts)
