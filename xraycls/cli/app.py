"""The program `xraycls`: its verbs, and errors as one sentence."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from xraycls.cli import (
    bench,
    calibrate,
    cam,
    convert_weights,
    data,
    dataset_convert,
    detector,
    doctor,
    ensemble,
    export,
    models,
    predict,
    prune,
    sweep,
    test,
    train,
    unet,
)
from xraycls.cli.abbreviations import AbbreviatedCommand, normalised
from xraycls.cli.examples import add_examples
from xraycls.cli.invocation import Invocation, tell_error
from xraycls.cli.networks import add_networks
from xraycls.cli.secrets import hide_keys
from xraycls.cli.terminal import PrintableGroup, standard_streams
from xraycls.data.processors import wait_passively
from xraycls.errors import XrayclsError, as_user_error
from xraycls.version import __version__

app = typer.Typer(
    cls=PrintableGroup,
    help="Train, explain and ship chest-radiograph models.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train", rich_help_panel="Classifiers")(train.train)
app.command("test", rich_help_panel="Classifiers")(test.test)
app.command("predict", rich_help_panel="Classifiers")(predict.predict)
app.command("calibrate", rich_help_panel="Classifiers")(calibrate.calibrate)
app.command("cam", rich_help_panel="Classifiers")(cam.cam)
app.command("ensemble", rich_help_panel="Classifiers")(ensemble.ensemble)
app.command("prune", cls=AbbreviatedCommand, rich_help_panel="Classifiers")(prune.prune)
app.add_typer(detector.app, name="detector", rich_help_panel="Detectors")
app.add_typer(unet.app, name="unet", rich_help_panel="Detectors")
app.command(
    "sweep",
    rich_help_panel="Sweeps",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(sweep.sweep)
app.command("export", rich_help_panel="Deployment")(export.export)
app.command("models", rich_help_panel="Information")(models.models)
app.command("doctor", rich_help_panel="Information")(doctor.doctor)
app.add_typer(bench.app, name="bench", rich_help_panel="Information")
app.add_typer(data.app, name="data", rich_help_panel="Data")
add_networks(app, rich_help_panel="TAO")
app.command("dataset_convert", cls=AbbreviatedCommand, rich_help_panel="TAO")(dataset_convert.dataset_convert)
app.command("convert-weights", rich_help_panel="TAO")(convert_weights.convert_weights)
app.command("dataset-convert", cls=AbbreviatedCommand, hidden=True)(dataset_convert.dataset_convert)
add_examples(app)


def _version(asked: bool) -> None:
    if asked:
        print(f"xraycls {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings, errors and results.")] = False,
) -> None:
    """These two are taken out by main, so that they may stand anywhere; here they are for --help."""


def main(arguments: list[str] | None = None) -> None:
    """Run the program; exit code 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C."""
    hide_keys()
    wait_passively()
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
    try:
        app(arguments, prog_name="xraycls", obj=call)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        known = error if isinstance(error, XrayclsError) else as_user_error(error)
        if call.debug or known is None:
            raise
        tell_error(known)
        sys.exit(known.exit_code)
