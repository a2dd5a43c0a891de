"""YAML and JSON of any origin, and tables that a spreadsheet may open."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.data.documents import parse_json, parse_yaml
from xraycls.data.rows import cell_text, csv_text, read_rows, write_rows

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 5000, "nested too deeply"),
        ("a: &a [*a]", "holds itself"),
        ("a: 2024-13-45", "month must be in"),
        (BOMB, "aliases make more than 1,000,000 values"),
        ("a: [1", "expected"),
        ("? [1]\n: 2", "unhashable"),
    ],
)
def test_a_yaml_that_is_none_is_one_sentence(text, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        parse_yaml(text)
    assert len(str(caught.value).splitlines()) == 1


def test_aliases_and_dates_that_mean_something_are_read():
    assert parse_yaml("a: &a [1]\nb: *a") == {"a": [1], "b": [1]}
    assert parse_yaml("") is None


@pytest.mark.parametrize("text", ["[" * 100_000, "{", b"\xff", "9" * 10_000])
def test_a_json_that_is_none_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd", "'+cmd"),
        ("-cmd", "'-cmd"),
        ("'=1", "''=1"),
        ("-1.5", "-1.5"),
        ("+2e-3", "+2e-3"),
        ("a=b", "a=b"),
        ("'quoted'", "'quoted'"),
        (-1.5, "-1.5"),
    ],
)
def test_cells_that_a_spreadsheet_would_run_begin_with_an_apostrophe(cell, written):
    assert csv_text(["x"], [[cell]]).splitlines()[1] == written


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), min_size=1))
def test_cells_come_back_as_they_were(cells):
    row = next(csv.reader(io.StringIO(csv_text(cells, []), newline="")))
    assert [cell_text(cell) for cell in row] == cells


def test_a_table_of_ours_with_a_short_row_is_damaged(tmp_path):
    write_rows(tmp_path / "a.csv", ["path", "split"], [["=a.png", "train"]])
    assert read_rows(tmp_path / "a.csv") == [{"path": "=a.png", "split": "train"}]
    (tmp_path / "a.csv").write_text("path,split\na.png\n")
    with pytest.raises(ValueError, match="shorter"):
        read_rows(tmp_path / "a.csv")
