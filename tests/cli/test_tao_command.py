"""What every command of TAO has: the launcher's flags, lists of values and the last line."""

import argparse
import os
from typing import Annotated

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from xraycls.cli.secrets import key_of
from xraycls.cli.tao_command import TaoCommand, launcher_of, repeated, say_ignored
from xraycls.errors import UsageError, XrayclsError

app = typer.Typer()


@app.command(cls=TaoCommand)
def _command(
    context: typer.Context,
    spec: Annotated[str, typer.Option("--experiment-spec", "-e", "--experiment-spec-file")],
    equalization: Annotated[str, typer.Option("--equalization-criterion", "-eq")] = "union",
    excluded: Annotated[list[str] | None, typer.Option("--excluded-layers", "-el")] = None,
    arch: Annotated[str, typer.Option("--arch", hidden=True)] = "",
) -> None:
    say_ignored(context, "arch")
    launcher = launcher_of(context)
    typer.echo(f"{spec} {equalization} {excluded} {launcher.gpus} {launcher.use_amp}")
    typer.echo("to people", err=True)
    if spec == "wrong":
        raise XrayclsError("The spec is wrong", "Mend it")
    if spec == "bug":
        raise ZeroDivisionError
    if spec == "code":
        raise typer.Exit(3)


def run(*arguments: str, env: dict[str, str] | None = None):
    return CliRunner().invoke(app, list(arguments), env=env)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ("-e a", "a union None 1 False"),
        ("--experiment-spec a --equalization-criterion b", "a b None 1 False"),
        ("--experiment-spec-file=a -eq intersection -el x", "a intersection ['x'] 1 False"),
        ("-e a -el x y z -eq mean", "a mean ['x', 'y', 'z'] 1 False"),
        ("--exp a --excl x y --equal=b -el z", "a b ['x', 'y', 'z'] 1 False"),
        ("-e a --gpus 4 --use-amp", "a union None 4 True"),
    ],
)
def test_spellings(arguments, printed):
    done = run(*arguments.split())
    assert done.exit_code == 0
    assert done.stdout == f"{printed}\nExecution status: PASS\n"


@pytest.mark.parametrize(("spec", "code"), [("wrong", 1), ("bug", 1), ("code", 3)])
def test_a_failure_ends_with_its_line(spec, code):
    done = run("-e", spec)
    assert done.exit_code == code
    assert done.output.splitlines()[-1] == "Execution status: FAIL"
    assert ("Error: The spec is wrong. Mend it.\n" in done.stderr) == (spec == "wrong")
    assert isinstance(done.exception, ZeroDivisionError) == (spec == "bug")


def test_one_of_several_processes_leaves_the_last_line_to_the_one_that_started_them():
    assert "Execution status" not in run("-e", "a", env={"WORLD_SIZE": "2", "RANK": "0"}).output
    assert "Error" not in run("-e", "wrong", env={"WORLD_SIZE": "2", "RANK": "1"}).output


def test_flags_without_meaning_are_named_once(caplog):
    caplog.set_level("INFO", "xraycls")
    run(*"-e a --arch b --num-processes 3 --multi-node --mpirun-arg=-x --launch-cuda-blocking".split())
    (record,) = caplog.records
    flags = "--arch, --num-processes, --multi-node, --mpirun-arg, --launch-cuda-blocking"
    assert record.message == f"Without meaning here, and ignored: {flags}."
    caplog.clear()
    run("-e", "a")
    run("-e", "a", "-np", "3")
    assert [record.message for record in caplog.records] == ["Without meaning here, and ignored: --num-processes."]


def test_gpus_are_chosen_by_number(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    run("-e", "a")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    run("-e", "a", "--gpu-index", "1", "3")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,3"


def test_a_log_file_gets_all_that_is_printed(tmp_path):
    path = tmp_path / "new" / "log.txt"
    done = run("-e", "a", "--log-file", str(path))
    assert done.stdout == "a union None 1 False\nExecution status: PASS\n"
    assert path.read_text() == "a union None 1 False\nto people\nExecution status: PASS\n"
    run("-e", "wrong", "--log-file", str(path))
    assert path.read_text().endswith("to people\nError: The spec is wrong. Mend it.\nExecution status: FAIL\n")
    run("-e", "a", "--log-file", str(path), env={"WORLD_SIZE": "2", "RANK": "1"})
    assert path.read_text().count("to people") == 2


def test_a_log_file_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("-e", "a", "--log-file", str(tmp_path / "file" / "log.txt"))
    assert done.exit_code == 2
    assert "log.txt could not be written" in done.stderr
    assert done.stdout == "Execution status: FAIL\n"


NAMES = ["-el", "--many", "-a", "--one"]
TOKENS = st.lists(st.sampled_from([*NAMES, "x", "y", "z"]), max_size=8)


@given(TOKENS)
def test_lists_are_those_of_argparse(tokens):
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    for name in NAMES:
        many = name in ("-el", "--many")
        parser.add_argument(name, dest=name, **({"nargs": "+", "action": "extend"} if many else {"action": "append"}))
    try:
        expected = {name: found for name, found in vars(parser.parse_args(tokens)).items() if found}
    except (argparse.ArgumentError, SystemExit):
        return
    spelt = repeated(tokens, ["-el", "--many"])
    pairs = list(zip(spelt[::2], spelt[1::2], strict=True))
    assert {name: [value for given, value in pairs if given == name] for name, _ in pairs} == expected


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("tlt_encode", "tlt_encode"),
        ("$KEY", "nvidia"),
        ("${KEY}", "nvidia"),
        ("$", "$"),
        ("a$KEY", "a$KEY"),
        (None, ""),
    ],
)
def test_the_key_may_be_a_variable(monkeypatch, caplog, given, key):
    monkeypatch.setenv("KEY", "nvidia")
    assert key_of(given) == key
    assert not caplog.records


def test_a_variable_of_the_mounts_file_comes_first(monkeypatch):
    monkeypatch.setenv("KEY", "nvidia")
    assert key_of("$KEY", {"KEY": "of the mounts file"}) == "of the mounts file"


def test_a_variable_that_is_not_set_is_an_error_and_an_empty_one_a_warning(monkeypatch, caplog):
    monkeypatch.delenv("SECRET_NAME", raising=False)
    with pytest.raises(UsageError, match="-k names a variable that is not set") as error:
        key_of("$SECRET_NAME")
    assert "SECRET_NAME" not in str(error.value)
    for empty in ("", "$SECRET_NAME"):
        monkeypatch.setenv("SECRET_NAME", "")
        assert key_of(empty) == ""
    assert [r.message for r in caplog.records] == ["The key of -k is empty, so nothing will be encrypted."] * 2
