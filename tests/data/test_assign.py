import logging
from collections import Counter
from pathlib import Path

import pytest

from xraycls.data.assign import fold_files, fold_tables, split_table, without_test_patients, write_new
from xraycls.data.csv import read_csv
from xraycls.data.source import load_table, read_source
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError, XrayclsError
from xraycls.types import Box, Sample

ROOT = Path("data")
CLASSES = ("NORMAL", "PNEUMONIA")


def made(n, split=None, start=0, **kind) -> list[Sample]:
    """n patients of each class with two images each."""
    return [
        Sample(ROOT / f"{label}-{start + i}-{image}.png", label, f"{label}-{start + i}", split, **kind)
        for label in (0, 1)
        for i in range(n)
        for image in range(2)
    ]


def table_of(*parts) -> SampleTable:
    return SampleTable(tuple(s for part in parts for s in part), CLASSES, ROOT, "folder")


def by_name(table):
    return {s.path: s.split for s in table}


def patients(table, split):
    return {s.patient for s in table.split(split)}


def test_a_patient_in_two_given_splits_is_named_with_the_way_out(caplog):
    crossing = [Sample(ROOT / f"x{i}.png", 0, f"x{i // 2}", ("train", "test")[i % 2]) for i in range(14)]
    table = table_of(made(20, "train"), made(10, "test", start=100), crossing)
    with pytest.raises(DataError) as error:
        split_table(table)
    assert str(error.value) == (
        "7 of 67 patients of data are in more than one split, such as x0 (1 in train, 1 in test); "
        "x1 (1 in train, 1 in test); x2 (1 in train, 1 in test); x3 (1 in train, 1 in test); "
        "x4 (1 in train, 1 in test). Draw all splits anew with --redraw, "
        "or leave out other images of the test's patients with --keep-test."
    )
    with caplog.at_level("INFO"):
        drawn = split_table(table, redraw=True)
    assert "The test split is drawn anew: 18 of 134 training images" in caplog.text
    assert "No validation split is given: 18 of 116" in caplog.text
    assert not patients(drawn, "train") & patients(drawn, "test")
    assert set(drawn.splits) == {"train", "val", "test"}


def test_an_image_in_no_split_counts_as_training_image_here_too():
    table = table_of(made(20, "train"), made(10, "test", start=100), [Sample(ROOT / "x.png", 0, "0-100")])
    with pytest.raises(DataError, match=r"1 of 60 patients .* 0-100 \(1 in train, 2 in test\)"):
        split_table(table)


def test_redrawing_validation_mends_patients_that_cross_into_it():
    table = table_of(made(40, "train"), [Sample(ROOT / "x.png", 0, "0-3", "val")], made(10, "test", start=100))
    with pytest.raises(DataError, match="0-3"):
        split_table(table)
    drawn = split_table(table, redraw_val=True)
    assert not patients(drawn, "train") & patients(drawn, "val")
    assert patients(drawn, "test") == patients(table, "test")


