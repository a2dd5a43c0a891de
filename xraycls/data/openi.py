"""Open-i's chest radiographs of Indiana University (NLMCXR): a report a study in XML, with MeSH terms, and its films.

Reports are ``ecgen-radiology/<number>.xml``, films PNG files that the reports name (Demner-Fushman et al., JAMIA 2016).
A finding is the part of a MeSH term before its first "/", such as Cardiomegaly of "Cardiomegaly/mild"; what a report
doesn't index is absent. "normal" means none, "No Indexing" and "Technical Quality of Image Unsatisfactory" that nothing
is known.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element

from xraycls.data.csv import Row, label_name, table_of_rows
from xraycls.data.documents import parse_xml
from xraycls.data.files import is_special
from xraycls.data.findings import values_of_lists
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.table import SampleTable
from xraycls.errors import DataError

_UNKNOWN = ("no indexing", "technical quality of image unsatisfactory")
_NORMAL = "normal"
_MOST_BYTES = 2**20  # of a report; they have about 5 kB
_VIEWS = re.compile(r"\b(PA|AP|lateral|frontal)\b", re.IGNORECASE)


def read_openi(
    path: Path, *, images: Path | None = None, strict: bool = False, options: ReadOptions = AS_IT_IS
) -> SampleTable:
    """Read the reports below a folder, and the films that they name.

    A report is a patient, as the collection has one study of each. Captions that name the projection of a film become
    its attribute "view".

    Args:
        path: the folder of reports, or the one that holds it.
        images: the folder of the films, with sub-folders; None for ``path``.
        strict: raise where a film is missing instead of leaving it out.
        options: of no effect.

    Raises:
        DataError: a report can't be read, or no film is there.
    """
    reports = _reports(path)
    lists, parts = [], []
    for number, report in enumerate(reports, start=1):
        root = _parsed(report)
        terms = [(node.text or "").strip() for node in root.iterfind("./MeSH/major")]
        found = _findings(terms)
        patient = report.stem
        for film in root.iterfind("./parentImage"):
            caption = (film.findtext("caption") or "").strip()
            view = _VIEWS.search(caption)
            named = {"report": patient, "mesh": "|".join(terms), "view": view[1] if view else ""}
            others = tuple((name, value) for name, value in named.items() if value)
            parts.append((number, f"{film.get('id', '')}.png", patient, others))
            lists.append(found)
    names, values = values_of_lists(lists)
    rows = [
        Row(number, film, label_name(found), patient, None, others, found)
        for (number, film, patient, others), found in zip(parts, values, strict=True)
        if film != ".png"
    ]
    if not rows:
        raise DataError(f"The reports below {path} name no film", path)
    return table_of_rows(path / "reports", rows, images=images or path, strict=strict, findings=names)


def is_openi(path: Path) -> bool:
    """Whether a folder holds Open-i's reports."""
    if not path.is_dir():
        return False
    first = next(iter(_reports(path)), None)
    if first is None or first.stat().st_size > _MOST_BYTES:
        return False
    head = first.read_bytes()
    return b"<eCitation" in head and b"<MeSH" in head


def _reports(path: Path) -> list[Path]:
    patterns = ("*.xml", "ecgen-radiology/*.xml", "*/ecgen-radiology/*.xml")
    found = [file for pattern in patterns for file in path.glob(pattern) if not is_special(file)]
    return sorted(found, key=lambda file: (len(file.stem), file.stem))


def _parsed(report: Path) -> Element:
    try:
        if report.stat().st_size > _MOST_BYTES:
            raise DataError(f"{report} is no report of Open-i: it has more than a megabyte", report)
        return parse_xml(report.read_bytes())
    except OSError as error:
        raise DataError(f"{report} could not be read: {error.strerror}", report) from error
    except ValueError as error:
        raise DataError(f"{report} is no report of Open-i: {error}", report) from error


def _findings(terms: list[str]) -> frozenset[str] | None:
    named = {term.partition("/")[0].strip() for term in terms}
    known = {name for name in named if name and name.lower() not in _UNKNOWN}
    if not known:
        return None
    return frozenset(name for name in known if name.lower() != _NORMAL)
