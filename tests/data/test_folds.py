from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xraycls.data.assign import draw_folds, held_out_of, with_fold
from xraycls.data.folder import read_folder
from xraycls.data.patients import with_patients
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import Sample

ROOT = Path("data")
CLASSES = ("NORMAL", "PNEUMONIA")


def table_of(groups) -> SampleTable:
    """``groups`` are the labels of each patient's images."""
    samples = (
        Sample(ROOT / f"{number}_{i}.png", label, f"p{number}")
        for number, labels in enumerate(groups)
        for i, label in enumerate(labels)
    )
    return SampleTable(tuple(samples), CLASSES, ROOT, "folder")


def counts(table, folds, k):
    """Images, [folds, classes]."""
    return np.array([[((folds == fold) & (table.labels == label)).sum() for label in range(2)] for fold in range(k)])


def unevenness(counts):
    """The sum over folds and classes of squared deviations from an equal share, in units of that share."""
    target = counts.sum(axis=0) / len(counts)
    return (((counts - target) / target) ** 2).sum()


def test_images_without_patients_are_dealt_evenly():
    samples = tuple(Sample(ROOT / f"{i}.png", int(i % 3 == 0)) for i in range(100))
    table = SampleTable(samples, CLASSES, ROOT, "folder")
    found = counts(table, draw_folds(table, 5), 5)
    assert (np.ptp(found, axis=0) <= 1).all()
    assert np.ptp(found.sum(axis=1)) <= 1


def test_images_of_no_known_class_are_dealt_out_too():
    samples = tuple(Sample(ROOT / f"{i}.png", (0, 1, None)[i % 3]) for i in range(60))
    table = SampleTable(samples, CLASSES, ROOT, "folder")
    folds = draw_folds(table, 4)
    assert Counter(folds[table.labels == -1].tolist()) == dict.fromkeys(range(4), 5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=8, max_size=50),
    st.integers(2, 5),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_folds_keep_their_promises(groups, k, seed, random):
    table = table_of(groups)
    try:
        folds = draw_folds(table, k, seed)
    except DataError:  # too few patients of a class
        return
    fold_of = dict(zip(table, folds.tolist(), strict=True))
    patients = {}
    for sample, fold in fold_of.items():
        assert patients.setdefault(sample.patient, fold) == fold
    assert (counts(table, folds, k) > 0).all()
    # The order of the table doesn't matter.
    shuffled = list(table)
    random.shuffle(shuffled)
    again = draw_folds(table.with_samples(shuffled), k, seed)
    assert dict(zip(shuffled, again.tolist(), strict=True)) == fold_of


@pytest.mark.parametrize("seed", range(12))
def test_small_sets_are_split_nearly_as_well_as_can_be(seed):
    """Against every way to deal eight patients into two or three folds."""
    rng = np.random.default_rng(seed)
    groups = [[int(rng.random() < 0.5)] * int(rng.integers(1, 5)) for _ in range(8)]
    groups[:6] = [[label] * len(group) for label, group in zip((0, 1) * 3, groups, strict=False)]
    table = table_of(groups)
    k = 2 + seed % 2
    found = unevenness(counts(table, draw_folds(table, k, seed), k))
    sizes = [len(group) for group in groups]
    best = min(unevenness(counts(table, np.repeat(dealt, sizes), k)) for dealt in product(range(k), repeat=len(groups)))
    assert found <= best + 0.25


def test_the_seed_draws_other_folds():
    table = table_of([[i % 2] for i in range(100)])
    assert (draw_folds(table, 5, 1) == draw_folds(table, 5, 1)).all()
    assert (draw_folds(table, 5, 1) != draw_folds(table, 5, 2)).any()


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(3))
def test_the_paediatric_set_is_dealt_as_evenly_as_scikit_learn_deals_it(shared, seed):
    from sklearn.model_selection import StratifiedGroupKFold

    table = with_patients(read_folder(shared / "data/kermany_224"))
    groups = [sample.patient for sample in table]
    theirs = np.empty(len(table), np.int64)
    for fold, (_, held_out) in enumerate(
        StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(groups, table.labels, groups)
    ):
        theirs[held_out] = fold
    ours = counts(table, draw_folds(table, 5, seed), 5)
    assert unevenness(ours) <= unevenness(counts(table, theirs, 5)) + 1e-9
    assert np.ptp(ours, axis=0).max() <= 1
    assert np.ptp(ours.sum(axis=1)) <= 2


