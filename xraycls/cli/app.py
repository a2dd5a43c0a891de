"""The program `xraycls`: its verbs, and errors as one sentence."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from xraycls.cli.abbreviations import AbbreviatedCommand, normalised
from xraycls.cli.examples import add_examples
from xraycls.cli.invocation import Invocation, tell_error
from xraycls.cli.secrets import hide_keys
from xraycls.cli.terminal import PrintableGroup, standard_streams
from xraycls.data.processors import wait_passively
from xraycls.errors import XrayclsError, as_user_error
from xraycls.version import __version__

_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


@dataclass(frozen=True, slots=True)
class _Verb:
    """A verb of the program.

    Attributes:
        panel: of the help that it is listed in.
        module: of this package, which has a function of the same name, or ``app`` with verbs of its own.
        options: of typer.
        alone: whether it can do without the others, and doesn't wait for their imports.
    """

    panel: str | None
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = True


_VERBS = {
    "train": _Verb("Classifiers", "train"),
    "test": _Verb("Classifiers", "test"),
    "predict": _Verb("Classifiers", "predict"),
    "calibrate": _Verb("Classifiers", "calibrate"),
    "cam": _Verb("Classifiers", "cam"),
    "ensemble": _Verb("Classifiers", "ensemble"),
    "prune": _Verb("Classifiers", "prune", {"cls": AbbreviatedCommand}),
    "detector": _Verb("Detectors", "detector"),
    "unet": _Verb("Detectors", "unet"),
    "sweep": _Verb("Sweeps", "sweep", {"context_settings": _ANYTHING}, alone=False),
    "export": _Verb("Deployment", "export"),
    "models": _Verb("Information", "models"),
    "doctor": _Verb("Information", "doctor"),
    "bench": _Verb("Information", "bench"),
    "data": _Verb("Data", "data"),
    "dataset_convert": _Verb("TAO", "dataset_convert", {"cls": AbbreviatedCommand}),
    "convert-weights": _Verb("TAO", "convert_weights"),
    "dataset-convert": _Verb(None, "dataset_convert", {"cls": AbbreviatedCommand, "hidden": True}),
}


def program(only: str | None = None) -> typer.Typer:
    """Returns the program.

    Args:
        only: a verb of ``_VERBS`` to have alone: what the others import takes longer than a prediction. None for all.
    """
    made = typer.Typer(
        cls=PrintableGroup,
        help="Train, explain and ship chest-radiograph models.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, verb in _VERBS.items():
        if name == "dataset_convert" and only is None:  # TAO's verbs are listed after its networks
            from xraycls.cli.networks import add_networks

            add_networks(made, rich_help_panel="TAO")
        if only in (None, name):
            module = importlib.import_module(f"xraycls.cli.{verb.module}")
            if group := getattr(module, "app", None):
                made.add_typer(group, name=name, rich_help_panel=verb.panel, **verb.options)
            else:
                command = made.command(name, rich_help_panel=verb.panel, **verb.options)
                command(getattr(module, verb.module))
    add_examples(made)
    made.callback()(_options)
    return made


def __getattr__(name: str) -> typer.Typer:
    if name == "app":  # the whole program, which is built when somebody wants it
        globals()[name] = program()
        whole: typer.Typer = globals()[name]
        return whole
    raise AttributeError(name)


def _version(asked: bool) -> None:
    if asked:
        print(f"xraycls {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings, errors and results.")] = False,
) -> None:
    """These two are taken out by main, so that they may stand anywhere; here they are for --help."""


def _end_soon() -> None:
    """Let the interpreter end without looking through all objects once more, a sixth of a short program.

    Not where torch is: its compiler tells the user of every object that nothing has collected.
    """
    if "torch" not in sys.modules:
        gc.freeze()


def main(arguments: list[str] | None = None) -> None:
    """Run the program; exit code 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C."""
    hide_keys()
    wait_passively()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # it would read the metadata of every installed package
    atexit.register(_end_soon)
    given = normalised(sys.argv[1:] if arguments is None else arguments)
    call = Invocation(tuple(given), debug="--debug" in given)
    try:
        with standard_streams(quiet="--quiet" in given):
            _run(call, [a for a in given if a not in ("--debug", "--quiet")])
    except XrayclsError as error:  # of the streams themselves
        if call.debug:
            raise
        tell_error(error)
        sys.exit(error.exit_code)


def _run(call: Invocation, arguments: list[str]) -> None:
    verb = next((each for each in arguments if not each.startswith("-")), None)
    try:
        program(verb if verb in _VERBS and _VERBS[verb].alone else None)(arguments, prog_name="xraycls", obj=call)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        known = error if isinstance(error, XrayclsError) else as_user_error(error)
        if call.debug or known is None:
            raise
        tell_error(known)
        sys.exit(known.exit_code)
