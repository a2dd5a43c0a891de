"""`xraycls unet …`: U-Net to boxes, with the flags of the pipeline for RSNA's challenge that it takes the place of."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xraycls.cli.abbreviations import AbbreviatedCommand
from xraycls.cli.detector import ModelArgument, setting_of
from xraycls.cli.invocation import invocation_of
from xraycls.cli.networks.evaluate import print_figures
from xraycls.cli.options import (
    CacheOption,
    DaliOption,
    DeviceOption,
    KeyOption,
    LoaderOption,
    PrecisionOption,
    RuntimeOption,
    ThreadsOption,
    chosen_loader,
)
from xraycls.errors import UsageError

if TYPE_CHECKING:
    from xraycls.training.job import DetectionJob

DATA, FIT, ORIGINAL = "Data", "Optimisation", "Original recipe"

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
    recipe: Annotated[
        Literal["modern", "original"], typer.Option(help="modern, or original: the network and rates of 2018.")
    ] = "modern",
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
    bn_momentum: Annotated[float | None, typer.Option(rich_help_panel=ORIGINAL)] = None,
    bn_eps: Annotated[float | None, typer.Option(rich_help_panel=ORIGINAL)] = None,
    alpha_leaky: Annotated[
        float | None, typer.Option("--alpha-leaky", "--al", help="Slope of LeakyReLU.", rich_help_panel=ORIGINAL)
    ] = None,
    rescale_factor: Annotated[
        int | None,
        typer.Option("--rescale-factor", "--rf", min=1, help="1024 through the side.", rich_help_panel=ORIGINAL),
    ] = None,
    learning_rate_decay: Annotated[
        float | None,
        typer.Option("--learning-rate-decay", "--lrd", help="Of adagrad.", rich_help_panel=ORIGINAL),
    ] = None,
    save_images: Annotated[
        bool | None,
        typer.Option(
            "--save-images/--no-save-images", help="Pictures of the validation films; the original saves them."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a job: loop.ema=0.999.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Train a run a fold, by patient, and pool their figures.", rich_help_panel=DATA),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --output.")] = False,
    key: KeyOption = "",
    gpus: Annotated[int, typer.Option(min=1, help="Processes, one a GPU.", rich_help_panel="Machine")] = 1,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    loader: LoaderOption = "auto",
    dali: DaliOption = False,
    threads: ThreadsOption = None,
    cache: CacheOption = "auto",
) -> None:
    """Train a U-Net on films with boxes; Ctrl-C saves the training, and --resume goes on with it.

    Thresholds are chosen on the validation films when the training ends, and stored with the weights.
    """
    if resume and output is None:
        raise UsageError("--resume needs the run folder to go on with", "Name it with --output")
    if folds and gpus > 1:
        raise UsageError(
            f"--folds trains one fold after the other on one GPU, and --gpus {gpus} asks for more",
            "Train them side by side, a GPU each: xraycls sweep unet … "
            f"--set data.folds={folds} --over data.fold={','.join(map(str, range(folds)))} --workers {gpus}",
        )
    from xraycls.workflows.unet.settings import MENDED, Asked, original_job, unet_job

    job = (original_job if recipe == "original" else unet_job)(
        Asked(
            data=data or from_environment("TRAINML_DATA_PATH", "stage_2_train_images"),
            labels=labels or (None if data else from_environment("TRAINML_MODEL_PATH", "train.csv")),
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
            bn_momentum=bn_momentum,
            bn_eps=bn_eps,
            alpha_leaky=alpha_leaky,
            rescale_factor=rescale_factor,
            learning_rate_decay=learning_rate_decay,
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
    from xraycls.workflows.unet.ending import finish

    output = output or from_environment("TRAINML_OUTPUT_PATH", "")
    if recipe == "original" and os.environ.get("RANK", "0") == "0":
        print(MENDED)
    if folds:
        from xraycls.training.run_folder import new_run

        where = output or new_run(job.detector.network).path
        how = {"key": key, "device": device, "precision": precision, "threads": threads, "cache": cache}
        how["loader"] = chosen_loader(loader, dali)
        _cross_validate(job, folds, where, how)
        return
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
            cache=cache,
            reporter=reporter,
        )
    if os.environ.get("RANK", "0") != "0":
        return
    drawn = recipe == "original" if save_images is None else save_images
    for line in finish(done, pictures=drawn, key=key, device=device, threads=threads):
        print(line)
    print(f"Finished {done.outcome.rows[-1]['epoch']:.0f} epochs; the best was {done.outcome.best_epoch}.")
    print(f"Run folder: {done.run.path}")
    print(f"Next: {shlex.join(['xraycls', 'unet', 'evaluate', str(done.run.path)])}{' -k KEY' * bool(key)}")


def _cross_validate(job: DetectionJob, folds: int, output: Path, how: dict[str, Any]) -> None:
    """Train all folds and print their figures together."""
    from xraycls.evaluation.summary import format_estimate
    from xraycls.progress import TrainingProgress
    from xraycls.workflows.unet.folds import pool_folds, train_folds, write_pooled

    with TrainingProgress() as reporter:
        runs = train_folds(job, folds, output, reporter=reporter, **how)
    if os.environ.get("RANK", "0") != "0":
        return
    pooled = pool_folds(runs, **how)
    print_figures(pooled.report)
    if pooled.point:
        print(
            f"RSNA's figure is {format_estimate(pooled.point.nested)} where each quarter of the patients is judged by "
            f"the score that the others choose; all together choose {pooled.point.score:g}."
        )
    print(f"Run folders: {', '.join(str(run.path) for run in runs)}. Wrote {write_pooled(pooled, output)}.")
    print(f"Next: {shlex.join(['xraycls', 'unet', 'predict', *(str(run.path) for run in runs)])} --data FILMS")


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
    from xraycls.workflows.unet.ending import total_average_precision

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
    print(f"Total Average Precision: {total_average_precision(report):.4f}")
    print(f"Wrote {', '.join(map(str, done.files))}.")


@app.command(cls=AbbreviatedCommand)
def predict(
    models: Annotated[
        list[Path] | None, typer.Argument(metavar="MODEL…", help="Run folders or files; several are fused.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="A film, or a folder of films.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A model, such as final.pth.tar.")] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Folder for all that is written.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", "-l", help="Data with the true boxes: they are drawn, too.")
    ] = None,
    annotations: Annotated[
        Literal["plain", "original"], typer.Option(help="Of annotations.json; original is the challenge's string.")
    ] = "plain",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", "-t", help="Score of a reported box; what validation chose by default."),
    ] = None,
    save_images: Annotated[bool, typer.Option("--save-images/--no-save-images", help="Write pictures.")] = True,
    batch_size: Annotated[int, typer.Option("--batch-size", "--bs", min=1, rich_help_panel="Machine")] = 10,
    rescale_factor: Annotated[int | None, typer.Option("--rescale-factor", "--rf", hidden=True)] = None,
    key: KeyOption = "",
    runtime: RuntimeOption = "auto",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    loader: LoaderOption = "auto",
    dali: DaliOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Find boxes in films: annotations.json, submission.csv, KITTI labels, COCO results and pictures."""
    from xraycls.progress import counting
    from xraycls.workflows.unet.predict import predict_boxes

    named = [*(models or ()), *([model] if model else ())]
    if not named and (own := from_environment("TRAINML_MODEL_PATH", "final.pth.tar")):
        named = [own]
    films = data or from_environment("TRAINML_DATA_PATH", "")
    folder = output or from_environment("TRAINML_OUTPUT_PATH", "") or Path("boxes")
    if rescale_factor is not None:
        typer.echo("--rescale-factor plays no part here: the size of a model's input travels with it.", err=True)
    if films is None:
        raise UsageError("Nothing says which films to look at", "Name them with --data")
    with counting("finding objects") as progress:
        done = predict_boxes(
            named,
            films,
            folder,
            labels=labels,
            annotations=annotations,
            pictures=save_images,
            threshold=threshold,
            key=key,
            batch_size=batch_size,
            runtime=runtime,
            device=device,
            precision=precision,
            loader=chosen_loader(loader, dali),
            threads=threads,
            progress=progress,
        )
    count = sum(len(found) for found in done.detections.values())
    print(f"Found {count:,} boxes in {len(done.detections):,} films. Wrote {folder}.")
    if done.failures:
        total = len(done.detections) + len(done.failures)
        typer.echo(f"{len(done.failures):,} of {total:,} films could not be read.", err=True)
        raise typer.Exit(1)


def from_environment(variable: str, name: str) -> Path | None:
    """The path below a folder that a variable of the environment names, where it is set."""
    return Path(os.environ[variable]) / name if os.environ.get(variable) else None
