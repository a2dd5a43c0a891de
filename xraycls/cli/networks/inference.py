"""`xraycls ssd inference` and its like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.options import DeviceOption, LoaderOption, PrecisionOption, RuntimeOption, ThreadsOption
from xraycls.cli.secrets import key_of
from xraycls.cli.tao_command import program_of, say_ignored
from xraycls.cli.tao_options import KeyOption, MountOption, OptionalModelOption
from xraycls.errors import UsageError


def inference(
    context: typer.Context,
    model: OptionalModelOption,
    images: Annotated[
        str | None, typer.Option("--image-dir", "-i", "--in-image-path", help="A picture or a folder, also DICOM.")
    ],
    spec: Annotated[
        str | None,
        typer.Option(
            "--experiment-spec",
            "-e",
            "--experiment-spec-file",
            help="Text spec, whose nms_config then replaces that of the training.",
        ),
    ] = None,
    key: KeyOption = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", "-t", "--draw-conf-thres", "--min-score", help="What an object must score: 0.3."),
    ] = None,
    results_dir: Annotated[
        str | None, typer.Option("--results-dir", "-r", help="Folder for images_annotated, labels and status.json.")
    ] = None,
    annotated: Annotated[
        str | None, typer.Option("--out-image-path", "-o", help="Folder for annotated pictures, as in TLT.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--out-label-path", "-l", help="Folder for KITTI labels, as in TLT.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b", min=1, help="Images at a time: 8.")] = None,
    mount: MountOption = None,
    runtime: RuntimeOption = "auto",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    loader: LoaderOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Find objects in pictures: a KITTI label file and an annotated copy of each."""
    from xraycls.progress import counting
    from xraycls.tao.mounts import read_mounts
    from xraycls.tao.networks import network_of
    from xraycls.workflows.detection.inference import infer, plan_of

    say_ignored(context, "gpus", "use_amp")
    mounts = read_mounts(mount or ())
    network = network_of(program_of(context))

    def path(text: str | None) -> Path | None:
        return None if text is None else mounts.path(text)

    plan, spec_key = plan_of(network, path(spec), mounts)
    detector, pictures = path(model) or plan.model, path(images) or plan.images
    if detector is None or pictures is None:
        what = "-m, the model" if detector is None else "-i, the images"
        raise UsageError(f"Nothing names {what}", "Give it, or a spec that does with -e")
    with counting("finding objects") as progress:
        done = infer(
            detector,
            pictures,
            path(results_dir),
            annotated=path(annotated) or plan.annotated,
            labels=path(labels) or plan.labels,
            spec=path(spec),
            threshold=plan.threshold if threshold is None else threshold,
            captions=plan.captions,
            key=key_of(key, mounts.variables) or spec_key,
            batch_size=batch_size or plan.batch_size,
            title=network.title,
            device=device,
            precision=precision,
            loader=loader,
            threads=threads,
            runtime=runtime,
            progress=progress,
        )
    print(f"Found {done.objects:,} objects in {done.images:,} images. Wrote {' and '.join(map(str, done.folders))}.")
    if done.failures:
        typer.echo(
            f"{len(done.failures):,} of {done.images + len(done.failures):,} images could not be read.", err=True
        )
        raise typer.Exit(1)
