"""Which image goes where: the rules of TAO's converter, against the arithmetic written out again."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.tao.dataset_convert.folds import random_folds, sequence_folds, shard_name, shards


class Draws:
    """CPython's ``random.shuffle`` by hand: Fisher and Yates from the end, each place drawn by rejection of bits."""

    def __init__(self, seed: int) -> None:
        self.bits = random.Random(seed).getrandbits

    def shuffle(self, items: list) -> None:
        for last in range(len(items) - 1, 0, -1):
            place = last + 1
            while place > last:
                place = self.bits((last + 1).bit_length())
            items[last], items[place] = items[place], items[last]


def names(count: int) -> list[str]:
    return [f"{number:06d}" for number in range(count)]


@given(st.integers(0, 60), st.floats(0, 99, width=32))
def test_random_mode_is_by_name_then_shuffled_fold_by_fold_twice(count, val_split):
    images = names(count)
    validation = [name for place, name in enumerate(images) if place < int(val_split / 100 * count)]
    training = images[len(validation) :]
    draws = Draws(42)
    for fold in (validation, training, validation, training):
        draws.shuffle(fold)
    assert random_folds(images, val_split) == [validation, training]


def test_the_draws_are_those_of_this_python():
    """Were a future Python to shuffle otherwise, records would move between shards."""
    one, other = names(1000), names(1000)
    Draws(42).shuffle(one)
    random.Random(42).shuffle(other)
    assert one == other


def test_a_small_set_lands_where_it_always_did():
    assert random_folds(list("abcdefghij"), 30) == [["a", "b", "c"], ["e", "h", "j", "g", "f", "d", "i"]]


@pytest.mark.parametrize(
    ("percent", "of", "first"), [(14, 6334, 886), (29, 100, 28), (0, 10, 0), (99, 1, 0), (57, 100, 56)]
)
def test_the_share_is_rounded_down_in_floating_point(percent, of, first):
    folds = random_folds(names(of), percent)
    assert list(map(len, folds)) == [first, of - first]
    assert set(folds[0]) == set(names(of)[:first])


def test_other_random_numbers_are_left_alone():
    random.seed(7)
    expected = random.Random(7).random()
    random_folds(names(20), 50)
    assert random.random() == expected


SEQUENCES = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.lists(st.integers(0, 99), max_size=6))


@given(SEQUENCES, st.integers(2, 6))
def test_sequence_mode_deals_the_longest_first_and_turns_the_folds_round(sequences, count):
    left = dict(sequences)
    dealt = [[] for _ in range(count)]
    turn = 0
    while left:
        longest = max(map(len, left.values()))
        name = min(name for name, items in left.items() if len(items) == longest)
        dealt[count - 1 - turn % count].extend(left.pop(name))
        turn += 1
    draws = Draws(42)
    for fold in dealt:
        draws.shuffle(fold)
    assert sequence_folds(sequences, count) == dealt


@pytest.mark.parametrize("count", [0, 1])
def test_one_fold_holds_all_sequences_as_they_come(count):
    expected = ["b1", "b2", "a1"]
    Draws(42).shuffle(expected)
    assert sequence_folds({"b": ["b1", "b2"], "a": ["a1"]}, count) == [expected]


@pytest.mark.parametrize(
    ("items", "count", "sizes"),
    [(886, 10, [88] * 9 + [94]), (5448, 10, [544] * 9 + [552]), (3, 5, [0, 0, 0, 0, 3]), (7, 0, [7]), (0, 2, [0, 0])],
)
def test_the_last_shard_takes_the_remainder(items, count, sizes):
    cut = shards(range(items), count)
    assert [len(part) for part in cut] == sizes
    assert Counter(item for part in cut for item in part) == Counter(range(items))


@pytest.mark.parametrize(
    ("fold", "folds", "shard", "count", "name"),
    [
        (0, 2, 3, 10, "k-fold-000-of-002-shard-00003-of-00010"),
        (4, 5, 0, 0, "k-fold-004-of-005"),
        (0, 0, 1, 2, "k-shard-00001-of-00002"),
        (0, 0, 0, 0, "k"),
    ],
)
def test_files_are_named_by_fold_and_shard(fold, folds, shard, count, name):
    assert shard_name("k", fold, folds, shard, count) == name
