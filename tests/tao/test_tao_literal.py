"""Lists of numbers in strings: what Python makes of them, and one sentence for anything else."""

import ast
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.tao.literal import DEEPEST, LONGEST, numbers, numbers_or_pairs, pairs, parse_literal, rows


def listed(value):
    return [listed(each) for each in value] if isinstance(value, list | tuple) else value


NUMBERS = st.one_of(st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False))
LISTS = st.recursive(NUMBERS, lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple)), max_leaves=30)


@given(LISTS)
def test_pure_literals_are_read_as_python_reads_them(value):
    text = repr(value)
    assert listed(parse_literal(text)) == listed(ast.literal_eval(text))


@st.composite
def arithmetic(draw, depth=3):
    """A sum, difference, product or quotient as text, and its exact value, which a float holds; None divides by 0."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        number = draw(st.integers(0, 7))
        return str(number), Fraction(number)
    text, value = draw(arithmetic(depth - 1))
    kind = draw(st.sampled_from("+-*/~"))
    if kind == "~":
        return f"-({text})", None if value is None else -value
    if kind == "/":
        divisor = draw(st.sampled_from([0, 1, 2, 4, 8]))
        return f"({text}) / {divisor}", None if value is None or divisor == 0 else value / divisor
    right, other = draw(arithmetic(depth - 1))
    if value is None or other is None:
        return f"({text}) {kind} ({right})", None
    return f"({text}) {kind} ({right})", {"+": value + other, "-": value - other, "*": value * other}[kind]


@given(arithmetic())
def test_arithmetic_is_that_of_fractions(drawn):
    text, value = drawn
    if value is None:
        with pytest.raises(ValueError, match="divided by 0"):
            parse_literal(text)
    else:
        assert parse_literal(text) == value


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_a_quotient_is_the_float_nearest_to_the_fraction(above, below):
    assert parse_literal(f"{above}/{below}") == float(Fraction(above, below))


def test_signs_and_precedence_are_pythons():
    assert parse_literal("[1.0/3.0, -1, +2, --3, 2*3+4, 2+3*4, (2+3)*4, 8/2/2, 7-2-1]") == (
        1.0 / 3.0, -1, 2, 3, 10, 14, 20, 2.0, 4,
    )  # fmt: skip
    assert isinstance(parse_literal("[8, (16, 8)]")[0], int)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no list of numbers"),
        ("[1, 2", "is no list of numbers"),
        ("[1 2]", "is no list of numbers"),
        ("1e", "is no list of numbers"),
        ("e", "e is neither a list nor a sum"),
        ("[1][0]", "[1][0] is neither a list nor"),
        ("2**3", "2 ** 3 is neither a list nor"),
        ("7//2", "7 // 2 is neither"),
        ("1(2)", "1(2) is neither"),
        ("...", "... is neither"),
        ("[1] + [2]", "a number is expected, not a list of 1"),
        ("-[1, 2]", "a number is expected, not a list of 2"),
        ("[1, 1/0]", "a number is divided by 0"),
        ("1.0/(2-2.0)", "a number is divided by 0"),
        ("1e308*10", "a number is too large"),
        ("[1e999]", "a number is too large"),
        ("9" * 400, "a number is too large"),
        ("__import__('os')", "'_' can't stand in a list of numbers"),
        ("[1, None]", "'N' can't stand in"),
        ("[1, 'a']", "\"'\" can't stand in"),
        ("{1: 2}", "'{' can't stand in"),
        ("1j", "'j' can't stand in"),
        ("0x10", "'x' can't stand in"),
        ("[1, 2]  # two", "'#' can't stand in"),
        ("[٣]", "'٣' can't stand in"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"nested at most {DEEPEST} deep"),
        ("-" * 5000 + "1", f"nested at most {DEEPEST} deep"),
        ("+".join("1" * 2000), f"nested at most {DEEPEST} deep"),
        ("1" * (LONGEST + 1), f"has at most {LONGEST:,} characters, this has {LONGEST + 1:,}"),
    ],
)  # fmt: skip
def test_anything_else_is_one_sentence(text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_literal(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 160


@given(st.one_of(st.text(), st.text("0123456789.eE+-*/()[], \n", max_size=60)))
def test_any_text_is_numbers_or_a_value_error(text):
    try:
        value = parse_literal(text)
    except ValueError:
        return
    assert all(isinstance(each, int | float) for each in flat(value))


def flat(value):
    return [leaf for each in value for leaf in flat(each)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (numbers, "[1, 0.5]", (1.0, 0.5)),
        (numbers, "1, 2", (1.0, 2.0)),
        (rows, "[[1], [2, 3]]", ((1.0,), (2.0, 3.0))),
        (pairs, "[(1, 2), [3, 4]]", ((1.0, 2.0), (3.0, 4.0))),
        (numbers_or_pairs, "[8, (16, 32)]", (8.0, (16.0, 32.0))),
    ],
)
def test_lists_of_a_form(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (numbers, "1.5", "a list of numbers is expected, not 1.5"),
        (numbers, "[[1]]", "a number is expected, not a list of 1"),
        (rows, "[1, 2]", "a list of numbers is expected, not 1"),
        (pairs, "[(1, 2, 3)]", "a pair of numbers is expected, not a list of 3"),
        (numbers_or_pairs, "[8, (1,)]", "a pair of numbers is expected, not a list of 1"),
        (numbers_or_pairs, "8", "a list of numbers or pairs is expected, not 8"),
    ],
)
def test_lists_of_another_form_are_one_sentence(read, text, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        read(text)
