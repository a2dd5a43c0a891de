"""`xraycls data prepare`: decode every file once."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from xraycls.cli.options import DecodersOption, JsonOption, ShardOption, print_shard
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions
from xraycls.errors import UsageError


@reads_data
def prepare(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Image folder, CSV or .npz.")],
    folder: Annotated[Path, typer.Argument(metavar="DST", help="Where the prepared data goes.")],
    size: Annotated[int, typer.Option(help="Side of the square pictures, pixels.")] = 320,
    central_crop: Annotated[
        float | None, typer.Option(help="Keep this fraction of width and height, from the middle, such as 0.9.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV's paths start from.")] = None,
    threads: DecodersOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a file that can't be read.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Tell changed files by content, not by size and time.")
    ] = False,
    shard: ShardOption = None,
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> None:
    """Decode every file once, so that training needn't: writes a folder that every --data takes.

    Stopped, the same command goes on where it was; run again, it decodes only new and changed files.
    """
    from xraycls.data.prepare import prepare as prepare_data
    from xraycls.progress import counting

    if shard:
        from xraycls.data.prepare import shard_prepare
        from xraycls.data.shards import Shard

        if strict or verify:
            raise UsageError("--strict and --verify are for the whole, not for a shard", "Leave them out")
        part = Shard.parse(shard)
        how: dict[str, Any] = {"size": size, "central_crop": central_crop, "images": images, "threads": threads}
        with counting("preparing") as progress:
            print_shard(shard_prepare(source, folder, part, progress=progress, options=options, **how))
        return
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
                options=options,
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
