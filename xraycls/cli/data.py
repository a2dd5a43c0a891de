"""`xraycls data …`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.options import JsonOption

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


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Image folder, CSV or .npz.")],
    folder: Annotated[Path, typer.Argument(metavar="DST", help="Where the prepared data goes.")],
    size: Annotated[int, typer.Option(help="Side of the square pictures, pixels.")] = 320,
    central_crop: Annotated[
        float | None, typer.Option(help="Keep this fraction of width and height, from the middle, such as 0.9.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start from.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Decoding threads; all processors by default.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a file that can't be read.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Tell changed files by content, not by size and time.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Decode every file once, so that training needn't: writes a folder that every --data takes.

    Stopped, the same command goes on where it was; run again, it decodes only new and changed files.
    """
    from xraycls.data.prepare import prepare as prepare_data
    from xraycls.progress import counting

    try:
        with counting("preparing") as progress:
            made = prepare_data(
                source,
                folder,
                size=size,
                central_crop=central_crop,
                images=images,
                threads=threads,
                strict=strict,
                verify=verify,
                progress=progress,
            )
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on from here.", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(asdict(made), default=str))
        return
    what = f"{made.pictures:,} pictures of {made.size} × {made.size} pixels ({made.bytes / 1e6:,.1f} MB)"
    print(f"Prepared {what} in {folder}." if made.is_new else f"{folder} is already prepared: {what}.")
    print(f"Next: xraycls train --data {shlex.quote(str(folder))}")


@app.command("list")
def list_samples(
    path: Annotated[
        Path | None, typer.Argument(help="Image folder, CSV, .npz or prepared data; the phantom when omitted.")
    ] = None,
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
