"""`xraycls data convert`: one format to another."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from xraycls.cli.options import JsonOption, ShardOption, print_shard
from xraycls.cli.reading import reads_data
from xraycls.data.options import ReadOptions
from xraycls.errors import unknown

_WRITTEN = "kitti, coco, yolo, voc, rsna, siim, nih, csv, png or jpeg"
_READ = "tfrecords, masks, kitti, coco, yolo, voc, rsna, siim, nih or csv"


@reads_data
def convert(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="Any data source, as for xraycls train --data.")],
    target: Annotated[Path, typer.Argument(metavar="TO", help="A new folder; with --to csv a .csv file, too.")],
    to: Annotated[str, typer.Option("--to", help=f"{_WRITTEN}.")],
    read_as: Annotated[str | None, typer.Option("--from", help=f"{_READ}; told from the files when omitted.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of FROM's pictures, where it is another one.")] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            help="copy, link (no space needed on the same disk) or none (annotations alone); copy by default."
        ),
    ] = None,
    headers: Annotated[
        str, typer.Option(help="With --to png or jpeg: keep (pseudonym, age, sex, view, spacing) or drop.")
    ] = "keep",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier conversion.")] = False,
    shard: ShardOption = None,
    as_json: JsonOption = False,
    *,
    options: ReadOptions,
) -> None:
    """Write boxes and pictures in another format.

    The target appears when all of it is there. Its pictures.csv tells what the format may not: class, patient, split
    and the name that a picture had. DICOM becomes 8-bit PNG where the format's readers don't know it; elsewhere it is
    copied as it is, with the names of patients in it.
    """
    from xraycls.data.formats.convert import HEADERS
    from xraycls.data.formats.convert import convert as convert_data
    from xraycls.data.formats.mapping import MAPPING
    from xraycls.progress import counting

    if headers not in ("keep", "drop"):
        raise unknown("treatment", headers, ("keep", "drop"), "--headers")
    how: dict[str, Any] = {
        "to": to,
        "read_as": read_as,
        "images": images,
        "pictures": pictures,
        "headers": headers == "keep",
        "overwrite": overwrite,
        "options": options,
    }
    with counting("converting") as progress:
        if shard:
            from xraycls.data.merge import shard_convert
            from xraycls.data.shards import Shard

            print_shard(shard_convert(source, target, Shard.parse(shard), progress=progress, **how))
            return
        made = convert_data(source, target, progress=progress, **how)
    if as_json:
        print(json.dumps(asdict(made), default=str))
        return
    splits = ", ".join(f"{count:,} {split}" for split, count in made.splits.items())
    boxes = ", ".join(f"{count:,} {label}" for label, count in made.boxes.items())
    print(f"Wrote {made.pictures:,} pictures{f' ({splits})' if splits else ''} to {target}.")
    print(f"Boxes: {boxes or 'none'}. Pictures without a box: {made.negatives:,}.")
    if made.renamed:
        print(f"{made.renamed:,} pictures have a new name, as their own was taken: see {target / MAPPING}.")
    if made.left_out:
        print(f"Left out, as they could not be read: {len(made.left_out):,}.")
    table = target / MAPPING if made.format == "csv" and target.is_dir() else target
    verb = "show" if (target / HEADERS).is_file() else "list"
    print(f"Next: xraycls data {verb} {shlex.quote(str(table))}")
