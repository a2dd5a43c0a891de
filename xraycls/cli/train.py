"""`xraycls train`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xraycls.cli.abbreviations import normalised
from xraycls.cli.options import (
    DaliOption,
    DeviceOption,
    JsonOption,
    LoaderOption,
    PrecisionOption,
    ThreadsOption,
    chosen_loader,
)
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions
from xraycls.errors import UsageError

_DATA, _MODEL, _FIT, _STOP, _MACHINE = "Data", "Model", "Optimisation", "Stopping and resuming", "Machine"
# Parameters of the command that are not settings of the run.
_NOT_SETTINGS = {"output", "resume", "config", "colab", "dali", "as_json"}


@reads_data
def train(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Image folder, CSV, prepared data or .npz; synthetic phantoms when omitted.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that a CSV's paths start from.", rich_help_panel=_DATA)
    ] = None,
    val_fraction: Annotated[
        float, typer.Option(help="Share drawn for validation where none is given.", rich_help_panel=_DATA)
    ] = 0.15,
    test_fraction: Annotated[
        float, typer.Option(help="Share drawn for the test where none is given.", rich_help_panel=_DATA)
    ] = 0.15,
    redraw_val: Annotated[
        bool, typer.Option("--redraw-val", help="Draw validation anew, by patient.", rich_help_panel=_DATA)
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at files that can't be read.", rich_help_panel=_DATA)
    ] = False,
    augment: Annotated[
        str, typer.Option(help="radiograph, classic2021 or none.", rich_help_panel=_DATA)
    ] = "radiograph",
    balance: Annotated[
        bool, typer.Option("--balance", help="Draw every class equally often.", rich_help_panel=_DATA)
    ] = False,
    base_model: Annotated[
        str, typer.Option(help="See [bold]xraycls models[/bold]; any timm net as timm:NAME.", rich_help_panel=_MODEL)
    ] = "resnet18",
    weights: Annotated[
        str, typer.Option(help="imagenet, none, or a file (.pth, .safetensors).", rich_help_panel=_MODEL)
    ] = "imagenet",
    freeze: Annotated[
        str, typer.Option(help="backbone, none, or a number of stages.", rich_help_panel=_MODEL)
    ] = "none",
    size: Annotated[
        int | None, typer.Option(help="Side of the input, pixels; the model's own by default.", rich_help_panel=_MODEL)
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Of the features in front of the head.", rich_help_panel=_MODEL)
    ] = None,
    epochs: Annotated[int, typer.Option(help="At most this many.", rich_help_panel=_FIT)] = 30,
    batch_size: Annotated[int, typer.Option(help="Images a process and batch.", rich_help_panel=_FIT)] = 32,
    optimizer: Annotated[
        str, typer.Option(help="adam, adamw, adamax, sgd, rmsprop, adagrad, adadelta.", rich_help_panel=_FIT)
    ] = "adamw",
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", "--lr", help="At its peak.", rich_help_panel=_FIT)
    ] = 3e-4,
    weight_decay: Annotated[float, typer.Option(help="Not of biases and norms.", rich_help_panel=_FIT)] = 0.01,
    schedule: Annotated[str, typer.Option(help="cosine, constant, step or plateau.", rich_help_panel=_FIT)] = "cosine",
    warmup_epochs: Annotated[float, typer.Option(help="Linear warm-up.", rich_help_panel=_FIT)] = 1.0,
    step_epochs: Annotated[int, typer.Option(help="Length of a step of --schedule step.", rich_help_panel=_FIT)] = 10,
    step_factor: Annotated[float, typer.Option(help="Factor a step or plateau.", rich_help_panel=_FIT)] = 0.1,
    label_smoothing: Annotated[float, typer.Option(help="0 to below 1.", rich_help_panel=_FIT)] = 0.0,
    class_weights: Annotated[
        str, typer.Option(help="none, or balanced: rare classes count more.", rich_help_panel=_FIT)
    ] = "none",
    clip_norm: Annotated[float | None, typer.Option(help="Largest gradient norm.", rich_help_panel=_FIT)] = None,
    accumulate: Annotated[int, typer.Option(help="Batches an optimiser step.", rich_help_panel=_FIT)] = 1,
    ema: Annotated[
        float | None, typer.Option(help="Decay of averaged weights, such as 0.999.", rich_help_panel=_FIT)
    ] = None,
    patience: Annotated[int, typer.Option(help="Epochs without improvement.", rich_help_panel=_STOP)] = 4,
    min_delta: Annotated[float, typer.Option(help="What counts as improvement.", rich_help_panel=_STOP)] = 0.0,
    monitor: Annotated[
        str, typer.Option(help="loss, auroc, accuracy, balanced_accuracy, f1, …", rich_help_panel=_STOP)
    ] = "loss",
    threshold: Annotated[
        str,
        typer.Option(help="youden, f1, accuracy, sensitivity=0.95, …; chosen on validation.", rich_help_panel=_STOP),
    ] = "youden",
    resume: Annotated[
        str | None, typer.Option(metavar="auto|RUN", help="Go on with an interrupted run.", rich_help_panel=_STOP)
    ] = None,
    save_minutes: Annotated[float, typer.Option(help="Save within an epoch this often.", rich_help_panel=_STOP)] = 10.0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; runs/<model>-<date> by default.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="config.yaml of a run; flags given here win.")] = None,
    colab: Annotated[bool, typer.Option("--colab", help="Write below the mounted Google Drive.")] = False,
    precision: PrecisionOption = "auto",
    channels_last: Annotated[bool, typer.Option(help="Memory format.", rich_help_panel=_MACHINE)] = True,
    compile: Annotated[  # noqa: A002
        bool, typer.Option("--compile", help="torch.compile the step.", rich_help_panel=_MACHINE)
    ] = False,
    device: DeviceOption = "auto",
    gpus: Annotated[int, typer.Option(help="Processes, one a GPU.", rich_help_panel=_MACHINE)] = 1,
    loader: LoaderOption = "auto",
    dali: DaliOption = False,
    threads: ThreadsOption = None,
    seed: Annotated[int, typer.Option(help="Of weights, order, views and splits.", rich_help_panel=_MACHINE)] = 0,
    as_json: JsonOption = False,
    *,
    options: ReadOptions,  # settings of the run, taken from the context as all others
) -> None:
    """Train a classifier and stop early when validation no longer improves.

    Everything lands in a run folder: weights, settings, metrics, TensorBoard events.
    """
    settings = _settings(context, config)
    if dali:
        settings["loader"] = chosen_loader(loader, dali)
    if colab:
        output = _on_drive(output, resume, base_model)
    if settings.get("gpus", 1) > 1 and "WORLD_SIZE" not in os.environ:
        sys.exit(_launch(settings, output, resume, base_model))
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
    print(f"Next: xraycls test {result.run.path}")


def _settings(context: typer.Context, config: Path | None) -> dict[str, Any]:
    """What the user named: the settings of ``--config``, and over them the flags of the command line."""
    from xraycls.training.config import read_config

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
    from xraycls.training.config import parse_config
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
