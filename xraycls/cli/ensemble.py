"""`xraycls ensemble`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.options import (
    BatchOption,
    DaliOption,
    DeviceOption,
    JsonOption,
    LoaderOption,
    PrecisionOption,
    ThreadsOption,
    chosen_loader,
)
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions
from xraycls.errors import unknown

_WEIGHTS = ("validation", "equal")


@reads_data
def ensemble(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Run folders of the members, or their names.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder that will stand for all of them.")],
    weights: Annotated[
        str, typer.Option(help="validation: chosen on images that no member learned from; or equal.")
    ] = "validation",
    data: Annotated[Path | None, typer.Option(help="Validation images; those of the first run by default.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start from.")] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: BatchOption = 64,
    loader: LoaderOption = "auto",
    dali: DaliOption = False,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> None:
    """Make one model of several classifiers: a folder for predict, test and cam, with the weights of their mean."""
    if weights not in _WEIGHTS:
        raise unknown("way to weigh", weights, _WEIGHTS, "--weights")
    from xraycls.progress import counting
    from xraycls.workflows.ensemble import make_ensemble

    with counting("looking at validation images") as progress:
        made = make_ensemble(
            runs,
            output,
            weights="equal" if weights == "equal" else "validation",
            data=data,
            images=images,
            device=device,
            precision=precision,
            batch_size=batch_size,
            loader=chosen_loader(loader, dali),
            threads=threads,
            options=options,
            progress=progress,
        )
    if as_json:
        from xraycls.evaluation.report import without_nan

        facts = {
            "folder": str(made.folder),
            "members": dict(zip(made.members, made.shares, strict=True)),
            "images": made.images,
            "loss": made.loss,
            "equal_loss": made.equal_loss,
        }
        print(json.dumps(without_nan(facts), allow_nan=False))
        return
    for member, share in zip(made.members, made.shares, strict=True):
        print(f"{member}: {share:.3f}")
    if made.images:
        print(
            f"Chosen on {made.images:,} validation images that no member learned from: "
            f"log loss {made.loss:.4f}, with equal weights {made.equal_loss:.4f}."
        )
    print(f"Next: {shlex.join(['xraycls', 'predict', str(made.folder)])} IMAGES")
