"""Where each picture of a data set goes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from xraycls.data.facts import PictureFacts
from xraycls.data.quality import all_reasons
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample

# What some file system refuses in a name, or takes for the end of one.
_NO_NAME = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f]')


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture and its place.

    Attributes:
        sample: of the source.
        name: below the destination, with slashes, such as ``train/NORMAL/a.jpeg``.
        reasons: what speaks against it; such a picture is rejected unless the user keeps it.
    """

    sample: Sample
    name: str
    reasons: tuple[str, ...]


def plan(table: SampleTable, facts: Sequence[PictureFacts | DataError], *, suffix: str | None = None) -> list[Placed]:
    """A place of its own for every picture: its split, if it has one, its class and its file name.

    Where two of a name meet, the later one gets a number.

    Args:
        table: pictures that are files of their own, with labels.
        facts: of each of them.
        suffix: of the new files, such as ".png"; None keeps each its own.

    Raises:
        DataError: a picture has no label, or two classes would share a folder.
    """
    folders = _folders(table)
    taken: set[str] = set()
    placed = []
    for sample, reasons in zip(table, all_reasons(facts), strict=True):
        if sample.label is None:
            raise DataError(f"{sample.name} has no label, so there is no folder for it", sample.path)
        path = PurePosixPath(sample.split or "", folders[sample.label], sample.path.name)
        path = path.with_suffix(suffix) if suffix else path
        name, number = path, 1
        while str(name).casefold() in taken:  # Windows and macOS don't tell A from a
            number += 1
            name = path.with_name(f"{path.stem}-{number}{path.suffix}")
        taken.add(str(name).casefold())
        placed.append(Placed(sample, str(name), reasons))
    return placed


def folder_name(label: str) -> str:
    """A class as the name of one folder: "No Lung Opacity / Not Normal" becomes "No Lung Opacity - Not Normal"."""
    # Dots at the start hide a folder or lead out of it; blanks and dots at the end get lost on Windows.
    return _NO_NAME.sub("-", label).strip(" .") or "-"


def _folders(table: SampleTable) -> list[str]:
    """The folder of every class."""
    classes: dict[str, str] = {}
    for label in table.classes:
        other = classes.setdefault(folder_name(label).casefold(), label)
        if other is not label:
            message = f"The classes {other!r} and {label!r} of {table.root} would share a folder"
            raise DataError(message, table.root, "Rename one of them")
    return [folder_name(label) for label in table.classes]
