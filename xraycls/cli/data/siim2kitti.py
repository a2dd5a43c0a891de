"""`xraycls data siim2kitti`: the SIIM challenge as KITTI for detectors."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.options import DecodersOption, JsonOption


def siim2kitti(
    label: Annotated[Path, typer.Option("-l", "--label", "--l", help="train_image_level.csv.")],
    train: Annotated[Path, typer.Option("-t", "--train", "--t", help="Folder of the DICOMs.")],
    folder: Annotated[Path, typer.Option("--kf", "--output-dir", help="Where to write.")] = Path("SIIM-FISABIO-RSNA"),
    pixels: Annotated[int, typer.Option("--px", "--pixel", help="Side of the square pictures, pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the order of the numbers.")] = 0,
    threads: DecodersOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a picture that is missing or damaged.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert the SIIM-FISABIO-RSNA COVID-19 images to square 8-bit PNGs with KITTI labels.

    Stopped, the same command goes on where it was. A folder that holds something else is never touched.
    """
    from xraycls.data.siim2kitti import siim2kitti as convert
    from xraycls.progress import counting

    try:
        with counting("converting") as progress:
            made = convert(
                label, train, folder, pixels=pixels, seed=seed, threads=threads, strict=strict, progress=progress
            )
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on from here.", err=True)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(asdict(made), default=str))
        return
    what = f"{made.images:,} images ({made.positives:,} with {made.boxes:,} opacities) in {folder / 'formatted'}"
    print(f"Wrote {what}." if made.written else f"All is there already: {what}.")
    print(f"Next: xraycls data list {shlex.quote(str(folder))}")
