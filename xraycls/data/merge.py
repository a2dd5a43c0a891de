"""Merging the shards of a command to what the command alone would have written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from xraycls.data.audit import audit, write_report
from xraycls.data.audit.run import COMMAND as AUDIT
from xraycls.data.formats.convert import convert, known_format, readable, require_apart, with_splits
from xraycls.data.formats.location import plan_locations
from xraycls.data.formats.sharded import keep_picture
from xraycls.data.formats.whole import require_ours
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.plain import from_plain, to_plain
from xraycls.data.prepare import COMMAND as PREPARE
from xraycls.data.prepare import prepare
from xraycls.data.processors import available_processors, one_thread_a_picture
from xraycls.data.rsna_features import COMMAND as RSNA_FEATURES
from xraycls.data.rsna_features import RsnaSources, write_rsna_features
from xraycls.data.shards import Shard, ShardDone, Shards, open_shard
from xraycls.data.source import read_source
from xraycls.data.store import store_file
from xraycls.data.verify import Progress
from xraycls.errors import DataError, UsageError

CONVERT = "convert"

Counts = tuple[int, int | None]
"""Pictures, and groups of pictures with the very same content; None where nobody looks at contents."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What shards were merged to.

    Attributes:
        command: that they were of.
        target: what was written.
        shards: how many.
        pictures: in the target.
        duplicates: groups of files with the very same content, of whichever shards; None where the command doesn't look
            at contents.
    """

    command: str
    target: Path
    shards: int
    pictures: int
    duplicates: int | None


def merge(target: Path, *, keep: bool = False, progress: Progress | None = None) -> Merged:
    """Write what a command would have written in one go, of the results of its shards.

    Args:
        target: what the shards were given to write.
        keep: leave the shards where they are.
        progress: called with the number of pictures done and their total.

    Raises:
        DataError: shards are missing, don't belong together or are damaged, or the data has changed since.
        XrayclsError: as of the command.
    """
    shards = Shards(target)
    if shards.command not in _MERGES:
        raise DataError(f"The shards of {target} are of {shards.command!r}, which is no command", target)
    try:
        pictures, duplicates = _MERGES[shards.command](target, shards, dict(shards.settings), progress)
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(f"The shards of {target} are damaged ({error})", target, "Make them again") from error
    if not keep:
        shards.discard()
    return Merged(shards.command, target, shards.of, pictures, duplicates)


def shard_convert(
    source: Path,
    target: Path,
    shard: Shard,
    *,
    to: str,
    read_as: str | None = None,
    images: Path | None = None,
    pictures: str | None = None,
    headers: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
    options: ReadOptions = AS_IT_IS,
) -> ShardDone:
    """Write the pictures of one shard of a conversion; arguments as of :func:`xraycls.data.formats.convert.convert`."""
    into = known_format(to, "--to")
    if into.write is None or pictures == "none" or target.suffix.lower() == ".csv":
        raise UsageError("--shard shares out the writing of pictures, and none are to be written", "Leave it out")
    require_apart(source, target, images)
    require_ours(target, overwrite=overwrite)
    table, _ = readable(source, into, read_as, images, options)
    table = with_splits(table)
    settings = {
        "source": str(source.resolve()),
        "images": None if images is None else str(images.resolve()),
        "to": to,
        "read_as": read_as,
        "pictures": pictures,
        "headers": headers,
        "overwrite": overwrite,
        "options": to_plain(options),
    }
    locations = plan_locations(table, into)
    with open_shard(target, shard, CONVERT, settings, [table.name_of(sample) for sample in table]) as part:
        own = [locations[index] for index in part.indices]
        with one_thread_a_picture(), ThreadPoolExecutor(available_processors()) as pool:
            for done, result in enumerate(pool.map(partial(keep_picture, part, link=pictures == "link"), own), start=1):
                part.results.append(result)
                if progress:
                    progress(done, len(own))
    return ShardDone(target, shard, len(own), len(table))


def _prepared(target: Path, shards: Shards, settings: dict[str, Any], progress: Progress | None) -> Counts:
    made = prepare(_source(settings), target, merged=shards, progress=progress, **_reading(settings))
    described = store_file(target)
    contents = Counter(described.sources.sha256)  # a file each: rows of one archive have no content of their own
    return made.pictures, sum(count > 1 for count in contents.values())


def _audited(target: Path, shards: Shards, settings: dict[str, Any], progress: Progress | None) -> Counts:
    quick, classes = settings.pop("quick"), settings.pop("classes")
    table = read_source(_source(settings), **_reading(settings))
    made = audit(table, quick=quick, classes=classes, merged=shards, progress=progress)
    write_report(made, target)
    same = [finding for finding in made.findings if finding.kind in ("duplicate", "duplicate-across-splits")]
    return len(table), sum(len(finding.groups) for finding in same)


def _converted(target: Path, shards: Shards, settings: dict[str, Any], progress: Progress | None) -> Counts:
    made = convert(_source(settings), target, merged=shards, progress=progress, **_reading(settings))
    return made.pictures, None


def _features(target: Path, shards: Shards, settings: dict[str, Any], progress: Progress | None) -> Counts:
    sources = from_plain(RsnaSources, settings)
    return write_rsna_features(sources, target, merged=shards, progress=progress).images, None


def _source(settings: dict[str, Any]) -> Any:
    """Takes the source out of the settings of a command."""
    source = settings.pop("source")
    return None if source is None else Path(source)


def _reading(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as arguments: paths and options instead of text and mappings."""
    images = settings.pop("images")
    options = from_plain(ReadOptions, settings.pop("options"))
    return {**settings, "images": images and Path(images), "options": options}


_MERGES: Mapping[str, Callable[[Path, Shards, dict[str, Any], Progress | None], Counts]] = {
    PREPARE: _prepared,
    AUDIT: _audited,
    CONVERT: _converted,
    RSNA_FEATURES: _features,
}
"""Command → what is left of it when its shards are done."""
