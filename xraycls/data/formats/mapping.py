"""``pictures.csv`` of a converted data set: what the formats of boxes don't keep of a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xraycls.data.formats.table import COLUMNS
from xraycls.data.formats.whole import is_ours
from xraycls.data.records import Record, read_records
from xraycls.data.siim_mapping import studies_of
from xraycls.data.split import split_named
from xraycls.data.table import SampleTable
from xraycls.types import Sample

MAPPING = "pictures.csv"
"""Class, patient, split and further columns of every picture, and in ``source`` the name that it had."""

_ABOVE = 2  # folders that a file of annotations, such as annotations/instances.json, lies below the data set's own


def _mapping_of(path: Path) -> Path | None:
    """The ``pictures.csv`` of a converted data set, given by its folder or by a file in it; None for other data."""
    folder = next((each for each in (path, *path.parents[:_ABOVE]) if is_ours(each)), None)
    return folder / MAPPING if folder and (folder / MAPPING).is_file() else None


def with_mapping(table: SampleTable, path: Path) -> SampleTable:
    """The table of a converted data set with the patients, splits and further columns that its format doesn't keep.

    They are those of ``pictures.csv``, or the studies that :mod:`xraycls.data.siim2kitti` notes. Patients there go
    before those that a format makes up from the names of files; splits that the format tells stay.

    Raises:
        DataError: ``pictures.csv`` is there, but can't be read.
    """
    mapping = _mapping_of(path)
    if mapping is None:
        studies = studies_of(table.root)
        return table.with_samples(replace(s, patient=s.patient or studies.get(s.path)) for s in table)
    records = read_records(mapping, {name: (name,) for name in COLUMNS}, required=("path",))
    found = {mapping.parent / record["path"]: record for record in records}
    return table.with_samples(_with_record(s, record) if (record := found.get(s.path)) else s for s in table)


def _with_record(sample: Sample, record: Record) -> Sample:
    return replace(
        sample,
        patient=record["patient"] or sample.patient,
        split=sample.split or split_named(record["split"]),
        attributes=sample.attributes or record.others,
    )