@pytest.mark.parametrize(
    ("groups", "k", "message"),
    [
        ([[0], [0], [1] * 9, [1]], 3, "No 3 folds .* the 2 images of class NORMAL come from 2 patients, too few"),
        ([[0] * 5, [1], [1]], 2, "the 5 images of class NORMAL come from 1 patient,"),
    ],
)
def test_too_few_patients_are_named(groups, k, message):
    with pytest.raises(DataError, match=message):
        draw_folds(table_of(groups), k)


def test_findings_are_dealt_as_evenly_as_their_patients_allow(caplog):
    rng = np.random.default_rng(0)
    findings = [tuple(float(value) for value in rng.random(3) < (0.5, 0.2, 0.03)) for _ in range(300)]
    samples = tuple(Sample(ROOT / f"{i}.png", int(any(f)), f"p{i}", findings=f) for i, f in enumerate(findings))
    table = SampleTable(samples, ("No Finding", "Finding"), ROOT, "csv", findings=("A", "B", "Rare"))
    folds = draw_folds(table, 5)
    present = np.array([(table.targets[folds == fold] == 1).sum(axis=0) for fold in range(5)])
    assert np.ptp(present, axis=0).max() <= 1
    assert np.ptp(np.bincount(folds)) <= 2
    assert not caplog.records
    draw_folds(table.with_samples(s for s in samples if not s.findings[2] or s.patient in ("p0", "p12")), 5)
    assert "Some of the 5 folds have no image that is known to show a finding: Rare" in caplog.text


def test_a_fold_is_held_out_the_next_validates_and_a_given_test_split_stays():
    table = table_of([[number % 2] * (1 + number % 3) for number in range(30)])
    drawn = draw_folds(table, 5)
    for fold in range(5):
        found = with_fold(table, 5, fold)
        assert {s.split for s in found} == {"train", "val", "test"}
        assert [s.split == "test" for s in found] == (drawn == fold).tolist()
        assert [s.split == "val" for s in found] == (drawn == (fold + 1) % 5).tolist()
        assert held_out_of(found).samples == found.split("test").samples
    given = table.with_samples(replace(s, split="test" if s.patient in ("p0", "p1", "p2") else "val") for s in table)
    found = [with_fold(given, 3, fold) for fold in range(3)]
    assert all(each.split("test").samples == given.split("test").samples for each in found)
    held_out = [sample.path for each in found for sample in held_out_of(each)]
    assert sorted(held_out) == sorted(s.path for s in given if s.split != "test")


def test_a_patient_in_two_given_splits_is_named():
    table = table_of([[0, 1]] * 6)
    torn = table.with_samples(replace(s, split="test" if i < 3 else "train") for i, s in enumerate(table))
    with pytest.raises(DataError, match=r"in more than one split, such as p1 \(1 in train, 1 in test\)"):
        with_fold(torn, 3, 0)


def test_findings_of_fewer_patients_than_folds_are_named():
    samples = tuple(Sample(ROOT / f"{i}.png", 1, "p0", findings=(1.0,)) for i in range(9))
    table = SampleTable(samples, ("No Finding", "Finding"), ROOT, "csv", findings=("A",))
    with pytest.raises(DataError, match="No 3 folds can be drawn from data: it has 1 patient"):
        with_fold(table, 3, 0)


@pytest.mark.parametrize(("folds", "fold"), [(2, 0), (3, 3)])
def test_impossible_folds_name_the_flag(folds, fold):
    with pytest.raises(UsageError, match="--fold"):
        with_fold(table_of([[0], [1]] * 6), folds, fold)


def test_one_fold_is_none():
    with pytest.raises(UsageError, match="--folds 1"):
        draw_folds(table_of([[0], [1]]), 1)
