"""What the header of a DICOM radiograph says, without its pixels and without who it shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraycls.data.dicom.dataset import read_elements, value_of, values_of
from xraycls.data.dicom.pseudonym import pseudonym
from xraycls.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

_KEYWORDS = (
    "Rows",
    "Columns",
    "BitsStored",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "Modality",
    "ViewPosition",
    "PatientID",
    "PatientSex",
    "PatientAge",
    "BurnedInAnnotation",
)
_SCANNER = ("Manufacturer", "ManufacturerModelName")
_LONGEST_NAME = 64  # characters, as of VR LO
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")  # of VR CS (PS3.5, 6.2); whatever else stands there may be a name
_SEXES = {"M": "M", "F": "F", "O": "O", "MALE": "M", "FEMALE": "F", "OTHER": "O"}
_AGE = re.compile(r"(\d{1,3})\s*([YMWD]?)", re.IGNORECASE)
_A_YEAR = {"": 1, "Y": 1, "M": 12, "W": 365.25 / 7, "D": 365.25}
# What anonymising programs write for everybody.
_NOBODY = frozenset({"", "0", "NA", "NONE", "NULL", "ANON", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Header:
    """The facts of one image; None where the file doesn't say.

    Attributes:
        width: pixels.
        height: pixels.
        bits: stored a pixel.
        spacing: millimetres from pixel to pixel, down and across: in the patient where that is known, else on the
            detector.
        modality: "DX", "CR" and so on.
        view: "PA", "AP", "LL" and so on.
        sex: "M", "F" or "O".
        age: years.
        patient: the pseudonym of the patient.
        burnt_in: whether the file says that text, such as a name, is part of the picture.
    """

    width: int | None = None
    height: int | None = None
    bits: int | None = None
    spacing: tuple[float, float] | None = None
    modality: str | None = None
    view: str | None = None
    sex: str | None = None
    age: float | None = None
    patient: str | None = None
    burnt_in: bool = False

    @property
    def attributes(self) -> tuple[tuple[str, str], ...]:
        """What is known beyond size and patient, as :attr:`xraycls.types.Sample.attributes`."""
        spacing = None if self.spacing is None else "\\".join(f"{mm:g}" for mm in self.spacing)
        age = None if self.age is None else f"{self.age:.4g}"
        named = {"age": age, "sex": self.sex, "view": self.view, "modality": self.modality, "spacing": spacing}
        return tuple((name, value) for name, value in named.items() if value)


def read_header(path: Path) -> Header:
    """The facts of a DICOM file, in a millisecond or less: pixels aren't read.

    A value that breaks the standard is None; an age without its unit is taken as years.

    Raises:
        DataError: unreadable, empty, or no DICOM file.
    """
    dataset = read_elements(path, _KEYWORDS)
    return Header(
        width=value_of(dataset, "Columns", _whole),
        height=value_of(dataset, "Rows", _whole),
        bits=value_of(dataset, "BitsStored", _whole),
        spacing=_spacing(dataset),
        modality=value_of(dataset, "Modality", _code),
        view=value_of(dataset, "ViewPosition", _code),
        sex=_SEXES.get(value_of(dataset, "PatientSex", _code) or ""),
        age=value_of(dataset, "PatientAge", _years),
        patient=_patient(dataset),
        burnt_in=value_of(dataset, "BurnedInAnnotation", _code) == "YES",
    )


def patient_from_dicom(path: Path) -> str | None:
    """The pseudonym of the patient that a DICOM file shows; None where it doesn't say or can't be read."""
    try:
        return _patient(read_elements(path, ("PatientID",)))
    except DataError:
        return None


def scanner_of(path: Path) -> str | None:
    """Manufacturer and model of what took a DICOM file; None where it doesn't say or can't be read."""
    try:
        dataset = read_elements(path, _SCANNER)
    except DataError:
        return None
    parts = [value_of(dataset, keyword, lambda value: " ".join(str(value).split())) for keyword in _SCANNER]
    return " ".join(part for part in parts if part)[:_LONGEST_NAME] or None


def _patient(dataset: Dataset) -> str | None:
    identifier = value_of(dataset, "PatientID", str) or ""
    return None if identifier.strip().upper() in _NOBODY else pseudonym(identifier)


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    return values_of(dataset, "PixelSpacing", _positive_pair) or values_of(
        dataset, "ImagerPixelSpacing", _positive_pair
    )


def _positive_pair(values: Sequence[Any]) -> tuple[float, float] | None:
    down, across = (float(value) for value in values)
    return (down, across) if down > 0 and across > 0 else None


def _whole(value: Any) -> int | None:
    return int(value) or None


def _code(value: Any) -> str | None:
    code = str(value).strip().upper()
    return code if _CODE.fullmatch(code) else None


def _years(value: Any) -> float | None:
    match = _AGE.fullmatch(str(value).strip())
    return None if match is None else int(match[1]) / _A_YEAR[match[2].upper()]
