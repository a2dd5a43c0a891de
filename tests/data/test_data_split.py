import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xraycls.data.folder import read_folder
from xraycls.data.patients import with_patients
from xraycls.data.split import draw_splits, split_named
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import Sample

ROOT = Path("data")
CLASSES = ("NORMAL", "PNEUMONIA")


def table_of(samples) -> SampleTable:
    return SampleTable(tuple(samples), CLASSES, ROOT, "folder")


def made(n=100, split=None, patients=None, start=0) -> list[Sample]:
    """n images of each class; ``patients`` of them in every class, or none known."""
    return [
        Sample(
            ROOT / f"{split}{label}-{start + i}.png",
            label=label,
            split=split,
            patient=None if patients is None else f"{label}-{i % patients}",
        )
        for label in (0, 1)
        for i in range(n)
    ]


def counts(table):
    return {split: table.split(split).counts() for split in table.splits}


def by_name(table):
    return {s.path: s.split for s in table}


def test_nothing_given_draws_test_and_validation(caplog):
    with caplog.at_level(logging.INFO):
        table = draw_splits(table_of(made(100)), val_fraction=0.1, test_fraction=0.2)
    assert counts(table) == {
        "train": {"NORMAL": 70, "PNEUMONIA": 70},
        "val": {"NORMAL": 10, "PNEUMONIA": 10},
        "test": {"NORMAL": 20, "PNEUMONIA": 20},
    }
    assert [record.message for record in caplog.records] == [
        "No test split is given: 40 of 200 training images become it (20 NORMAL, 20 PNEUMONIA), "
        "stratified by class, each image taken for a patient of its own, seed 0.",
        "No validation split is given: 20 of 160 training images become it (10 NORMAL, 10 PNEUMONIA), "
        "stratified by class, each image taken for a patient of its own, seed 0.",
    ]


def test_the_log_counts_patients(caplog):
    with caplog.at_level(logging.INFO):
        draw_splits(table_of(made(100, patients=50)), val_fraction=0.2, test_fraction=0, seed=3)
    assert "grouped by patient (20 of 100), seed 3." in caplog.text


def test_given_splits_stay():
    before = table_of(made(100, "train") + made(60, "val") + made(30, "test"))
    assert draw_splits(before) == before


def test_only_the_missing_split_is_drawn():
    before = table_of(made(100, "train") + made(30, "test"))
    after = draw_splits(before, val_fraction=0.25)
    assert counts(after)["val"] == {"NORMAL": 25, "PNEUMONIA": 25}
    assert by_name(after.split("test")) == by_name(before.split("test"))
    assert [s.path for s in after] == [s.path for s in before]


def test_a_share_of_zero_draws_nothing():
    assert draw_splits(table_of(made(10)), val_fraction=0, test_fraction=0).splits == ("train",)


def test_redrawing_validation_uses_train_and_val(caplog):
    before = table_of(made(92, "train") + made(8, "val") + made(30, "test"))
    with caplog.at_level(logging.INFO):
        after = draw_splits(before, val_fraction=0.2, redraw_val=True)
    assert counts(after)["val"] == {"NORMAL": 20, "PNEUMONIA": 20}
    assert by_name(after.split("test")) == by_name(before.split("test"))
    assert "The validation split is drawn anew: 40 of 200" in caplog.text
    assert "WARNING" not in caplog.text


def test_a_tiny_validation_split_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        draw_splits(table_of(made(100, "train") + made(8, "val") + made(30, "test")))
    assert "only 8 NORMAL, 8 PNEUMONIA" in caplog.text
    assert "--redraw-val" in caplog.text


def test_images_without_a_split_count_as_training_images(caplog):
    with caplog.at_level(logging.WARNING):
        table = draw_splits(table_of(made(50, "train") + made(50) + made(60, "val") + made(60, "test")))
    assert counts(table)["train"] == {"NORMAL": 100, "PNEUMONIA": 100}
    assert "100 images of data are in no split" in caplog.text


def test_the_seed_decides():
    table = table_of(made(100))
    assert by_name(draw_splits(table, seed=1)) == by_name(draw_splits(table, seed=1))
    assert by_name(draw_splits(table, seed=1)) != by_name(draw_splits(table, seed=2))


def test_neither_the_place_on_disk_nor_a_few_more_images_change_the_draw():
    here = made(200)
    there = [Sample(Path("/elsewhere") / s.path.name, s.label) for s in here]
    moved = draw_splits(SampleTable(tuple(there), CLASSES, Path("/elsewhere"), "folder"))
    drawn = draw_splits(table_of(here))
    assert [s.split for s in moved] == [s.split for s in drawn]
    more = by_name(draw_splits(table_of(here + made(4, start=1000))))
    assert sum(more[path] != split for path, split in by_name(drawn).items()) <= 8


@st.composite
def tables(draw) -> tuple[SampleTable, bool]:
    """Patients with 1–8 images, each of one class or of both, and images of nobody known."""
    mixed = draw(st.booleans())
    samples = []
    for number, size in enumerate(draw(st.lists(st.integers(1, 8), min_size=4, max_size=60))):
        label = draw(st.integers(0, 1))
        for i in range(size):
            chosen = draw(st.integers(0, 1)) if mixed else label
            samples.append(Sample(ROOT / f"{number}_{i}.png", chosen, None if size == 1 else f"p{number}"))
    return table_of(samples), mixed


