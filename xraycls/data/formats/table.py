"""The table of samples as a CSV of its own, which :func:`xraycls.data.csv.read_csv` reads back."""

from __future__ import annotations

from pathlib import Path

from xraycls.data.files import atomic_write
from xraycls.data.records import plain
from xraycls.data.rows import csv_text
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample

COLUMNS = ("path", "label", "patient", "split")


def write_table_csv(table: SampleTable, path: Path) -> None:
    """Write what :func:`table_csv` gives, atomically; raises XrayclsError where the file can't be written."""
    content = table_csv(table, path.parent)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def table_csv(table: SampleTable, folder: Path) -> bytes:
    """A row a picture: path, label, patient, split, and a column for every attribute that some picture has; in UTF-8.

    Paths are relative to the folder when they lie below it, else absolute. What is unknown stays empty.

    Args:
        table: the pictures.
        folder: where the CSV will lie.

    Raises:
        DataError: pictures that are no files of their own but rows of an archive or of prepared data, or whose names
            are not Unicode.
    """
    inside = next((sample for sample in table if sample.member is not None), None)
    if inside is not None:
        raise DataError(f"{inside.name} is no file of its own, so a CSV can't name it", inside.path)
    # A column that is called like one of ours would be read in its place.
    own = {plain(name) for name in COLUMNS}
    others = {name: None for sample in table for name, _ in sample.attributes if plain(name) not in own}
    rows = []
    for sample in table:
        attributes = dict(sample.attributes)
        label = "" if sample.label is None else table.classes[sample.label]
        cells = [_written(sample, folder), label, sample.patient or "", sample.split or ""]
        rows.append([*cells, *(attributes.get(name, "") for name in others)])
    try:
        return csv_text([*COLUMNS, *others], rows).encode()
    except UnicodeEncodeError as error:  # file names of older systems, in some other encoding
        row = error.object[: error.end].rpartition("\n")[2]
        raise DataError(
            f"{table.root} has names that are not Unicode, which a CSV can't hold: {row!a}",
            table.root,
            "Rename them; convmv does that to whole folders",
        ) from None


def _written(sample: Sample, folder: Path) -> str:
    file, folder = sample.path.absolute(), folder.absolute()
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()
