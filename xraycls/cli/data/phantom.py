"""`xraycls data phantom`: draw synthetic radiographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def phantom(
    folder: Annotated[Path, typer.Argument(help="Where to write.")],
    number: Annotated[int, typer.Option("--number", "-n", min=6, help="How many.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other patients.")] = 0,
    size: Annotated[int, typer.Option(min=64, max=8192, help="Mean width, pixels.")] = 512,
    layout: Annotated[
        str, typer.Option(help="folder, or as a public set: siim, rsna, nih, coronahack, kermany.")
    ] = "folder",
    findings: Annotated[
        int, typer.Option(min=0, max=5, help="Kinds of findings, several an image, with --layout nih.")
    ] = 0,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM files as well.")] = False,
    images: Annotated[int | None, typer.Option(min=6, hidden=True, help="The earlier name of --number.")] = None,
) -> None:
    """Draw synthetic chest radiographs: an image folder, boxes as KITTI, and DICOM on request.

    Other layouts have the folders, file formats and tables of public data sets.
    """
    from xraycls.data.phantom import write_phantom
    from xraycls.progress import counting

    with counting("drawing") as progress:
        table = write_phantom(
            folder,
            images=images or number,
            seed=seed,
            size=size,
            layout=layout,
            dicom=dicom,
            progress=progress,
            findings=findings,
        )
    for split in table.splits:
        counts = ", ".join(f"{count} {name}" for name, count in table.split(split).counts().items())
        print(f"{split}: {counts}")
    print(f"Wrote {len(table)} synthetic radiographs to {folder}.")
