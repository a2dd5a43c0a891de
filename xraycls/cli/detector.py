"""`xraycls detector …`: detectors from a YAML file, without a spec of TAO."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xraycls.cli.abbreviations import AbbreviatedCommand
from xraycls.cli.invocation import invocation_of
from xraycls.cli.networks.evaluate import print_figures
from xraycls.cli.options import (
    BatchOption,
    CacheOption,
    DeviceOption,
    KeyOption,
    LoaderOption,
    PrecisionOption,
    RuntimeOption,
    ThreadsOption,
)
from xraycls.cli.pruning_options import (
    CriterionOption,
    FewestOption,
    GranularityOption,
    NormalizerOption,
    ThresholdOption,
)
from xraycls.data.documents import parse_yaml
from xraycls.errors import UsageError

if TYPE_CHECKING:
    from xraycls.training.job import DetectionJob

ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A run folder, a detector's file, or an exported folder.")
]

app = typer.Typer(help="Detectors: train from YAML, evaluate, find objects, prune.", no_args_is_help=True)


@app.command(cls=AbbreviatedCommand)
def train(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file of the job, such as config.yaml of a run.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Pictures and boxes in any format, in place of the file's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting in place of the file's: loop.epochs=40."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; runs/<network>-<backbone>-<date> by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training in --output.")] = False,
    key: KeyOption = "",
    gpus: Annotated[int, typer.Option(min=1, help="Processes, one a GPU.", rich_help_panel="Machine")] = 1,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    loader: LoaderOption = "auto",
    threads: ThreadsOption = None,
    cache: CacheOption = "auto",
) -> None:
    """Train a detector; Ctrl-C saves the training, and --resume goes on with it.

    Weights, settings, metrics and TensorBoard events land in a run folder.
    """
    if resume and output is None:
        raise UsageError("--resume needs the run folder to go on with", "Name it with --output")
    job = _job(config, data, settings or ())
    if gpus > 1 and "WORLD_SIZE" not in os.environ:
        sys.exit(_launch(context, job, gpus, device, output))
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
            loader=loader,
            threads=threads,
            cache=cache,
            reporter=reporter,
        )
    if os.environ.get("RANK", "0") != "0":
        return
    outcome = done.outcome
    early = ", since it no longer improves" if outcome.stopped_early else ""
    print(f"Finished {outcome.rows[-1]['epoch']:.0f} epochs{early}; the best was {outcome.best_epoch}.")
    print(f"Run folder: {done.run.path}")
    print(f"Next: {shlex.join(['xraycls', 'detector', 'evaluate', str(done.run.path)])}{' -k KEY' * bool(key)}")


@app.command(cls=AbbreviatedCommand)
def evaluate(
    model: ModelArgument,
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", help="Pictures and boxes in any format; the run's validation images by default."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures, where it isn't beside the labels.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for evaluation.json; that of the model by default.")
    ] = None,
    key: KeyOption = "",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    loader: LoaderOption = "auto",
    threads: ThreadsOption = None,
    runtime: RuntimeOption = "auto",
) -> None:
    """Average precision of a detector and the other figures of the field."""
    from xraycls.evaluation.detection.printed import average_precision_block
    from xraycls.progress import counting
    from xraycls.workflows.detection.evaluate import evaluate_detector

    with counting("finding objects") as progress:
        done = evaluate_detector(
            model,
            data,
            images=images,
            key=key,
            results=output,
            device=device,
            precision=precision,
            loader=loader,
            threads=threads,
            runtime=runtime,
            progress=progress,
        )
    print(average_precision_block(done.average))
    print_figures(done.report)
    print(f"Wrote {', '.join(map(str, done.files))}.")


@app.command(cls=AbbreviatedCommand)
def detect(
    model: ModelArgument,
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A picture, or a folder of pictures.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for images_annotated and KITTI labels.")
    ] = Path("detections"),
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", "-t", help="What an object must score; what validation chose by default, else 0.3."
        ),
    ] = None,
    key: KeyOption = "",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: BatchOption = 8,
    loader: LoaderOption = "auto",
    threads: ThreadsOption = None,
    runtime: RuntimeOption = "auto",
) -> None:
    """Find objects in pictures: a KITTI label file and an annotated copy of each."""
    from xraycls.progress import counting
    from xraycls.workflows.detection.evaluate import model_of
    from xraycls.workflows.detection.inference import ANNOTATED, LABELS, infer

    with counting("finding objects") as progress:
        done = infer(
            model_of(model),
            images,
            annotated=output / ANNOTATED,
            labels=output / LABELS,
            threshold=threshold,
            key=key,
            batch_size=batch_size,
            device=device,
            precision=precision,
            loader=loader,
            threads=threads,
            runtime=runtime,
            progress=progress,
        )
    print(f"Found {done.objects:,} objects in {done.images:,} images. Wrote {' and '.join(map(str, done.folders))}.")
    if done.failures:
        total = done.images + len(done.failures)
        typer.echo(f"{len(done.failures):,} of {total:,} images could not be read.", err=True)
        raise typer.Exit(1)


@app.command(cls=AbbreviatedCommand)
def prune(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    key: KeyOption = "",
    normalizer: NormalizerOption = "max",
    criterion: CriterionOption = "union",
    granularity: GranularityOption = 8,
    threshold: ThresholdOption = 0.1,
    min_filters: FewestOption = 16,
    excluded: Annotated[
        list[str] | None, typer.Option("--excluded-layers", "-el", metavar="LAYER", help="A layer to keep whole.")
    ] = None,
) -> None:
    """Remove the filters of a detector that matter least; then train it again with --set weights=FILE."""
    from xraycls.workflows.detection.evaluate import model_of
    from xraycls.workflows.detection.prune import prune_detector

    path, report = prune_detector(
        model_of(model),
        output,
        key=key,
        normalizer=normalizer,
        criterion=criterion,
        threshold=threshold,
        granularity=granularity,
        min_filters=min_filters,
        excluded=excluded or (),
    )
    print(f"Pruning ratio (pruned model / original model): {report.ratio}")
    print(f"Parameters: {report.before:,} before, {report.after:,} after. Wrote {path}.")


def _job(config: Path | None, data: str | None, settings: list[str] | tuple[str, ...]) -> DetectionJob:
    """The job of a file and of the settings that take the place of its own; paths among these start from here."""
    from xraycls.data.plain import with_fields
    from xraycls.training.job import DetectionJob

    changes = dict(map(setting_of, settings))
    if config is None:
        given = {} if data is None else {"data": data}
        return DetectionJob.parse(with_fields(given, changes), "the command line")
    if data is not None:
        changes["data"] = str(Path.cwd() / data)
    if isinstance(weights := changes.get("weights"), str):
        changes["weights"] = str(Path.cwd() / weights)
    return DetectionJob.read(config, changes)


def setting_of(text: str) -> tuple[str, Any]:
    """Name and value of ``--set``, which is read as YAML."""
    name, equals, value = text.partition("=")
    try:
        return (name.strip(), parse_yaml(value)) if equals and name.strip() else _refuse(text)
    except ValueError:
        return _refuse(text)


def _refuse(text: str) -> tuple[str, Any]:
    raise UsageError(
        f"--set {text} is no setting", "Write it as --set loop.epochs=40; lists as --set 'freeze_blocks=[0, 1]'"
    )


def _launch(context: typer.Context, job: DetectionJob, gpus: int, device: str, output: Path | None) -> int:
    """Start the processes of --gpus, with one run folder between them."""
    from xraycls.training.launch import launch
    from xraycls.training.run_folder import new_run

    arguments = list(invocation_of(context).arguments)
    if output is None:
        arguments += ["--output", str(new_run(f"{job.detector.network}-{job.detector.backbone}").path)]
    return launch(gpus, device, arguments)
