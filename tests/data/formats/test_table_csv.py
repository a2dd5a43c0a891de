from dataclasses import replace
from pathlib import Path

import pytest

from xraycls.data.csv import read_csv
from xraycls.data.formats.table import write_table_csv
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample


def test_what_is_written_is_read_back(tmp_path, draw):
    names = ["a b.png", "x/é,ü.png", f"x/{'n' * 200}.png", '"q".png']
    samples = [
        Sample(draw(tmp_path / names[0]), 0, "p1", "train", attributes=(("age", "61"), ("note", 'a "b"; c'))),
        Sample(draw(tmp_path / names[1]), 1, "p2", "val", attributes=(("note", "two\nlines"),)),
        Sample(draw(tmp_path / names[2]), 1, None, "test"),
        Sample(draw(tmp_path / names[3]), 0, "p1", None),
    ]
    table = SampleTable(tuple(sorted(samples, key=lambda s: s.path)), ("NORMAL", "SICK"), tmp_path, "folder")
    write_table_csv(table, tmp_path / "set.csv")
    assert (tmp_path / "set.csv").read_text().splitlines()[0] == "path,label,patient,split,age,note"
    assert read_csv(tmp_path / "set.csv") == replace(table, source="csv")
    write_table_csv(table, tmp_path / "elsewhere/set.csv")  # absolute paths
    found = read_csv(tmp_path / "elsewhere/set.csv")
    assert [s.path for s in found] == [s.path for s in table]


def test_a_column_like_one_of_ours_is_not_written(tmp_path, draw):
    sample = Sample(draw(tmp_path / "a.png"), 0, attributes=(("Label", "other"), ("sex", "F")))
    write_table_csv(SampleTable((sample,), ("a",), tmp_path, "csv"), tmp_path / "set.csv")
    assert (tmp_path / "set.csv").read_text() == "path,label,patient,split,sex\na.png,a,,,F\n"


def test_rows_of_an_archive_have_no_path(tmp_path):
    sample = Sample(Path("set.npz"), 0, member="train_images", row=3)
    with pytest.raises(DataError, match=r"set\.npz:train_images\[3\] is no file of its own"):
        write_table_csv(SampleTable((sample,), ("a",), tmp_path, "medmnist"), tmp_path / "set.csv")


def test_a_name_that_is_not_unicode_is_one_sentence(tmp_path):
    sample = Sample(tmp_path / "caf\udce9.png", 0)  # é of Latin-1, as Python gives it
    with pytest.raises(DataError, match=r"not Unicode, which a CSV can't hold: 'caf\\udce9.*convmv"):
        write_table_csv(SampleTable((sample,), ("a",), tmp_path, "folder"), tmp_path / "set.csv")
    assert not (tmp_path / "set.csv").exists()
