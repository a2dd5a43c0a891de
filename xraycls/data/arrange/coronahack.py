"""Kaggle's CoronaHack chest X-ray set: a table tells the label of every picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xraycls.data.csv import read_csv
from xraycls.data.patients import with_patients
from xraycls.data.records import plain
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample

METADATA = "Chest_xray_Corona_Metadata.csv"
_CLASSES = ("NORMAL", "PNEUMONIA")
_SPELT = {"normal": 0, "pnemonia": 1, "pneumonia": 1}  # theirs is "Pnemonia"
# The columns that become attributes, by their plain names.
_SUBTYPE, _CAUSE = "label1viruscategory", "label2viruscategory"


def read_coronahack(folder: Path) -> SampleTable:
    """The pictures of CoronaHack, with the classes NORMAL and PNEUMONIA, its splits and the patients of its file names.

    Attributes are the subtype ("virus", "bacteria" or "stress-smoking") and the cause ("COVID-19", "Streptococcus",
    "SARS" or "ARDS"), where the table tells them. Rows without a picture and pictures without a row are left out and
    counted in the log.

    Args:
        folder: what was downloaded; the table lies in it or below it.

    Raises:
        DataError: no table, several, or one with other labels than "Normal" and "Pnemonia".
    """
    path = _metadata_of(folder)
    table = read_csv(path, images=folder)
    unknown = [name for name in table.classes if plain(name) not in _SPELT]
    if unknown:
        raise DataError(f"{path} has the label {unknown[0]!r}", path, 'CoronaHack has "Normal" and "Pnemonia" alone')
    labels = [_SPELT[plain(name)] for name in table.classes]
    samples = tuple(
        replace(sample, label=labels[sample.label or 0], attributes=_attributes(sample)) for sample in table
    )
    return with_patients(SampleTable(samples, _CLASSES, folder, source="coronahack"))


def _metadata_of(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}", folder, "Get it with: xraycls data download coronahack")
    found = sorted(folder.rglob(METADATA))
    if not found:
        raise DataError(f"{folder} holds no {METADATA}", folder, "Give the folder that CoronaHack was unpacked into")
    if len(found) > 1:
        raise DataError(f"{folder} holds {METADATA} more than once: {found[0]} and {found[1]}", folder, "Give one")
    return found[0]


def _attributes(sample: Sample) -> tuple[tuple[str, str], ...]:
    attributes = {plain(column): text for column, text in sample.attributes}
    named = (("subtype", attributes.get(_SUBTYPE, "").lower()), ("cause", attributes.get(_CAUSE, "")))
    return tuple((name, text) for name, text in named if text)
