"""Checks between splits: patients in several of them, and how the classes are spread."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.data.audit.finding import Evidence, Finding, Group, counted
from xraycls.data.patients import patient_of
from xraycls.data.table import SampleTable
from xraycls.types import Sample

_ADVICE = (
    "Two films of one patient are nearly one film: a network recognises the patient, and the test looks better than it "
    "is. Draw the splits by patient (xraycls data split)."
)
_NUMBERS = (
    "Names such as person100_virus and person100_bacteria, or IM-0117 and NORMAL2-IM-0117, may number different "
    "patients: in Kermany's set no number crosses splits within its own series. Splits that are drawn here keep them "
    "together all the same, to be safe; where you know better, tell so by a patient column of a CSV."
)

_SHIFT = 0.10  # of a class's share, in one split against the others
_ERRORS = 4  # standard errors above which a shift is no accident of the draw


def check_patients(evidence: Evidence) -> Iterator[Finding]:
    """Patients whose pictures stand in two or three splits.

    Who a patient is comes from the table, a DICOM file's tags or the file name, and is not told here: groups are
    numbered. A number that several series of file names share is only a warning.
    """
    torn = _torn(evidence, lambda sample: (sample.patient, _series(sample, evidence.table)))
    if torn:
        title = f"{counted(len(torn), 'patient')} with {_pictures(torn)} in more than one split"
        yield Finding("patient-across-splits", "error", title, _ADVICE, _groups(torn), {"patients": len(torn)})
    known = {row for rows in torn for row in rows}
    shared = [rows for rows in _torn(evidence, lambda sample: sample.patient) if not known.intersection(rows)]
    if shared:
        title = f"{counted(len(shared), 'patient number')} of {_pictures(shared)} in several splits, under other names"
        figures = {"numbers": len(shared)}
        yield Finding("patient-number-across-splits", "warning", title, _NUMBERS, _groups(shared), figures)


def _torn(evidence: Evidence, key: Callable[[Sample], Hashable]) -> list[tuple[int, ...]]:
    """Rows of each key of which two or more splits hold one; samples of unknown patients are passed over."""
    rows_of: dict[Hashable, list[int]] = defaultdict(list)
    for row in evidence.readable:
        sample = evidence.table[row]
        if sample.patient is not None:
            rows_of[key(sample)].append(row)
    return [tuple(rows) for rows in rows_of.values() if len(evidence.splits_of(tuple(rows))) > 1]


def _series(sample: Sample, table: SampleTable) -> str:
    """The words of a file name that told the patient; "" where something else did."""
    name = Path(table.name_of(sample))
    return re.sub(r"[\W\d_]+", " ", name.stem) if sample.patient == patient_of(name) else ""


def _groups(torn: list[tuple[int, ...]]) -> tuple[Group, ...]:
    return tuple(Group(rows, f"patient {number}") for number, rows in enumerate(torn, start=1))


def _pictures(torn: list[tuple[int, ...]]) -> str:
    return counted(sum(map(len, torn)), "picture")


def check_balance(evidence: Evidence) -> Iterator[Finding]:
    """Classes that a split lacks, and class shares that differ between splits by a tenth and more than chance."""
    table = evidence.table
    counts = np.array([list(table.split(split).counts().values()) for split in table.splits])
    if counts.shape[0] < 2:
        return
    lacking = [
        (table.classes[label], table.splits[split])
        for label in np.flatnonzero(counts.any(axis=0))
        for split in np.flatnonzero(counts[:, label] == 0)
    ]
    figures = {"counts": {split: table.split(split).counts() for split in table.splits}}
    if lacking:
        named = ", ".join(f"{name} in {split}" for name, split in lacking)
        yield Finding(
            "class-missing",
            "error",
            f"A split lacks a class: {named}",
            "What a split doesn't hold can't be learnt, chosen for or measured there. Draw the splits anew, stratified "
            "by class (xraycls data split).",
            tuple(Group((), f"no {name} in {split}") for name, split in lacking),
            figures,
        )
        return
    shifts = list(_shifts(table.splits, table.classes, counts))
    if shifts:
        yield Finding(
            "class-shares",
            "warning",
            f"Class shares differ between splits: {'; '.join(shifts)}",
            "Predictive values, accuracy and a threshold chosen in one split don't carry over to the other. Report "
            "figures that don't depend on the share (sensitivity, specificity, AUC), or draw the splits anew (xraycls "
            "data split).",
            tuple(Group((), shift) for shift in shifts),
            figures,
        )


def _shifts(splits: Sequence[str], classes: Sequence[str], counts: npt.NDArray[np.int64]) -> Iterator[str]:
    """Every split that differs from the first, which is training where there is one: the class that differs most."""
    usual, total = counts[0] / counts[0].sum(), counts[0].sum()
    for split, own in zip(splits[1:], counts[1:], strict=True):
        shares = own / own.sum()
        # Of two classes, which differ alike, the positive one is told.
        label = 1 if len(classes) == 2 else int(np.abs(shares - usual).argmax())
        pooled = (own[label] + counts[0, label]) / (own.sum() + total)
        error = np.sqrt(pooled * (1 - pooled) * (1 / own.sum() + 1 / total))
        if abs(shares[label] - usual[label]) > max(_SHIFT, _ERRORS * error):
            yield f"{split} has {shares[label]:.0%} {classes[label]}, {splits[0]} {usual[label]:.0%}"
