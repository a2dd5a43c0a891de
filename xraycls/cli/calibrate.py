"""`xraycls calibrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.invocation import print_table
from xraycls.cli.options import (
    BatchOption,
    DaliOption,
    DeviceOption,
    JsonOption,
    LoaderOption,
    ModelArgument,
    PrecisionOption,
    RuntimeOption,
    StrictOption,
    ThreadsOption,
    chosen_loader,
)
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions
from xraycls.errors import UsageError, unknown
from xraycls.types import SPLITS


@reads_data
def calibrate(
    run: ModelArgument,
    data: Annotated[Path | None, typer.Option(help="Labelled images of the site.")] = None,
    method: Annotated[str, typer.Option(help="temperature, platt or isotonic.")] = "temperature",
    threshold: Annotated[
        str | None,
        typer.Option(help="Choose thresholds anew on this data: youden, f1, sensitivity=0.95, …; kept by default."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the calibration back.")] = False,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start from.")] = None,
    split: Annotated[
        str | None, typer.Option(help="train, val or test; all but test, of the run's own data val.")
    ] = None,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: BatchOption = 64,
    loader: LoaderOption = "auto",
    dali: DaliOption = False,
    threads: ThreadsOption = None,
    runtime: RuntimeOption = "auto",
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> None:
    """Calibrate a classifier's probabilities on another site, beside its weights; later commands use them."""
    if (remove and data is not None) or (not remove and data is None):
        raise UsageError(
            "Give --data to calibrate on, or --remove",
            "xraycls calibrate RUN --data SITE; xraycls calibrate RUN --remove",
        )
    if split is not None and split not in SPLITS:
        raise unknown("split", split, SPLITS, "--split")
    from xraycls.evaluation.thresholds import format_threshold
    from xraycls.progress import counting
    from xraycls.workflows.calibrate import calibrate as calibrate_classifier
    from xraycls.workflows.calibrate import remove_calibration

    if data is None:
        print("The calibration is removed." if remove_calibration(run) else f"{run} has no calibration.")
        return
    with counting("calibrating") as progress:
        done = calibrate_classifier(
            run,
            data,
            method=method,
            threshold=threshold,
            images=images,
            split=split,
            device=device,
            batch_size=batch_size,
            precision=precision,
            loader=chosen_loader(loader, dali),
            threads=threads,
            runtime=runtime,
            strict=strict,
            options=options,
            progress=progress,
        )
    if as_json:
        print(json.dumps(done.calibration.described()))
        return
    from rich.table import Table

    table = Table("", "Images", "Present", "Calibration error", "Log loss", "Threshold")
    for each in done.outputs:
        pairs = zip(each.before, each.after, strict=True)
        moved = ["left as it is"] * 2 if each.left else [f"{before:.3f} → {after:.3f}" for before, after in pairs]
        at = "" if each.threshold is None else format_threshold(each.threshold)
        table.add_row(each.name, f"{each.images:,}", f"{each.present:,}", *moved, at)
    print_table(table)
    print("Figures after calibration are of patients that the maps were chosen without, a fifth at a time.")
    if done.unreadable:
        print(f"{len(done.unreadable)} files could not be read and were left out.")
    print(f"Wrote {done.path}; predict, test, cam and export use it from now on.")
