"""Checks of single pictures: files that can't be read, black for white, burnt-in letters that tell the label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.audit.features import Feature
from xraycls.data.audit.finding import Evidence, Finding, Group, counted
from xraycls.data.audit.shortcut import branches, in_words, labelled, rules
from xraycls.data.headers import PictureHeader
from xraycls.data.image import GreyImage
from xraycls.data.table import SampleTable
from xraycls.data.verify import find_unreadable
from xraycls.errors import DataError

_SIDE = 16
_FEWEST = 8  # pictures from which there is a usual look
_COMMON = 0.4  # share of what pictures look like that the usual look explains; below it they are too unlike each other
_INVERTED = -0.3  # correlation with the usual look; of 6,000 upright radiographs the least is 0.07

_LEAST_AUC = 0.8
_LEAST_MARKED = 0.02  # share of the pictures that have a marker


def check_unreadable(table: SampleTable, read: Sequence[PictureHeader | DataError]) -> Iterator[Finding]:
    """Missing, empty, cut short or damaged files, and what is no picture at all.

    Args:
        table: the data set.
        read: the header or facts of every sample, or why there are none.
    """
    problems = find_unreadable(table)
    groups = []
    for row, (sample, result) in enumerate(zip(table, read, strict=True)):
        if sample.path in problems and sample.member is None:
            groups.append(Group((row,), problems[sample.path]))
        elif isinstance(result, DataError):
            groups.append(Group((row,), result.message.removeprefix(f"{sample.path} ")))
    if groups:
        yield Finding(
            "unreadable",
            "error",
            f"{counted(len(groups), 'file')} of {len(table):,} can't be read",
            "Training leaves them out, so the data is not what the table says. Fetch them again, or remove them.",
            tuple(groups),
        )


def check_polarity(evidence: Evidence) -> Iterator[Finding]:
    """Pictures that look like the negative of the others, as MONOCHROME1 does when nobody inverts it."""
    rows = list(evidence.decoded)
    inverted = [rows[i] for i in negatives([evidence.decoded[row].thumbnail for row in rows])]
    if inverted:
        yield Finding(
            "polarity",
            "error",
            f"{counted(len(inverted), 'picture')} of {len(rows):,} look like the negative of the others",
            "Bone is black in them and lungs are white, often because MONOCHROME1 was written as it is stored. Invert "
            "them, or convert them again from DICOM.",
            tuple(Group((row,)) for row in inverted),
        )


def negatives(thumbnails: Sequence[GreyImage]) -> list[int]:
    """Positions of the pictures whose grey levels run against those of most others.

    The usual look is the first principal axis of the pictures, each of mean 0 and length 1: unlike their mean, it does
    not fade when many are inverted.
    """
    if len(thumbnails) < _FEWEST:
        return []
    looks = np.empty((len(thumbnails), _SIDE**2), np.float32)
    for look, thumbnail in zip(looks, thumbnails, strict=True):
        look[:] = _look(thumbnail)
    shares, axes = np.linalg.eigh(looks.T @ looks / len(looks))
    alike = looks @ axes[:, -1]
    if np.median(alike) < 0:
        alike = -alike
    return np.flatnonzero(alike < _INVERTED).tolist() if shares[-1] >= _COMMON else []


def _look(thumbnail: GreyImage) -> npt.NDArray[np.float64]:
    levels = cv2.resize(thumbnail, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    levels -= levels.mean()
    return levels / max(float(np.linalg.norm(levels)), 1e-6)


def check_markers(evidence: Evidence) -> Iterator[Finding]:
    """Classes that a laterality marker tells with AUC ≥ 0.8: by being there, its letter, or its place and size."""
    rows = [row for row in labelled(evidence) if row in evidence.decoded]
    marked = [row for row in rows if evidence.decoded[row].marker is not None]
    if len(marked) < _LEAST_MARKED * len(rows):
        return
    yield from _of_markers(evidence, rows, list(_presence(evidence, rows)), "Laterality markers")
    yield from _of_markers(evidence, marked, list(_place(evidence, marked)), "Place and size of laterality markers")


def _of_markers(evidence: Evidence, rows: Sequence[int], features: list[Feature], what: str) -> Iterator[Finding]:
    varied = [feature for feature in features if np.ptp(feature.values) > 0]
    for name, rule in rules(evidence, rows, varied, _LEAST_AUC):
        yield Finding(
            "marker",
            "error",
            f"{what} tell {name} without the lungs (AUC {rule.auc:.2f}): {in_words(rule, name)}",
            "A network learns to read the letter. Crop the edges (--central-crop 0.9), black markers out, or take "
            "pictures of all classes from the same machines. Only upright burnt-in R and L are looked for.",
            branches(rows, rule, name),
            {"class": name, "auc": rule.auc, "counts": _marker_counts(evidence)},
        )


def _presence(evidence: Evidence, rows: Sequence[int]) -> Iterator[Feature]:
    letters = [marker.letter if (marker := evidence.decoded[row].marker) else "" for row in rows]
    yield Feature("a marker is there", np.array([letter != "" for letter in letters], float), None)
    yield Feature("the marker is L", np.array([letter == "L" for letter in letters], float), None)


def _place(evidence: Evidence, rows: Sequence[int]) -> Iterator[Feature]:
    markers = [marker for row in rows if (marker := evidence.decoded[row].marker)]
    yield Feature("from the left", np.array([marker.x for marker in markers]), lambda share: f"{share:.0%}")
    yield Feature("from the top", np.array([marker.y for marker in markers]), lambda share: f"{share:.0%}")
    yield Feature("height", np.array([marker.height for marker in markers]), lambda share: f"{share:.1%}")


def _marker_counts(evidence: Evidence) -> dict[str, dict[str, int]]:
    """Pictures of each class with R, with L and without either."""
    counts = {name: {"R": 0, "L": 0, "none": 0} for name in evidence.table.classes}
    for row, facts in evidence.decoded.items():
        if (label := evidence.table[row].label) is not None:
            counts[evidence.table.classes[label]][facts.marker.letter if facts.marker else "none"] += 1
    return counts


def check_burnt_in_text(evidence: Evidence) -> Iterator[Finding]:
    """DICOM files whose header says that text is burnt into the pixels."""
    rows = [row for row in evidence.readable if (header := evidence.headers[row]) and header.burnt_in]
    if rows:
        yield Finding(
            "burnt-in-text",
            "warning",
            f"{counted(len(rows), 'file')} of {len(evidence.table):,} say that text is burnt into the picture",
            "It may be a name, which no removal of header fields takes away, and a network may read it. Look at them "
            "before they leave the house.",
            tuple(Group((row,)) for row in rows),
        )
