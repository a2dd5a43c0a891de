"""A conversion's pictures as the results of a shard, and back again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from xraycls.data.files import share_file
from xraycls.data.formats.location import Location, put
from xraycls.data.plain import from_plain, to_plain
from xraycls.data.shards import PICTURES, OpenShard, Shards
from xraycls.errors import DataError
from xraycls.types import Box, Sample


def keep_picture(part: OpenShard, location: Location, *, link: bool) -> Any:
    """Write a picture into the folder of a shard.

    Returns:
        Its result: the boxes and attributes that it has there, or why it could not be read.
    """
    try:
        sample = put(location, part.folder / PICTURES, link=link)
    except DataError as error:
        return error.message
    return {"boxes": [to_plain(box) for box in sample.boxes], "attributes": sample.attributes}


def merged_picture(merged: Shards, folder: Path, index: int, location: Location) -> Sample | DataError:
    """Put a picture that a shard has written into the folder of all, and return its sample there."""
    result = merged.result(index)
    if isinstance(result, str):
        return DataError(result, location.sample.path)
    target = folder / location.name
    share_file(merged.pictures(index) / location.name, target)
    boxes = tuple(from_plain(Box, box) for box in result["boxes"])
    attributes = tuple((name, value) for name, value in result["attributes"])
    return replace(location.sample, path=target, member=None, row=None, boxes=boxes, attributes=attributes)
