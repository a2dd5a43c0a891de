"""`xraycls cam`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.options import (
    DeviceOption,
    JsonOption,
    KeepMasksOption,
    ModelArgument,
    PathsArgument,
    RuntimeOption,
)

_SHOWN = 10  # images told of; the rest is in the folder


def cam(
    run: ModelArgument,
    paths: PathsArgument,
    method: Annotated[str, typer.Option(help="gradcam, gradcam++, layercam, eigencam, scorecam, …")] = "gradcam",
    target: Annotated[
        str | None,
        typer.Option(
            "--target", "--finding", help="Class or finding to explain, or all; the predicted one by default."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path(),
    device: DeviceOption = "auto",
    keep_masks: KeepMasksOption = False,
    runtime: RuntimeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Show where a classifier looks: CAM_<Model>.jpg with the image, the overlay, the class and its probability.

    Further runs before the paths are members of an ensemble: the mean of all their maps and probabilities is shown.
    """
    from xraycls.data.files import readable_name, require_writable
    from xraycls.data.lettering import write_picture
    from xraycls.data.pictures import list_images
    from xraycls.errors import shown
    from xraycls.inference.choose import leading_models, open_classifiers
    from xraycls.progress import counting
    from xraycls.workflows.cam import cam_path, explain, explained_classes

    require_writable(output)
    others = leading_models(paths)
    trained = open_classifiers([run, *others], runtime=runtime, device=device)
    pictures = list_images(paths[len(others) :], keep_masks=keep_masks)
    every = len(explained_classes(trained.classes, target))
    samples = [sample for sample in pictures for _ in range(every)]
    failed, taken, rows = 0, set[Path](), list[dict[str, object]]()
    with counting("explaining") as progress:
        found = explain(trained, pictures, method=method, target=target)
        for done, (sample, e) in enumerate(zip(samples, found, strict=True), start=1):
            path = None
            if e.picture is None:
                failed += 1
                typer.echo(e.error, err=True)
            else:
                name = trained.network
                told = e.class_name if every > 1 else ""
                path = cam_path(name, sample, output, alone=len(pictures) == 1, taken=taken, class_name=told)
                write_picture(e.picture, path)
                if done <= _SHOWN and not as_json:
                    decided = "" if target else trained.at_threshold()
                    print(shown(f"{e.name}: {e.class_name}{decided}: {e.probability:.3f} → {path}"))
            rows.append(
                {
                    "name": readable_name(e.name),
                    "class": e.class_name or None,
                    "probability": None if path is None else e.probability,
                    "picture": None if path is None else str(path),
                    "error": e.error,
                }
            )
            progress(done, len(samples))
    if as_json:
        print(json.dumps({"threshold": trained.threshold, "method": method, "images": rows}))
    elif len(taken) > _SHOWN:
        print(f"{len(taken)} pictures are in {output}.")
    if failed:
        typer.echo(f"{failed} of {len(samples)} images could not be read.", err=True)
        raise typer.Exit(1)
