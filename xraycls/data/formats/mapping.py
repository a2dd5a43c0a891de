"""``pictures.csv`` of a converted data set: what the formats of boxes don't keep of a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xraycls.data.formats.table import COLUMNS
from xraycls.data.formats.whole import is_ours
from xraycls.data.records import read_records
from xraycls.data.table import SampleTable

MAPPING = "pictures.csv"
"""Class, patient, split and further columns of every picture, and in ``source`` the name that it had."""


def with_mapping(table: SampleTable, folder: Path) -> SampleTable:
    """The table of a converted data set with the patients and further columns of its ``pictures.csv``.

    Patients that the format itself tells stay.

    Raises:
        DataError: the file is there, but can't be read.
    """
    mapping = folder / MAPPING
    if not (is_ours(folder) and mapping.is_file()):
        return table
    records = read_records(mapping, {name: (name,) for name in COLUMNS}, required=("path",))
    found = {folder / record["path"]: record for record in records}
    return table.with_samples(
        replace(
            sample,
            patient=sample.patient or record["patient"] or None,
            attributes=sample.attributes or record.others,
        )
        if (record := found.get(sample.path))
        else sample
        for sample in table
    )
