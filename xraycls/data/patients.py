"""Which patient an image shows: told from the tags of a DICOM file, else from its file name."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from xraycls.data.dicom import DICOM_SUFFIXES, patient_from_dicom
from xraycls.data.table import SampleTable
from xraycls.types import Sample

# Matched at the start of the name without its suffix; group 1 is the patient. The names of an augmented copy,
# such as person12_virus_34_flipped, still tell the patient, so only NIH's rule, all digits, spans the whole name.
PATIENT_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("kermany-pneumonia", re.compile(r"(person\d+)_(?:bacteria|virus)_\d+")),
    ("kermany-normal", re.compile(r"(?:NORMAL2-)?IM-(\d+)-\d+")),
    ("nih", re.compile(r"(\d{8})_\d{3}$")),
    ("rsna", re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?![0-9a-f])")),
    ("phantom", re.compile(r"(p\d{4,})_\d+$")),
)
_THREADS = 16


def patient_of(path: Path) -> str | None:
    """The patient that the first matching rule of ``PATIENT_RULES`` reads in a file name; None without a match.

    >>> patient_of(Path("person12_virus_34.jpeg")), patient_of(Path("NORMAL2-IM-1423-0001.jpeg"))
    ('person12', '1423')
    """
    for _, rule in PATIENT_RULES:
        if match := rule.match(path.stem):
            return match[1]
    return None


def with_patients(table: SampleTable) -> SampleTable:
    """The table with patients from DICOM tags and file names, unless its source already told some.

    A patient from DICOM tags goes by a pseudonym; only files whose tags don't tell go by their name.
    """
    if any(sample.patient is not None for sample in table):
        return table
    with ThreadPoolExecutor(_THREADS) as pool:
        patients = pool.map(_patient, table)
        return table.with_samples(replace(s, patient=patient) for s, patient in zip(table, patients, strict=True))


def _patient(sample: Sample) -> str | None:
    suffix = sample.path.suffix.lower()
    # Folders take files without a suffix, or with numbers for one, as DICOM alone.
    if suffix in DICOM_SUFFIXES or not suffix or suffix[1:].isdigit():
        return patient_from_dicom(sample.path) or patient_of(sample.path)
    return patient_of(sample.path)
