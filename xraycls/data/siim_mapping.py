"""Which image stands behind each number of :func:`xraycls.data.siim2kitti.siim2kitti`."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from xraycls.data.files import atomic_write
from xraycls.data.rows import cell_text, csv_text, write_rows

STATE = "siim2kitti.json"
"""The file by which the folder of a conversion is known."""

MAPPING, _JOURNAL = "formatted/mapping.csv", "formatted/mapping.partial.csv"
STUDIES = "studies"
_HEADER = ("number", "id", "StudyInstanceUID", "width", "height")


@dataclass(frozen=True, slots=True)
class Numbered:
    """An image that was written.

    Attributes:
        number: from 1, the name of its files.
        id: as the table of images has it, without ``_image``.
        study: its StudyInstanceUID.
        width: pixels of the original.
        height: pixels of the original.
    """

    number: int
    id: str
    study: str
    width: int
    height: int


def read_mapping(folder: Path) -> dict[int, Numbered]:
    """What earlier runs wrote, by number: the finished mapping and the journal of a run that was stopped."""
    return {row.number: row for name in (MAPPING, _JOURNAL) for row in _rows(folder / name)}


def studies_of(pictures: Path) -> dict[Path, str]:
    """The study of every picture in the folder ``formatted/images`` of a conversion; none for any other folder."""
    folder = pictures.parent.parent
    if not (folder / STATE).is_file():
        return {}
    return {pictures / f"{number:06d}.png": row.study for number, row in read_mapping(folder).items()}


def append_to_journal(folder: Path, row: Numbered) -> None:
    """Note a finished image, so that a run that is stopped can go on."""
    path = folder / _JOURNAL
    # A line that a kill cut short must not swallow the next one.
    start = "\n" if path.exists() else ""
    with path.open("a", encoding="utf-8", newline="") as handle:
        handle.write(start)
        handle.write(csv_text(astuple(row), ()).rstrip("\n"))


def write_mapping(folder: Path, rows: Iterable[Numbered]) -> None:
    """Write the mapping and the ids of every study, where they aren't there already, and drop the journal."""
    listed = sorted(rows, key=lambda row: row.number)
    if list(_rows(folder / MAPPING)) != listed:
        write_rows(folder / MAPPING, _HEADER, map(astuple, listed))
    studies: dict[str, list[str]] = defaultdict(list)
    for row in listed:
        studies[row.study].append(row.id)
    for study, ids in studies.items():
        text = "".join(f"{each}\n" for each in sorted(ids)).encode()
        path = folder / STUDIES / f"{study}.txt"
        if not path.is_file() or path.read_bytes() != text:
            with atomic_write(path) as temporary:
                temporary.write_bytes(text)
    (folder / _JOURNAL).unlink(missing_ok=True)


def _rows(path: Path) -> Iterator[Numbered]:
    """The rows of a mapping, without its header and what was cut short; none where there is no file."""
    with suppress(OSError):
        for cells in csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines()):
            with suppress(ValueError):
                number, name, study, width, height = map(cell_text, cells)
                yield Numbered(int(number), name, study, int(width), int(height))
