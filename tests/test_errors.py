"""Errors that a user reads."""

import inspect
import pickle
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import xraycls
from xraycls.cli import main
from xraycls.errors import DataError, MissingExtra, UsageError, XrayclsError, in_arguments, unknown
from xraycls.training.config import TrainConfig, TrainSettings


@pytest.mark.parametrize(
    "error",
    [
        XrayclsError("It failed", "Try again"),
        UsageError("--size 4 is too small"),
        DataError("a.png is empty", Path("a.png"), "Remove it"),
        MissingExtra("NVIDIA DALI", "dali"),
    ],
)
def test_errors_reach_another_process_whole(error):
    revived = pickle.loads(pickle.dumps(error))
    assert type(revived) is type(error)
    assert str(revived) == str(error)
    assert revived.__dict__ == error.__dict__
    assert revived.exit_code == error.exit_code


def test_an_error_is_a_sentence_and_its_way_out():
    assert str(XrayclsError("It failed.", "Try again")) == "It failed. Try again."
    assert str(MissingExtra("NVIDIA DALI", "dali")).endswith("Install it with: pip install 'nvidia-dali-cuda120>=2.0'.")
    assert "Did you mean resnet18?" in str(unknown("network", "resnet81", ["resnet18", "vgg16"]))
    assert "Unknown setting True" in str(unknown("setting", True, ["seed"]))  # YAML has keys that are no text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Lower --batch-size to at most 5.", "Lower batch_size to at most 5."),
        ("--batch-size 7 differs from 6", "batch_size=7 differs from 6"),
        ("use --precision fp32", "use precision=fp32"),
        ("Add --resume auto to go on", "Add resume=auto to go on"),
        ("Go on with --resume runs/a-1", "Go on with resume=runs/a-1"),
        ("Try --loader torch", "Try loader=torch"),
        ("Give the key that it was trained with: -k KEY", "Give the key that it was trained with: key"),
        ("Name another file with -o", "Name another file with output"),
        ("Decode it: tao model ssd prune -m a.tlt -k KEY -o b", "Decode it: tao model ssd prune -m a.tlt -k KEY -o b"),
        ("a file scan--x.png", "a file scan--x.png"),
        ("Start with: xraycls train --gpus 2", "Start with: xraycls train --gpus 2"),
        ("Use --gpus 1, or: xraycls train --gpus 2", "Use gpus=1, or: xraycls train --gpus 2"),
    ],
)
def test_flags_are_read_as_arguments_from_python(written, read):
    assert in_arguments(written) == read


def test_the_public_functions_speak_of_arguments_and_the_command_line_of_flags(capfd):
    with pytest.raises(UsageError, match=r"^batch_size should be greater than or equal to 1"):
        xraycls.train(batch_size=0)
    with pytest.raises(SystemExit):
        main(["train", "--batch-size", "0"])
    assert "--batch-size should be greater" in " ".join(capfd.readouterr().err.split())


def test_help_names_every_setting_of_a_training():
    arguments = inspect.signature(xraycls.train).parameters
    assert arguments.keys() >= TrainConfig.model_fields.keys()
    assert arguments["epochs"].default == TrainConfig.model_fields["epochs"].default
    assert all(f"{name}: " in xraycls.train.__doc__ for name in TrainConfig.model_fields)


def test_type_checkers_and_completion_know_every_setting_of_a_training():
    """The function names its settings by a TypedDict, whose types are those of the fields; a path may be a string."""
    named = get_type_hints(TrainSettings)
    fields = {name: field.annotation for name, field in TrainConfig.model_fields.items()}
    assert named == {name: kind | str if Path in get_args(kind) else kind for name, kind in fields.items()}
    hint = inspect.unwrap(xraycls.train).__annotations__["settings"]
    assert hint == "Unpack[TrainSettings]"


def test_the_command_line_has_an_option_for_every_setting(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    names = {*TrainConfig.model_fields, "map"} - {"class_map"}
    assert [name for name in names if f"--{name.replace('_', '-')[:20]}" not in shown] == []


def test_load_table_takes_a_string(tiny):
    assert len(xraycls.load_table(str(tiny))) == len(xraycls.load_table(tiny))
