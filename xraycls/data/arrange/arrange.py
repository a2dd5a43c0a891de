"""Writing a data set out again, sorted by split and class; the source stays as it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xraycls.data.arrange.plan import Placed, plan
from xraycls.data.arrange.write import REJECTED_SHEET, Progress, write_pictures, write_rejected
from xraycls.data.facts import picture_facts
from xraycls.data.files import atomic_write, remove_leftovers
from xraycls.data.folder import image_files
from xraycls.data.formats.table import table_csv
from xraycls.data.lock import LOCK, sole_writer
from xraycls.data.quality import UNREADABLE
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import Sample

METADATA = "metadata.csv"
_SETTINGS = ".arranged.json"


@dataclass(frozen=True, slots=True)
class Arranged:
    """What was arranged.

    Attributes:
        folder: where it lies.
        table: the pictures there.
        new: how many of them this run wrote; the others were there.
        rejected: reason → pictures set apart for it; one with two reasons counts twice.
        left_out: pictures set apart.
    """

    folder: Path
    table: SampleTable
    new: int
    rejected: dict[str, int]
    left_out: int


def arrange(
    table: SampleTable,
    folder: Path,
    *,
    central_crop: float | None = None,
    keep_bad: bool = False,
    copy: bool = False,
    progress: Progress | None = None,
) -> Arranged:
    """Put every picture of a data set into ``folder/<split>/<class>/``; the source isn't touched.

    ``metadata.csv`` there has a row a picture: label, patient, split, what the source tells besides, its path in the
    source and what speaks against it. Pictures with a reason of :func:`xraycls.data.quality.all_reasons` are left out
    and listed in ``rejected.csv``, and ``rejected.png`` shows them. Stopped, the same call goes on.

    Args:
        table: image files with labels.
        folder: absent, empty, or arranged from the same source in the same way.
        central_crop: keep this fraction of width and height, from the middle, and write grey 8-bit PNG; None takes the
            files as they are.
        keep_bad: leave out only what can't be read.
        copy: copy the files; otherwise a file gets a second name where the file system allows it.
        progress: told of (pictures done, pictures), once for checking and once for writing.

    Raises:
        UsageError: a fraction out of range.
        DataError: pictures that are no files of their own, nothing good among them, or a folder that holds something
            else or lies within the source.
        LockedError: another process arranges pictures there.
        XrayclsError: the folder can't be written.
    """
    if central_crop is not None and not 0 < central_crop <= 1:
        raise UsageError(f"--central-crop {central_crop:g} is no fraction", "Give one above 0 and up to 1, such as 0.9")
    crop = None if central_crop == 1 else central_crop
    settings = json.dumps(
        {"source": str(table.root.resolve()), "central_crop": crop, "keep_bad": keep_bad, "copy": copy}
    )
    _require_files(table)
    _require_ours(folder, table.root, settings)
    with sole_writer(folder, "name another folder"):
        remove_leftovers(folder)
        placed = plan(table, picture_facts(table, progress=progress), suffix=".png" if crop else None)
        kept: list[Placed] = []
        rejected: list[Placed] = []
        for p in placed:
            is_bad = bool(p.reasons) and (not keep_bad or UNREADABLE in p.reasons)
            (rejected if is_bad else kept).append(p)
        if not kept:
            reasons = ", ".join(rejected[0].reasons)
            raise DataError(f"{table.root} has no good picture: {rejected[0].sample.name} is {reasons}", table.root)
        _require_no_strangers(folder, kept)
        arranged = SampleTable(tuple(_moved(table, p, folder) for p in kept), table.classes, folder, source="arranged")
        metadata = table_csv(arranged, folder)
        with atomic_write(folder / _SETTINGS) as temporary:
            temporary.write_text(settings, encoding="utf-8")
        new = write_pictures(kept, folder, crop=crop, copy=copy, progress=progress)
        write_rejected(table, rejected, folder)
        with atomic_write(folder / METADATA) as temporary:
            temporary.write_bytes(metadata)
        counts = Counter(reason for p in rejected for reason in p.reasons)
        return Arranged(folder, arranged, new, dict(counts.most_common()), len(rejected))


def _moved(table: SampleTable, placed: Placed, folder: Path) -> Sample:
    """The sample at its new place."""
    added = [("original", table.name_of(placed.sample))]
    added += [("quality", ", ".join(placed.reasons))] if placed.reasons else []
    return replace(placed.sample, path=folder / placed.name, boxes=(), attributes=(*placed.sample.attributes, *added))


def _require_files(table: SampleTable) -> None:
    inside = next((sample for sample in table if sample.member is not None), None)
    if inside is not None:
        raise DataError(f"{inside.name} is no file of its own, so it can't be arranged", inside.path)


def _require_ours(folder: Path, source: Path, settings: str) -> None:
    """Raise DataError unless the folder is absent, empty or arranged with these settings."""
    hint = "Name a new folder"
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{folder} lies inside {source}, which stays as it is", folder, f"{hint} outside it")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file", folder, hint)
    marker = folder / _SETTINGS
    if marker.is_file():
        if marker.read_text(encoding="utf-8") != settings:
            raise DataError(
                f"{folder} was arranged from another source or in another way", folder, f"{hint}, or remove it"
            )
    elif folder.exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise DataError(f"{folder} holds something else", folder, hint)


def _require_no_strangers(folder: Path, kept: Sequence[Placed]) -> None:
    """Raise DataError where pictures lie that a reader of the folder would take for a part of it."""
    ours = {folder / p.name for p in kept} | {folder / REJECTED_SHEET}
    strangers = [path for path in image_files(folder) if path not in ours] if folder.exists() else []
    if strangers:
        raise DataError(
            f"{folder} holds {len(strangers):,} pictures that don't belong there, such as {strangers[0].name}",
            folder,
            "Remove the folder and arrange it again",
        )
