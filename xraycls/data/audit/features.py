"""What is known of a picture beside its content: numbers and flags that should not tell its label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xraycls.data.audit.finding import Evidence
from xraycls.data.records import plain

Floats = npt.NDArray[np.float64]

# By the plain name of a column. What describes the finding itself, such as a subtype, is no one's shortcut.
_AGES = ("age", "patientage", "ageyears")
_NAMED = {
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "view": ("view", "viewposition", "projection"),
    "modality": ("modality",),
    "source": ("source", "site", "hospital", "institution", "institutionname", "dataset", "datasource"),
    "device": ("device", "manufacturer", "manufacturermodelname", "scanner"),
}
_OLDEST = 120
_MOST_VALUES = 20  # of a column; one with more names single pictures
_RARE = 2


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of every picture.

    Attributes:
        name: in words; a flag's is a statement, such as "sex is F".
        values: float64 [n].
        shown: a value in words; None for a flag, which is 0 or 1.
    """

    name: str
    values: Floats
    shown: Callable[[float], str] | None


def metadata_features(evidence: Evidence, rows: Sequence[int]) -> list[Feature]:
    """What headers, files, table columns and DICOM tags say of some pictures; only what isn't the same for all.

    Brightness and contrast are left out: they belong to the content, and disease changes them. A frame of constant
    brightness and colour are known once pictures are decoded.
    """
    return [f for f in _all(evidence, rows) if np.ptp(f.values) > 0]


def _all(evidence: Evidence, rows: Sequence[int]) -> Iterator[Feature]:
    headers = [evidence.headers[row] for row in rows]
    known = [header for header in headers if header is not None]
    width, height = (np.array([getattr(h, name) for h in known], float) for name in ("width", "height"))
    size = np.array([h.bytes for h in known], float)
    yield Feature("file size", size, _bytes)
    yield Feature("width", width, _pixels)
    yield Feature("height", height, _pixels)
    yield Feature("width : height", width / height, lambda ratio: f"{ratio:.2f}")
    yield Feature("bytes a pixel", size / (width * height), lambda value: f"{value:.3g}")
    yield Feature("bits a sample", np.array([h.depth for h in known], float), lambda bits: f"{bits:.0f}")
    yield Feature("channels", np.array([h.channels for h in known], float), lambda count: f"{count:.1f}")
    yield from _flags("format", [h.format for h in known])
    if all(row in evidence.decoded for row in rows):
        facts = [evidence.decoded[row] for row in rows]
        yield Feature("border", np.array([f.border for f in facts]), lambda share: f"{share:.1%} of the area")
        yield Feature("colour", np.array([f.colour for f in facts]), lambda chroma: f"{chroma:.1f} grey levels")
    columns = [_attributes(evidence, row) for row in rows]
    yield from _ages([_age(column) for column in columns])
    for name, aliases in _NAMED.items():
        yield from _flags(name, [next((c[alias].upper() for alias in aliases if c.get(alias)), "") for c in columns])


def _attributes(evidence: Evidence, row: int) -> dict[str, str]:
    """By plain name; what the table says comes before what a DICOM file says."""
    header = evidence.headers[row]
    written = (*(header.attributes if header else ()), *evidence.table[row].attributes)
    return {plain(name): value.strip() for name, value in written if value.strip()}


def _age(column: dict[str, str]) -> float:
    """Years; nan where unknown or beyond belief."""
    text = next((column[alias] for alias in _AGES if alias in column), "")
    match = re.fullmatch(r"0*(\d+(?:\.\d+)?)\s*(?:y|years?)?", text, re.IGNORECASE)
    age = float(match[1]) if match else np.nan
    return age if age <= _OLDEST else np.nan


def _ages(ages: list[float]) -> Iterator[Feature]:
    values = np.array(ages)
    unknown = np.isnan(values)
    if unknown.all():
        return
    yield Feature("age", np.where(unknown, np.nanmedian(values), values), lambda age: f"{age:.3g}")
    yield Feature("age is unknown", unknown.astype(float), None)


def _flags(name: str, values: list[str]) -> Iterator[Feature]:
    """One flag a value of a column, "unknown" being one."""
    counts = Counter(values)
    if set(counts) == {""} or len(counts) > _MOST_VALUES:
        return
    for value, count in sorted(counts.items()):
        if count > _RARE:
            yield Feature(f"{name} is {value or 'unknown'}", np.array([v == value for v in values], float), None)


def _bytes(size: float) -> str:
    return f"{size / 1e6:,.2f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def _pixels(length: float) -> str:
    return f"{length:,.0f} pixels"
