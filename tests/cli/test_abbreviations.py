"""Abbreviated long options, held against argparse itself."""

import argparse

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from xraycls.cli.abbreviations import AbbreviatedCommand, spelt_out
from xraycls.errors import UsageError

NAMES = st.lists(st.text("ab-", min_size=1, max_size=5), min_size=1, max_size=6, unique=True).map(
    lambda names: [f"--{name.strip('-') or 'a'}" for name in names]
)


class Ambiguous(Exception):
    pass


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Ambiguous if "ambiguous" in message else ValueError(message)


def by_argparse(names: list[str], argument: str) -> dict[str, str] | None:
    """What argparse makes of one option with a value; None when it knows no such option."""
    parser = Parser(add_help=False)
    for name in names:
        parser.add_argument(name, dest=name)
    values = [] if "=" in argument else ["v"]
    found, unknown = parser.parse_known_args([argument, *values])
    return None if unknown else {name: value for name, value in vars(found).items() if value is not None}


@given(NAMES.map(lambda names: list(dict.fromkeys(names))), st.text("ab-", min_size=1, max_size=6), st.booleans())
def test_the_rule_is_that_of_argparse(names, text, with_value):
    argument = f"--{text.strip('-') or 'b'}" + "=v" * with_value
    try:
        expected = by_argparse(names, argument)
    except Ambiguous:
        with pytest.raises(UsageError, match="ambiguous"):
            spelt_out([argument], [[name] for name in names])
        return
    name, _, value = spelt_out([argument], [[name] for name in names])[0].partition("=")
    assert ({name: value or "v"} if name in names else None) == expected


def test_two_names_of_one_option_are_not_ambiguous():
    assert spelt_out(["--la"], [["--label", "--labels"], ["--limit"]]) == ["--label"]


def test_values_after_a_double_dash_are_left_alone():
    assert spelt_out(["--li", "3", "--", "--la"], [["--label"], ["--limit"]]) == ["--limit", "3", "--", "--la"]


app = typer.Typer()


@app.command(cls=AbbreviatedCommand)
def _command(
    label: str = typer.Option("", "--label", "-l"),
    limit: int = typer.Option(0),
    train: bool = typer.Option(True, "--train/--test"),
) -> None:
    typer.echo(f"{label} {limit} {train}")


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--la", "x", "--tes"], "x 0 False"),
        (["--label=x", "--lim=3"], "x 3 True"),
        (["-l", "x", "--tr"], "x 0 True"),
    ],
)
def test_a_command_takes_them(arguments, printed):
    assert CliRunner().invoke(app, arguments).output.strip() == printed


def test_an_ambiguous_one_is_one_sentence():
    error = CliRunner().invoke(app, ["--l", "x"]).exception
    assert isinstance(error, UsageError)
    assert str(error) == "--l is ambiguous: it could mean --label, --limit. Type one more letter."


def test_an_unknown_one_is_left_to_the_parser():
    assert "No such option" in CliRunner().invoke(app, ["--nothing"]).output
