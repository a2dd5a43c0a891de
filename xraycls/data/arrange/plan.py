"""Where each picture of a data set goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from xraycls.data.facts import PictureFacts
from xraycls.data.quality import all_reasons
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample


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
    """
    taken: set[str] = set()
    placed = []
    for sample, reasons in zip(table, all_reasons(facts), strict=True):
        if sample.label is None:
            raise DataError(f"{sample.name} has no label, so there is no folder for it", sample.path)
        path = PurePosixPath(sample.split or "", table.classes[sample.label], sample.path.name)
        path = path.with_suffix(suffix) if suffix else path
        name, number = path, 1
        while str(name).casefold() in taken:  # Windows and macOS don't tell A from a
            number += 1
            name = path.with_name(f"{path.stem}-{number}{path.suffix}")
        taken.add(str(name).casefold())
        placed.append(Placed(sample, str(name), reasons))
    return placed
