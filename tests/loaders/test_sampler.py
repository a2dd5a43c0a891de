"""The sampler: every sample once, whatever the number of processes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.errors import UsageError
from xraycls.loaders.sampler import Sampler, weights_of_sources

COUNTS = st.integers(1, 60)


def batches(labels, epoch=0, **options):
    sampler = Sampler(np.asarray(labels), **options)
    sampler.epoch = epoch
    return list(sampler)


@given(COUNTS, st.integers(1, 9), st.integers(1, 4), st.booleans(), st.integers(0, 3))
def test_all_ranks_together_yield_every_sample_once(count, batch_size, world, training, epoch):
    drawn = Counter()
    for rank in range(world):
        sampler = Sampler(np.zeros(count, np.int64), batch_size, training=training, rank=rank, world=world)
        sampler.epoch = epoch
        found = list(sampler)
        assert len(found) == len(sampler)
        for batch in found:
            drawn.update(batch.indices[batch.weights > 0].tolist())
            assert not training or len(batch.indices) == batch_size
    assert drawn == Counter(range(count))


@given(COUNTS, st.integers(1, 5), st.integers(2, 3))
def test_several_processes_see_the_batches_of_one(count, batch_size, world):
    labels = np.zeros(count, np.int64)
    alone = batches(labels, batch_size=batch_size * world, training=True)
    ranks = [batches(labels, batch_size=batch_size, training=True, rank=r, world=world) for r in range(world)]
    for number, batch in enumerate(alone):
        for field in ("indices", "positions", "weights"):
            joined = np.concatenate([getattr(rank[number], field) for rank in ranks])
            assert np.array_equal(joined, getattr(batch, field))


def test_epochs_differ_and_repeat_exactly():
    sampler = Sampler(np.zeros(50, np.int64), 8, training=True, seed=3)
    assert not np.array_equal(sampler.order(0), sampler.order(1))
    assert np.array_equal(sampler.order(1), Sampler(np.zeros(50, np.int64), 4, training=True, seed=3).order(1))
    assert not np.array_equal(sampler.order(0), Sampler(np.zeros(50, np.int64), 8, training=True, seed=4).order(0))


def test_starting_in_the_middle_gives_exactly_the_rest():
    whole = batches(np.zeros(23, np.int64), batch_size=4, training=True, epoch=2)
    sampler = Sampler(np.zeros(23, np.int64), 4, training=True)
    sampler.epoch, sampler.start = 2, 3
    rest = list(sampler)
    assert [b.indices.tolist() for b in rest] == [b.indices.tolist() for b in whole[3:]]
    assert [b.positions.tolist() for b in rest] == [b.positions.tolist() for b in whole[3:]]


@pytest.mark.parametrize("counts", [(90, 10), (5, 40, 15), (3, 3)])
def test_balance_draws_classes_equally_and_repeats_as_little_as_possible(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    sampler = Sampler(labels, 8, training=True, balance=True)
    order = sampler.order(0)
    assert len(order) == len(labels)
    shares = np.bincount(labels[order])
    assert np.ptp(shares) <= 1
    for label in range(len(counts)):
        repeats = np.bincount(order[labels[order] == label], minlength=len(labels))[labels == label]
        assert np.ptp(repeats) <= 1


def test_evaluation_keeps_the_order_of_the_table():
    found = batches(np.zeros(10, np.int64), batch_size=4, training=False)
    assert [b.indices.tolist() for b in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@given(COUNTS, st.integers(1, 9), st.integers(1, 3))
def test_valid_counts_the_samples_of_a_global_batch(count, batch_size, world):
    sampler = Sampler(np.zeros(count, np.int64), batch_size, training=True, world=world)
    assert sum(sampler.valid(number) for number in range(len(sampler))) == count
    assert sampler.valid(0) == int(
        sum(
            batches(sampler.labels, batch_size=batch_size, training=True, rank=r, world=world)[0].weights.sum()
            for r in range(world)
        )
    )


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=40), st.integers(0, 5))
def test_weights_decide_how_often_a_sample_comes(weights, epoch):
    """Each as often as its share of an epoch says, rounded down or up; the epoch keeps its length."""
    weights = np.array(weights)
    sampler = Sampler(np.zeros(len(weights), np.int64), 4, training=True, weights=weights)
    order = sampler.order(epoch)
    assert len(order) == len(weights)
    times = np.bincount(order, minlength=len(weights))
    assert (np.abs(times - weights / weights.sum() * len(weights)) < 1 + 1e-6).all()
    assert np.array_equal(order, sampler.order(epoch))


def test_sources_of_equal_weight_are_drawn_from_alike_whatever_their_sizes():
    weights = weights_of_sources([10, 90], [1.0, 1.0])
    sampler = Sampler(np.zeros(100, np.int64), 8, training=True, weights=weights)
    counts = [np.count_nonzero(sampler.order(epoch) < 10) for epoch in range(5)]
    assert all(abs(count - 50) <= 10 for count in counts)
    assert len({tuple(sampler.order(epoch)) for epoch in range(5)}) == 5


def test_a_source_of_weight_zero_is_never_drawn():
    sampler = Sampler(np.zeros(20, np.int64), 4, training=True, weights=weights_of_sources([5, 15], [0.0, 2.0]))
    assert sampler.order(0).min() >= 5


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]])
def test_impossible_weights_are_one_sentence(weights):
    with pytest.raises(UsageError, match="Sampling weights must be numbers from 0"):
        Sampler(np.zeros(2, np.int64), 1, training=True, weights=np.array(weights))
    with pytest.raises(UsageError, match="contradict each other"):
        Sampler(np.zeros(2, np.int64), 1, training=True, balance=True, weights=np.ones(2))
