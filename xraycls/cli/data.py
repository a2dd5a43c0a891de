"""`xraycls data …`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xraycls.data.table import SampleTable

app = typer.Typer(help="Look at data and make it.", no_args_is_help=True)


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Where to write.")],
    images: Annotated[int, typer.Option(min=6)] = 600,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM files as well.")] = False,
) -> None:
    """Draw synthetic chest radiographs: an image folder, boxes as KITTI, and DICOM on request."""
    from xraycls.data.phantom import write_phantom
    from xraycls.progress import counting

    with counting("drawing") as progress:
        table = write_phantom(folder, images=images, seed=seed, dicom=dicom, progress=progress)
    for split in table.splits:
        counts = ", ".join(f"{count} {name}" for name, count in table.split(split).counts().items())
        print(f"{split}: {counts}")
    print(f"Wrote {len(table)} synthetic radiographs to {folder}.")


@app.command("list")
def list_samples(
    path: Annotated[Path | None, typer.Argument(help="Image folder, CSV or .npz; the phantom when omitted.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start from.")] = None,
) -> None:
    """Show what a data source holds, a split and class a line."""
    from xraycls.data.source import read_table

    table = read_table(path, images=images)
    parts: dict[str, SampleTable] = {name: table.split(name) for name in table.splits}
    parts = parts or {"all": table}
    for name, part in parts.items():
        counts = ", ".join(f"{count} {label}" for label, count in part.counts().items())
        patients = len({s.patient for s in part if s.patient})
        print(f"{name}: {counts}" + (f" ({patients} patients)" if patients else ""))
