"""The sampler: every sample once, whatever the number of processes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.loaders.sampler import Sampler

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
