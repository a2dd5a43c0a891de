"""`xraycls dataset_convert`: TAO's converter of object labels to TFRecords, with its flags."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from xraycls.errors import UsageError


def dataset_convert(
    spec: Annotated[str, typer.Option("--dataset-export-spec", "-d", help="Text spec with the export's settings.")],
    output: Annotated[str, typer.Option("--output-filename", "-o", help="What the names of all files begin with.")],
    validation_fold: Annotated[
        int | None, typer.Option("--validation-fold", "-f", help="Fold that sample_modifier_config leaves alone.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every object that is left out.")] = False,
    results_dir: Annotated[str | None, typer.Option("--results-dir", "-r", help="Folder for status.json.")] = None,
    class_names: Annotated[
        str | None,
        typer.Option("--class-names-file", "-c", help="A class a line: write records for SSD, with image files."),
    ] = None,
    mount: Annotated[
        list[str] | None,
        typer.Option(metavar="CONTAINER=FOLDER", help="Where a folder of TAO's container lies here; repeatable."),
    ] = None,
) -> None:
    """Convert images with KITTI or COCO annotations to TFRecords, from a TLT/TAO dataset export spec."""
    from xraycls.progress import counting
    from xraycls.tao.dataset_convert import dataset_convert as convert
    from xraycls.tao.mounts import read_mounts

    if verbose:
        logging.getLogger("xraycls.tao").setLevel(logging.DEBUG)
    # The progress bar would catch what goes to a file and print it on standard error.
    out = None if sys.stdout.isatty() else sys.stdout

    def log(message: str, figures: Mapping[str, Any]) -> None:
        print(message, file=out)

    mounts = read_mounts(mount or ())
    target = mounts.path(output)
    if output.endswith("/") or target.name in ("", ".."):
        hint = f"Say what the names of the files in it begin with: -o {Path(output, 'tfrecords')}"
        raise UsageError(f"-o {output} is a folder", hint)
    with counting("reading labels") as progress:
        done = convert(
            mounts.path(spec),
            target,
            validation_fold=validation_fold,
            class_names=None if class_names is None else mounts.path(class_names),
            results=None if results_dir is None else mounts.path(results_dir),
            mounts=mounts,
            log=log,
            progress=progress,
        )
    print(f"Wrote {sum(done.records.values()):,} records in {len(done.files)} files to {target.parent}.")