def test_every_image_is_tested_once_and_validated_once():
    table = table_of(made(20))
    tables = fold_tables(table, 5, seed=3)
    assert len(tables) == 5
    tested, validated = Counter(), Counter()
    for each in tables:
        assert [s.path for s in each] == [s.path for s in table]
        assert {split: len(each.split(split)) for split in each.splits} == {"train": 48, "val": 16, "test": 16}
        sides = [patients(each, split) for split in ("train", "val", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 40
        tested.update(s.path for s in each.split("test"))
        validated.update(s.path for s in each.split("val"))
    assert tested == validated == Counter(s.path for s in table)
    assert {s.attributes for s in tables[2].split("test")} == {(("fold", "2"),)}
    assert {s.attributes for s in tables[2].split("val")} == {(("fold", "3"),)}


def test_a_given_test_split_tests_in_every_fold():
    table = table_of(made(20, "train"), made(3, "val", start=50), made(10, "test", start=100))
    tables = fold_tables(table, 4)
    validated = Counter()
    for each in tables:
        assert by_name(each.split("test")) == by_name(table.split("test"))
        assert not patients(each, "train") & patients(each, "val")
        validated.update(s.path for s in each.split("val"))
    assert validated == Counter(s.path for s in table if s.split != "test")
    assert "test" in {s.split for s in fold_tables(table, 4, redraw=True)[0].split("test")}
    assert by_name(fold_tables(table, 4, redraw=True)[0].split("test")) != by_name(table.split("test"))


def test_patients_may_not_cross_into_the_given_test_split():
    table = table_of(made(20, "train"), made(10, "test", start=15))
    with pytest.raises(DataError, match="10 of 50 patients"):
        fold_tables(table, 4)


def test_two_folds_need_a_test_split():
    with pytest.raises(UsageError, match="--folds 2 leaves nothing to train on"):
        fold_tables(table_of(made(10)), 2)
    assert len(fold_tables(table_of(made(10, "train"), made(3, "test", start=50)), 2)) == 2


@pytest.fixture
def folder(draw_folder, tmp_path):
    return draw_folder(tmp_path / "a bild ü" / "data", {"train": 12, "val": 4, "test": 4})


def test_what_is_written_is_what_training_reads(folder, tmp_path):
    table = split_table(read_source(folder), redraw=True, seed=5)
    file = tmp_path / "new" / "split.csv"
    assert write_new({file: table})
    read = load_table(file)
    assert by_name(read) == by_name(table)
    assert read.classes == table.classes
    assert [s.label for s in read] == [s.label for s in table]
    tables = dict(zip(fold_files(tmp_path / "folds", 3), fold_tables(table, 3, redraw=True), strict=True))
    write_new(tables)
    for path, each in tables.items():
        again = read_csv(path)
        assert by_name(again) == by_name(each)
        assert [s.attributes for s in again] == [s.attributes for s in each]


def test_nothing_is_overwritten_unless_asked_for(folder, tmp_path):
    file = tmp_path / "split.csv"
    one, other = (split_table(read_source(folder), redraw=True, seed=seed) for seed in (1, 2))
    write_new({file: one})
    before = file.read_bytes()
    assert not write_new({file: one})
    with pytest.raises(DataError, match=r"split\.csv holds something else\. Replace it with --overwrite"):
        write_new({tmp_path / "first.csv": one, file: other})
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.glob("*.csv")] == ["split.csv"]  # all or none
    assert write_new({file: other}, overwrite=True)
    assert by_name(read_csv(file)) == by_name(other)


def test_folds_of_another_draw_are_never_mixed_in(tmp_path):
    (tmp_path / "fold-7.csv").write_text("of ten")
    with pytest.raises(DataError, match=r"fold-7\.csv belongs to another draw"):
        fold_files(tmp_path, 5)
    assert len(fold_files(tmp_path, 8)) == 8
    with pytest.raises(DataError, match="is a file, but folds need a folder"):
        fold_files(tmp_path / "fold-7.csv", 5)


def test_a_place_that_cannot_be_written_is_one_sentence(folder, tmp_path):
    (tmp_path / "file").write_text("")
    table = split_table(read_source(folder), redraw=True)
    with pytest.raises(XrayclsError, match=r"/split\.csv could not be written"):
        write_new({tmp_path / "file" / "split.csv": table})
    with pytest.raises(XrayclsError, match=r"/split\.csv could not be written"):
        write_new({tmp_path / "first.csv": table, tmp_path / "file" / "split.csv": table})
    assert not (tmp_path / "first.csv").exists()


def test_boxes_that_get_lost_are_told(tmp_path, caplog):
    table = table_of(made(4, "train", boxes=(Box("x", 0, 0, 1, 1),)))
    with caplog.at_level("INFO"):
        write_new({tmp_path / "split.csv": table})
    assert "no boxes" in caplog.text


def test_a_class_without_images_does_not_matter(tmp_path):
    """As in a set of boxes without negatives."""
    table = table_of([s for s in made(10) if s.label == 1])
    write_new({tmp_path / "split.csv": split_table(table), tmp_path / "fold.csv": fold_tables(table, 3)[0]})
    assert {line.split(",")[1] for line in (tmp_path / "split.csv").read_text().splitlines()[1:]} == {"PNEUMONIA"}


def test_a_published_test_split_is_kept_by_leaving_its_patients_out_of_training(shared, caplog):
    table = read_source(shared / "data" / "kermany_224")
    with caplog.at_level(logging.INFO):
        drawn = split_table(without_test_patients(table), redraw_val=True)
    assert by_name(drawn.split("test")) == by_name(table.split("test"))
    tested = {s.patient for s in drawn.split("test")}
    assert not tested & {s.patient for s in drawn if s.split != "test"}
    lost = sum(s.patient in tested for s in table if s.split != "test")
    assert len(drawn) == len(table) - lost > 4000
    assert f"{lost} images of patients of the test split are left out" in caplog.text
