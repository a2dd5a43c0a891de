from pathlib import Path

import pytest

from xraycls.data.class_names import is_healthy, is_no_class, plain_class, positive_of
from xraycls.data.spelling import in_order, one_spelling

PAIRS = [
    tuple(name.strip() for name in line.split(" | "))
    for line in (Path(__file__).parent / "class_pairs.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def test_there_are_two_hundred_pairs_of_real_names():
    assert len(set(PAIRS)) == len(PAIRS) > 200


@pytest.mark.parametrize(("positive", "negative"), PAIRS)
def test_the_positive_class_of_two(positive, negative):
    assert positive_of([positive, negative]) == positive_of([negative, positive]) == (positive, True)
    assert in_order([positive, negative]) == in_order([negative, positive]) == (negative, positive)


@pytest.mark.parametrize("pair", [("AP", "PA"), ("bacterial", "viral"), ("left", "right"), ("Effusion", "Mass")])
def test_what_has_to_be_guessed_is_said_to_be(pair):
    assert positive_of(pair) == (max(pair), False)


@pytest.mark.parametrize("name", ["Nodule", "Note", "Noise-like", "Unilateral", "Inflammation", "Nonspecific opacity"])
def test_a_name_that_only_begins_like_a_negation_is_not_healthy(name):
    assert not is_healthy(name)
    assert positive_of([name, "Normal"]) == (name, True)


@pytest.mark.parametrize(
    "cell",
    ["", " ", "nan", "NaN", "-1", "-1.0", "N/A", "NULL", "unknown", "?", "-", "#N/A", "<NA>", "Uncertain"],
)
def test_cells_that_are_no_class(cell):
    assert is_no_class(cell)


@pytest.mark.parametrize("cell", ["0", "1", "none", "None", "No", "Normal", "COVID-", "1.0", "Nano", "A"])
def test_cells_that_are_one(cell):
    assert not is_no_class(cell)


@pytest.mark.parametrize(
    "spellings",
    [
        ("COVID-19", "COVID19", "Covid 19", "covid_19"),
        ("No Finding", "No_Finding", "no-finding", "NoFinding", "No  Finding", "No Finding."),
        ("1", "1.0", "01", "1."),
        ("Pleural Effusion", "pleural_effusion", "Pleural-Effusion"),
        ("Viral Pneumonia", "Viral/Pneumonia"),
    ],
)
def test_spellings_of_one_class(spellings):
    assert len({plain_class(name) for name in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("COVID+", "COVID-"), ("1.5", "15"), ("grade 1.5", "grade 15"), ("1-2", "12"), ("+", "-"), ("Mass", "Masses")],
)
def test_names_that_stay_apart(one, other):
    assert plain_class(one) != plain_class(other)


def test_the_commonest_spelling_stands_for_all(tmp_path, caplog):
    names = ["COVID19", "COVID-19", "COVID-19", "Normal"]
    assert one_spelling(names, tmp_path) == {"COVID19": "COVID-19", "COVID-19": "COVID-19", "Normal": "Normal"}
    assert "COVID-19 (2), COVID19 (1); all count as COVID-19" in caplog.text
