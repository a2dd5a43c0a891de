"""`xraycls unet …`: U-Net to boxes, with the flags of the pipeline for RSNA's challenge that it takes the place of."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.abbreviations import AbbreviatedCommand
from xraycls.cli.detector import KeyOption, ModelArgument, setting_of
from xraycls.cli.invocation import invocation_of
from xraycls.cli.networks.evaluate import print_figures
from xraycls.cli.options import DaliOption, DeviceOption, LoaderOption, PrecisionOption, ThreadsOption, chosen_loader
from xraycls.errors import UsageError

DATA, FIT = "Data", "Optimisation"

app = typer.Typer(help="U-Net to boxes: train, evaluate, predict.", no_args_is_help=True)


@app.command(cls=AbbreviatedCommand)
def train(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            help="Films and boxes in any format; with --labels the folder of the films.",
            rich_help_panel=DATA,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", "-l", help="Table of boxes, such as train.csv of data rsna-features.", rich_help_panel=DATA
        ),
    ] = None,
    val_fraction: Annotated[
        float | None, typer.Option(help="Share for validation, where the data have no split.", rich_help_panel=DATA)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "--save", help="Run folder; below runs/ by default.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Such as mobilenet_v2, resnet18, timm:NAME.")] = None,
    size: Annotated[int | None, typer.Option(min=32, help="Side of the input, pixels; 256 by default.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", "--checkpoint", help="A model or a classifier's weights to start from."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", "-e", min=1, rich_help_panel=FIT)] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "--bs", min=1, rich_help_panel=FIT)] = None,
    optimizer: Annotated[
        str | None,
        typer.Option("--optimizer", "-o", help="adam, adamw, adamax, sgd, adagrad, …", rich_help_panel=FIT),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", "--lr", rich_help_panel=FIT)] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", "--wd", rich_help_panel=FIT)] = None,
    momentum: Annotated[float | None, typer.Option("--momentum", "-m", help="Of sgd.", rich_help_panel=FIT)] = None,
    eps: Annotated[float | None, typer.Option("--eps", help="Of the Adam family.", rich_help_panel=FIT)] = None,
    seed: Annotated[int | None, typer.Option("--seed", "-s")] = None,
    train_threshold: Annotated[
        bool | None,
        typer.Option(
            "--train-threshold/--no-train-threshold",
            help="Choose thresholds on validation by RSNA's figure; done by default.",
        ),
    ] = None,
    box_threshold: Annotated[
        float | None, typer.Option("--box-threshold", "--bt", help="Probability from which a pixel belongs to a box.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a job: loop.ema=0.999.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --output.")] = False,
    key: KeyOption = "",
    gpus: Annotated[int, typer.Option(min=1, help="Processes, one a GPU.", rich_help_panel="Machine")] = 1,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    loader: LoaderOption = "auto",
    dali: DaliOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Train a U-Net on films with boxes; Ctrl-C saves the training, and --resume goes on with it.

    Thresholds are chosen on the validation films when the training ends, and stored with the weights.
    """
    if resume and output is None:
        raise UsageError("--resume needs the run folder to go on with", "Name it with --output")
    from xraycls.workflows.unet.settings import Asked, unet_job

    job = unet_job(
        Asked(
            data=data,
            labels=labels,
            val_fraction=val_fraction,
            backbone=backbone,
            size=size,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            momentum=momentum,
            eps=eps,
            seed=seed,
            train_threshold=train_threshold,
            box_threshold=box_threshold,
            weights=weights,
            settings=dict(map(setting_of, settings or ())),
        )
    )
    if gpus > 1 and "WORLD_SIZE" not in os.environ:
        from xraycls.training.launch import launch
        from xraycls.training.run_folder import new_run

        arguments = list(invocation_of(context).arguments)
        if output is None:
            arguments += ["--output", str(new_run(f"unet-{job.detector.backbone.replace(':', '-')}").path)]
        sys.exit(launch(gpus, device, arguments))
    from xraycls.progress import TrainingProgress
    from xraycls.workflows.detection.train import train_detector

    with TrainingProgress() as reporter:
        done = train_detector(
            job,
            output=output,
            resume=resume,
            key=key,
            device=device,
            precision=precision,
            loader=chosen_loader(loader, dali),
            threads=threads,
            reporter=reporter,
        )
    if os.environ.get("RANK", "0") != "0":
        return
    print(f"Finished {done.outcome.rows[-1]['epoch']:.0f} epochs; the best was {done.outcome.best_epoch}.")
    print(f"Run folder: {done.run.path}")
    print(f"Next: {shlex.join(['xraycls', 'unet', 'evaluate', str(done.run.path)])}{' -k KEY' * bool(key)}")


@app.command(cls=AbbreviatedCommand)
def evaluate(
    model: ModelArgument,
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", help="Films and boxes in any format; the run's validation films by default."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", "-l", help="Table of boxes; --data is then the folder of the films.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for evaluation.json; that of the model by default.")
    ] = None,
    key: KeyOption = "",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    loader: LoaderOption = "auto",
    dali: DaliOption = False,
    threads: ThreadsOption = None,
) -> None:
    """RSNA's figure of a U-Net, average precision and the other figures of the field."""
    from xraycls.evaluation.detection.printed import average_precision_block
    from xraycls.progress import counting
    from xraycls.workflows.detection.choose import nested_of
    from xraycls.workflows.detection.evaluate import evaluate_detector

    with counting("finding objects") as progress:
        done = evaluate_detector(
            model,
            labels or data,
            images=data if labels else None,
            key=key,
            results=output,
            device=device,
            precision=precision,
            loader=chosen_loader(loader, dali),
            threads=threads,
            progress=progress,
        )
    report = done.report
    print(average_precision_block(done.average))
    print_figures(report)
    if (data or labels) is None and (nested := nested_of(model)):
        print(f"RSNA's figure in this table is of the films that chose the score. {nested}")
    rsna = report.figures["rsna"].value if report.rsna_images else 0.0
    print(f"Total Average Precision: {rsna * report.rsna_images / report.images:.4f}")
    print(f"Wrote {', '.join(map(str, done.files))}.")
