"""What an audit knows of pictures as the results of a shard, and back again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from xraycls.data.facts import SIDE, PictureFacts
from xraycls.data.headers import PictureHeader
from xraycls.data.markers import Marker
from xraycls.data.plain import from_plain, to_plain
from xraycls.data.shards import OpenShard, Shards
from xraycls.data.table import SampleTable
from xraycls.errors import DataError

Read = Sequence[PictureFacts | PictureHeader | DataError]
"""What is known of every picture, or why it can't be read."""

_THUMBNAIL, _ERROR = "thumbnail", "error"


def keep_facts(part: OpenShard, read: Read) -> None:
    """Make the results of a shard of what is known of its pictures; thumbnails go into a file of their own."""
    thumbnails = part.pixels(SIDE) if any(isinstance(each, PictureFacts) for each in read) else None
    for row, each in enumerate(read):
        if isinstance(each, DataError):
            part.results.append({_ERROR: each.message})
            continue
        if isinstance(each, PictureFacts) and thumbnails is not None:
            thumbnails[row] = each.thumbnail
        known = {field.name: getattr(each, field.name) for field in fields(each) if field.name != _THUMBNAIL}
        if known.get("marker") is not None:
            known["marker"] = to_plain(known["marker"])
        part.results.append(known)


def merged_facts(table: SampleTable, merged: Shards) -> Read:
    """Returns what the shards know of all pictures, in the order of the table."""
    merged.require([table.name_of(sample) for sample in table])
    return [_fact(merged, index, table) for index in range(len(table))]


def _fact(merged: Shards, index: int, table: SampleTable) -> PictureFacts | PictureHeader | DataError:
    known: dict[str, Any] = dict(merged.result(index))
    if _ERROR in known:
        return DataError(known[_ERROR], table[index].path)
    known["attributes"] = tuple((name, value) for name, value in known["attributes"])
    if "digest" not in known:
        return PictureHeader(**known)
    marker = known.pop("marker")
    return PictureFacts(**known, marker=marker and from_plain(Marker, marker), thumbnail=merged.pixels(index))