@settings(max_examples=150, deadline=None)
@given(tables(), st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.integers(0, 99), st.randoms(use_true_random=False))
def test_drawn_splits_keep_their_promises(case, val_fraction, test_fraction, seed, random):
    table, mixed = case
    total = Counter(s.label for s in table)
    assume(len(total) == 2)
    try:
        drawn = draw_splits(table, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
    except DataError:  # too few patients, which test_data_too_small_to_split looks at
        return
    # The same images, none lost, and every patient on one side.
    assert [(s.path, s.label, s.patient) for s in drawn] == [(s.path, s.label, s.patient) for s in table]
    sides: dict[str, set[str | None]] = {}
    for s in drawn:
        if s.patient:
            sides.setdefault(s.patient, set()).add(s.split)
    assert all(len(splits) == 1 for splits in sides.values())
    # Every class in every split, as near to its share as half the largest patient.
    largest = max(Counter(s.patient for s in table if s.patient).values(), default=1)
    for split, share in (("val", val_fraction), ("test", test_fraction)):
        for label, count in enumerate(drawn.split(split).counts().values()):
            target = max(1, round(share * total[label]))
            assert count > 0
            # After the test draw too few patients may be left for an exact validation share.
            if not mixed and split == "test":
                assert abs(count - min(target, total[label] - 1)) <= largest / 2
    # The order of the table doesn't matter.
    shuffled = list(table)
    random.shuffle(shuffled)
    again = draw_splits(table.with_samples(shuffled), val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
    assert by_name(again) == by_name(drawn)


@pytest.mark.parametrize("seed", range(5))
def test_targets_are_met_as_nearly_as_patients_allow(seed):
    tens = [Sample(ROOT / f"{p}_{i}.png", p % 2, f"p{p}") for p in range(40) for i in range(10)]
    drawn = draw_splits(table_of(tens), val_fraction=0.13, test_fraction=0, seed=seed)
    assert counts(drawn)["val"] == {"NORMAL": 30, "PNEUMONIA": 30}  # 26 wanted: 30 is nearer than 20
    ones = [Sample(ROOT / f"{i}.png", i % 2) for i in range(40)]
    drawn = draw_splits(table_of(tens + ones), val_fraction=0.12, test_fraction=0, seed=seed)
    assert counts(drawn)["val"] == {"NORMAL": 26, "PNEUMONIA": 26}  # two tens and six ones


def test_patients_of_every_size_are_drawn_alike():
    """Filling up with what fits must not draw mainly small, or mainly large, patients."""
    sizes = np.array([1, 2, 3, 6] * 150)
    samples = [
        Sample(ROOT / f"{number}_{i}.png", number % 8 // 4, f"p{number}")
        for number, size in enumerate(sizes)
        for i in range(size)
    ]
    share = Counter()
    for seed in range(10):
        drawn = draw_splits(table_of(samples), val_fraction=0.2, test_fraction=0, seed=seed).split("val")
        for patient in {s.patient for s in drawn}:
            share[int(sizes[int(patient[1:])])] += 1
    assert all(share[size] / 1500 == pytest.approx(0.2, abs=0.04) for size in (1, 2, 3, 6))


@pytest.mark.exhaustive
def test_the_paediatric_set_is_drawn_as_evenly_as_scikit_learn_draws_it(shared):
    from sklearn.model_selection import StratifiedGroupKFold

    table = with_patients(read_folder(shared / "data/kermany_224"))
    pool = [s for s in table if s.split != "test"]
    labels, groups = np.array([s.label for s in pool]), np.array([s.patient for s in pool])
    overall = labels.mean()
    folds = StratifiedGroupKFold(7, shuffle=True, random_state=0).split(labels, labels, groups)
    theirs = max(abs(labels[fold].mean() - overall) for _, fold in folds)

    drawn = draw_splits(table, val_fraction=1 / 7, redraw_val=True)
    val, train = drawn.split("val"), drawn.split("train")
    assert abs(val.labels.mean() - overall) <= max(theirs, 1e-3)
    assert len(val) == pytest.approx(len(pool) / 7, abs=2)
    assert not {s.patient for s in val} & {s.patient for s in train}


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "data has no training images"),
        (made(5, "test"), "data has no training images"),
        (made(5, "train")[:5] + made(5, "test"), "Class PNEUMONIA of data has images in test but none to train on"),
        (made(20, patients=1), "the 20 images of class NORMAL come from 1 patient, too few"),
        (made(20, patients=2), "No test split .* the 20 images of class NORMAL come from 2 patients, too few"),
        (made(1), "the 1 images of class NORMAL come from 1 patient"),
        (made(2), "No validation split .* the 1 images of class NORMAL"),
    ],
)
def test_data_too_small_to_split(samples, message):
    with pytest.raises(DataError, match=message):
        draw_splits(table_of(samples))


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (1.0, 0.0)])
def test_shares_that_leave_nothing(shares):
    with pytest.raises(UsageError, match="leave nothing to train on"):
        draw_splits(table_of(made()), val_fraction=shares[0], test_fraction=shares[1])


def test_split_names():
    assert [split_named(name) for name in (" TRAIN ", "Validation", "labels", "")] == ["train", "val", None, None]
