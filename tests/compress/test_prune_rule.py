"""The rule that decides which filters stay, against its definition written out in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.compress.rule import CRITERIA, NORMALIZERS, filter_norms, kept_filters, merged

STATS = st.lists(st.floats(0, 2, width=32), min_size=1, max_size=70)


def kept_by_definition(stat, threshold, granularity, min_filters):
    depth = len(stat)
    count = sum(value > threshold for value in stat)
    count = max(count, min(min_filters, depth))
    while count % granularity:
        count += 1
    count = min(count, depth)
    strongest = sorted(range(depth), key=lambda index: (-stat[index], index))[:count]
    return sorted(strongest)


@given(STATS, st.floats(0, 1.5), st.integers(1, 20), st.integers(0, 40))
def test_kept_filters(stat, threshold, granularity, min_filters):
    kept = kept_filters(np.array(stat), threshold=threshold, granularity=granularity, min_filters=min_filters)
    assert kept.tolist() == kept_by_definition(stat, threshold, granularity, min_filters)


@given(STATS, st.floats(0, 1.5), st.floats(0, 1.5))
def test_a_higher_threshold_keeps_a_part_of_what_a_lower_one_keeps(stat, one, other):
    low, high = (
        set(kept_filters(np.array(stat), threshold=t, granularity=8, min_filters=2).tolist())
        for t in sorted((one, other))
    )
    assert high <= low


@pytest.mark.parametrize(
    ("above", "depth", "granularity", "min_filters", "count"),
    [
        (20, 64, 8, 16, 24),  # rounded up
        (24, 64, 8, 16, 24),  # a multiple already
        (3, 64, 8, 16, 16),  # the minimum
        (3, 64, 8, 20, 24),  # the minimum, rounded up
        (3, 12, 8, 16, 12),  # a layer narrower than the minimum stays whole
        (61, 63, 8, 16, 63),  # rounding stops at the layer's width
        (0, 64, 8, 1, 8),
        (5, 64, 1, 1, 5),
    ],
)
def test_how_many_stay(above, depth, granularity, min_filters, count):
    stat = np.where(np.arange(depth) < above, 0.9, 0.05)
    kept = kept_filters(stat, threshold=0.1, granularity=granularity, min_filters=min_filters)
    assert kept.tolist() == list(range(count))


def test_of_equal_filters_the_first_stay():
    stat = np.tile([0.5, 0.2], 50)
    assert kept_filters(stat, threshold=0.9, granularity=1, min_filters=60).tolist() == sorted(
        [*range(0, 100, 2), *range(1, 20, 2)]
    )


def test_a_filter_at_the_threshold_goes():
    kept = kept_filters(np.array([0.5, 0.1, 0.2, 1.0]), threshold=0.5, granularity=1, min_filters=0)
    assert kept.tolist() == [3]
    tenth = np.array([0.1, 1.0], dtype=np.float32)  # a little more than 0.1 unless both are float32
    assert kept_filters(tenth, threshold=0.1, granularity=1, min_filters=0).tolist() == [1]


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (5, 1, 3, 3), (5, 7)])
def test_norms_are_those_of_each_filter(shape):
    kernel = np.random.default_rng(0).normal(size=shape)
    expected = [math.sqrt(sum(float(v) ** 2 for v in kernel[index].flatten())) for index in range(5)]
    assert filter_norms(kernel) == pytest.approx(expected)


def test_normalizers():
    norms = np.array([3.0, 4.0, 0.0])
    assert NORMALIZERS["max"](norms).tolist() == [0.75, 1, 0]
    assert NORMALIZERS["L2"](norms) == pytest.approx([3 / 5 * 3, 4 / 5 * 3, 0])
    assert NORMALIZERS["off"](norms).tolist() == [3, 4, 0]
    for normalized in NORMALIZERS.values():
        assert normalized(np.zeros(4)).tolist() == [0] * 4


def test_criteria():
    stats = [np.array([0.5, 0.0, 1.0]), np.array([0.1, 1.0, 1.0]), np.array([0.2, 0.4, 1.0])]
    expected = {
        "union": [0.5, 1, 1],
        "intersection": [0.1, 0, 1],
        "arithmetic_mean": [0.8 / 3, 1.4 / 3, 1],
        "geometric_mean": [(0.5 * 0.1 * 0.2) ** (1 / 3), 0, 1],
    }
    assert expected.keys() == CRITERIA.keys()
    for criterion, values in expected.items():
        assert merged(stats, criterion) == pytest.approx(values)
        assert merged(stats[:1], criterion).tolist() == stats[0].tolist()
