"""`xraycls data arrange`: sort the pictures of a data set into folders."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.data.counts import print_counts
from xraycls.cli.options import JsonOption
from xraycls.errors import unknown

_NAMES = ("coronahack", "folder")


def arrange(
    name: Annotated[
        str, typer.Argument(metavar="SET", help="coronahack; or folder for any other data source with labels.")
    ],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The data set as it was unpacked; it stays as it is.")],
    folder: Annotated[Path, typer.Argument(metavar="DST", help="Where the pictures go: DST/<split>/<class>/.")],
    central_crop: Annotated[
        float | None, typer.Option(help="Keep this fraction of width and height, from the middle, such as 0.9; as PNG.")
    ] = None,
    keep_bad: Annotated[
        bool, typer.Option("--keep-bad", help="Keep pictures that the quality filter rejects.")
    ] = False,
    copy: Annotated[
        bool, typer.Option("--copy/--link", help="Copy the files, or give them a second name (hard link).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Sort a data set by split and class, without its bad pictures: blank, dark, bright, tiny, rotated, … .

    Writes DST/metadata.csv with all that is known of each picture, DST/rejected.csv with the reasons, and
    DST/rejected.png to look at. Stopped, the same command goes on.
    """
    from xraycls.data.arrange import METADATA, read_coronahack
    from xraycls.data.arrange import arrange as arrange_data
    from xraycls.data.source import read_source
    from xraycls.progress import counting

    if name not in _NAMES:
        raise unknown("data set", name, _NAMES)
    table = read_coronahack(source) if name == "coronahack" else read_source(source)
    try:
        with counting("arranging") as progress:
            made = arrange_data(
                table, folder, central_crop=central_crop, keep_bad=keep_bad, copy=copy, progress=progress
            )
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on from here.", err=True)
        raise typer.Exit(130) from None
    parts = {str(split): made.table.split(split) for split in made.table.splits} or {"all": made.table}
    if as_json:
        described = {split: part.counts() for split, part in parts.items()}
        counts = {"pictures": len(made.table), "new": made.new, "left_out": made.left_out, "rejected": made.rejected}
        print(json.dumps({"folder": str(folder), **counts, "parts": described}))
        return
    print_counts(parts)
    new = f"{made.new:,} of them new" if made.new else "all of them there already"
    print(f"Arranged {len(made.table):,} pictures in {folder}, {new}.")
    if made.left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in made.rejected.items())
        print(f"Left out {made.left_out:,} ({reasons}): see rejected.csv and rejected.png there.")
    # The table and not the folder: names of files seldom tell the patient, and never the subtype.
    print(f"Next: xraycls train --data {shlex.quote(str(folder / METADATA))}")
