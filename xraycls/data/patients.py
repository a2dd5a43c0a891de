"""Which patient an image shows, told from its file name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from xraycls.data.table import SampleTable

# Matched at the start of the name without its suffix; group 1 is the patient. The names of an augmented copy,
# such as person12_virus_34_flipped, still tell the patient, so only NIH's rule, all digits, spans the whole name.
PATIENT_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("kermany-pneumonia", re.compile(r"(person\d+)_(?:bacteria|virus)_\d+")),
    ("kermany-normal", re.compile(r"(?:NORMAL2-)?IM-(\d+)-\d+")),
    ("nih", re.compile(r"(\d{8})_\d{3}$")),
    ("phantom", re.compile(r"(p\d{4,})_\d+$")),
)


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
    """The table with patients from file names, unless its source already told some."""
    if any(sample.patient is not None for sample in table):
        return table
    return table.with_samples(replace(sample, patient=patient_of(sample.path)) for sample in table)
