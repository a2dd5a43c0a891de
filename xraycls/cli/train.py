"""`xraycls train`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import typer
from pydantic.fields import FieldInfo

from xraycls.cli.abbreviations import normalised
from xraycls.cli.options import DaliOption, JsonOption, chosen_loader
from xraycls.errors import UsageError
from xraycls.training.config import STOP, TrainConfig, parse_config, read_config

_FLAGS = {"learning_rate": ("--learning-rate", "--lr"), "class_map": ("--map",)}
# Parameters of the command that are not settings of the run.
_NOT_SETTINGS = {"source", "output", "resume", "config", "colab", "dali", "as_json"}


def _option(name: str, field: FieldInfo) -> Parameter:
    """The option of a setting."""
    flag = f"--{name.replace('_', '-')}"
    switch = field.annotation is bool and not field.default
    flags = _FLAGS.get(name, (flag,) if switch else ())
    kind = str if get_origin(field.annotation) is Literal else field.annotation
    extra = field.json_schema_extra
    group = extra.get("group") if isinstance(extra, dict) else None
    option = typer.Option(*flags, help=field.description, rich_help_panel=str(group))
    return Parameter(name, Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[kind, option])


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes an option for every field of TrainConfig in place of ``**settings``."""
    own = [p for p in signature(command, eval_str=True).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    options = [_option(name, field) for name, field in TrainConfig.model_fields.items()]
    parameters = [*own[:2], *options, *own[2:]]
    setattr(command, "__signature__", signature(command).replace(parameters=parameters))  # noqa: B010
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


@_with_settings
def train(
    context: typer.Context,
    source: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="The same as --data.", show_default=False)
    ] = None,
    *,
    resume: Annotated[
        str | None, typer.Option(metavar="auto|RUN", help="Go on with an interrupted run.", rich_help_panel=STOP)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; runs/<model>-<date> by default.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="config.yaml of a run; flags given here win.")] = None,
    colab: Annotated[bool, typer.Option("--colab", help="Write below the mounted Google Drive.")] = False,
    dali: DaliOption = False,
    as_json: JsonOption = False,
    **options: Any,
) -> None:
    """Train a classifier and stop early when validation no longer improves.

    Everything lands in a run folder: weights, settings, metrics, TensorBoard events.
    """
    settings = _settings(context, config)
    if source is not None:
        if context.params["data"] not in (None, source):
            raise UsageError(f"{source} and --data {context.params['data']} don't go together", "Leave out one of them")
        settings["data"] = source
    if dali:
        settings["loader"] = chosen_loader(options["loader"], dali)
    if colab:
        output = _on_drive(output, resume, options["base_model"])
    if settings.get("folds") is not None and settings.get("fold") is None:
        _train_folds(settings, output, resume, as_json=as_json)
        return
    if settings.get("gpus", 1) > 1 and "WORLD_SIZE" not in os.environ:
        sys.exit(_launch(settings, output, resume, options["base_model"]))
    from xraycls.progress import TrainingProgress
    from xraycls.workflows.train import train as train_classifier

    with TrainingProgress() as reporter:
        result = train_classifier(output=output, resume=resume, reporter=reporter, **settings)
    outcome = result.outcome
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        from xraycls.evaluation.report import without_nan

        facts = {"run": str(result.run.path), "best_epoch": outcome.best_epoch, "epochs": outcome.rows}
        print(json.dumps(without_nan(facts), allow_nan=False))
        return
    why = f"no improvement for {result.config.patience} epochs" if outcome.stopped_early else "all epochs done"
    print(
        f"Finished: {why}. Best epoch {outcome.best_epoch}: {result.config.monitor} {outcome.best:.4f} on validation."
    )
    print(f"Run folder: {result.run.path}")
    print(f"Next: {shlex.join(['xraycls', 'test', str(result.run.path)])}")


def _train_folds(settings: dict[str, Any], output: Path | None, resume: str | None, *, as_json: bool) -> None:
    """Train all folds, and print what they are worth together."""
    from xraycls.cli.test import print_test
    from xraycls.progress import TrainingProgress
    from xraycls.workflows.folds import train_folds

    with TrainingProgress() as reporter:
        result = train_folds(output=output, resume=resume, reporter=reporter, **settings)
    if as_json:
        print(
            json.dumps(
                {"runs": [str(each.run.path) for each in result.runs], **result.test.report.to_dict()}, allow_nan=False
            )
        )
        return
    for number, each in enumerate(result.runs, start=1):
        best = f"best epoch {each.outcome.best_epoch}, {each.config.monitor} {each.outcome.best:.4f} on validation"
        print(f"Fold {number}: {best}.")
    print("Every image as predicted by the run that was neither trained nor chosen with it:")
    print_test(result.test)
    print(f"Next, with all runs as one: {shlex.join(['xraycls', 'predict', str(result.folder)])} IMAGES")


def _settings(context: typer.Context, config: Path | None) -> dict[str, Any]:
    """What the user named: the settings of ``--config``, and over them the flags of the command line."""
    named = read_config(config) if config else {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if name not in _NOT_SETTINGS and source is not None and source.name != "DEFAULT":
            named[name] = value
    return named


def _on_drive(output: Path | None, resume: str | None, model: str) -> Path:
    """The run folder below the mounted Drive."""
    from xraycls.inference.load import runs_of
    from xraycls.training.run_folder import new_run
    from xraycls.workflows.colab import drive_runs

    runs = drive_runs()
    if output and output.is_absolute():
        raise UsageError("--colab chooses the folder, so --output must be a name and not a path from the root")
    if resume == "auto" and output is None:
        earlier = runs_of(model, runs)
        chosen = earlier[0].path if earlier else new_run(model, runs).path
    else:
        chosen = runs / output if output else new_run(model, runs).path
    typer.echo(f"Writing to {chosen} on your Drive.", err=True)
    return chosen


def _launch(settings: dict[str, Any], output: Path | None, resume: str | None, model: str) -> int:
    """Start the processes of --gpus, with names checked once and one output folder between them."""
    from xraycls.training.launch import launch
    from xraycls.training.run_folder import new_run
    from xraycls.workflows.settings import resolved

    config = resolved(parse_config(settings))
    arguments = [a for a in normalised(sys.argv[1:]) if a != "--colab"]
    if output is None and resume is None:
        output = new_run(model).path
    if output:
        arguments += ["--output", str(output)]  # of two the last one counts
    return launch(config.gpus, config.device, arguments)
