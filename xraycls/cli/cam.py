"""`xraycls cam`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.options import DeviceOption, ModelArgument, PathsArgument


def cam(
    run: ModelArgument,
    paths: PathsArgument,
    method: Annotated[str, typer.Option(help="gradcam, gradcam++, layercam, eigencam, scorecam, …")] = "gradcam",
    target: Annotated[str | None, typer.Option(help="Class to explain; the predicted one by default.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path(),
    device: DeviceOption = "auto",
) -> None:
    """Show where a classifier looks: CAM_<Model>.jpg with the image, the overlay, the class and its probability."""
    from xraycls.progress import counting
    from xraycls.workflows.cam import cam as explain
    from xraycls.workflows.cam import write_cams

    with counting("explaining") as progress:
        explanations, trained = explain(run, paths, method=method, target=target, device=device, progress=progress)
    files = iter(write_cams(explanations, trained.classifier.architecture.name, output))
    failed = 0
    for e in explanations:
        if e.error is not None:
            failed += 1
            typer.echo(e.error, err=True)
        else:
            print(f"{e.name}: {e.class_name} {e.probability:.3f} → {next(files)}")
    if failed:
        typer.echo(f"{failed} of {len(explanations)} images could not be read.", err=True)
        raise typer.Exit(1)
