"""`xraycls data merge`: what shards have done becomes one result."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xraycls.cli.options import JsonOption


def merge(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="What the command with --shard was to write.")],
    keep: Annotated[bool, typer.Option("--keep", help="Leave the shards beside the target.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Join the shards of data prepare, audit, convert or rsna-features to what the command alone would have written.

    All shards must be there, of the same data and settings. The data itself must still be in its place.
    """
    from xraycls.data.merge import merge as merge_shards
    from xraycls.progress import counting

    with counting("merging") as progress:
        done = merge_shards(target, keep=keep, progress=progress)
    if as_json:
        print(json.dumps(asdict(done), default=str))
        return
    print(f"Merged {done.shards} shards of xraycls data {done.command} to {target}: {done.pictures:,} pictures.")
    if done.duplicates:
        print(f"Groups of files with the very same content: {done.duplicates:,}. See: xraycls data audit")
