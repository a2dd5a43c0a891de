"""Which patient an image shows: told from the tags of a DICOM file, else from its folders, else from its file name."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from xraycls.data.dicom.header import patient_from_dicom
from xraycls.data.dicom.pseudonym import pseudonym
from xraycls.data.dicom.sniff import DICOM_SUFFIXES
from xraycls.data.processors import in_threads, pool_size
from xraycls.data.table import SampleTable
from xraycls.types import Sample

logger = logging.getLogger(__name__)

# Matched at the start of the name without its suffix; group 1 is the patient. The names of an augmented copy,
# such as person12_virus_34_flipped, still tell the patient, so only NIH's rule, all digits, spans the whole name.
PATIENT_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("kermany-pneumonia", re.compile(r"(person\d+)_(?:bacteria|virus)_\d+")),
    ("kermany-normal", re.compile(r"(?:NORMAL2-)?IM-(\d+)-\d+")),
    ("nih", re.compile(r"(\d{8})_\d{3}$")),
    ("rsna", re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?![0-9a-f])")),
    ("phantom", re.compile(r"(p\d{4,})_\d+$")),
    ("chexpert", re.compile(r"(patient\d+)[_-]", re.IGNORECASE)),
    ("bids", re.compile(r"(sub-[A-Za-z0-9]+)(?:_|$)")),
    ("mimic", re.compile(r"(p\d{8})_s\d{8}")),
)
# Folders named after a patient, matched from end to end: CheXpert's and MURA's patient00001, BIDS' sub-01, MIMIC's
# p10000032 (but not p10, which holds many).
_FOLDER = re.compile(
    r"(?:(?:patient|pat|pt|subject|subj|sub|person|participant|case|mrn)[ _-]?(?:id|no)?[ _-]?[a-z]{0,4}\d+[a-z]?"
    r"|sub-[a-z0-9]+|p\d{5,})",
    re.IGNORECASE,
)
# What de-identifying programs write for everybody, besides the names that xraycls.data.dicom knows.
_PLACEHOLDERS = (
    "REMOVED DEIDENTIFIED DE-IDENTIFIED DEID REDACTED MASKED HIDDEN DUMMY TEST DEFAULT PATIENT PATIENTID NOID NO_ID "
    "NONAME ANONYMOUS^PATIENT ANON^ANON ANONPATIENT ANONYMOUSPATIENT ANONYMIZED^PATIENT NOTAVAILABLE N/A NAN ID 123456 "
    "12345678"
).split()
_FEWEST = 3  # images of one patient for whom a single identifier is a placeholder
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


def patient_of_folder(path: Path) -> str | None:
    """The patient that the folder nearest to a file is named after; None without one.

    >>> patient_of_folder(Path("train/patient00001/study1/view1.jpg"))
    'patient00001'
    """
    return next((part for part in reversed(path.parent.parts) if _FOLDER.fullmatch(part)), None)


def with_patients(table: SampleTable) -> SampleTable:
    """The table with patients from DICOM tags, folders and file names, unless its source already told some.

    A patient from DICOM tags goes by a pseudonym; only files whose tags don't tell go by their folder or name. One
    identifier that all images share, or that de-identifying programs write, is none: a warning says so.
    """
    if not any(sample.patient is not None for sample in table):
        dicom = [sample.path for sample in table if _may_be_dicom(sample.path)]
        told = dict(zip(dicom, in_threads(patient_from_dicom, dicom, pool_size(_THREADS)), strict=True))
        table = table.with_samples(replace(s, patient=told.get(s.path) or _from_names(s, table)) for s in table)
    return _without_placeholders(table)


def _without_placeholders(table: SampleTable) -> SampleTable:
    known = _placeholders()
    named = [sample.patient for sample in table if sample.patient is not None]
    shared = {named[0]} if len(named) >= _FEWEST and len(set(named)) == 1 and len(named) == len(table) else set()
    nobody = shared | (known & set(named))
    if not nobody:
        return table
    count = sum(patient in nobody for patient in named)
    logger.warning(
        "%s of %s images of %s name one patient, which looks like a placeholder of de-identified files: each of them "
        "is taken for a patient of its own. To group them, give a CSV with a column of patients.",
        f"{count:,}",
        f"{len(table):,}",
        table.root,
    )
    return table.with_samples(replace(s, patient=None) if s.patient in nobody else s for s in table)


@cache
def _placeholders() -> frozenset[str]:
    """Placeholders as they stand in tables and, as pseudonyms, in tables of DICOM files."""
    repeated = [character * count for character in "X0*-9" for count in range(3, 17)]
    texts = {spelt for text in (*_PLACEHOLDERS, *repeated) for spelt in (text, text.lower(), text.title())}
    return frozenset(texts | {pseudonym(text) for text in texts})


def _may_be_dicom(path: Path) -> bool:
    """Folders take files without a suffix, or with numbers for one, as DICOM alone."""
    suffix = path.suffix.lower()
    return suffix in DICOM_SUFFIXES or not suffix or suffix[1:].isdigit()


def _from_names(sample: Sample, table: SampleTable) -> str | None:
    below = table.name_of(sample) if sample.member is None else str(sample.path)
    return _of_folders(below.rpartition("/")[0]) or patient_of(sample.path)


@lru_cache(1024)
def _of_folders(folder: str) -> str | None:
    """The patient that a folder, or one above it, is named after; None for a path that doesn't begin at the root."""
    return None if folder.startswith("/") else patient_of_folder(Path(folder) / "file")
