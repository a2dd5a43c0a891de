"""Burnt-in letters that tell the label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from xraycls.data.audit.features import Feature
from xraycls.data.audit.finding import Evidence, Finding
from xraycls.data.audit.shortcut import branches, in_words, labelled, rules

_LEAST = 0.8
_FEWEST = 0.02  # share of the pictures that have a marker


def check_markers(evidence: Evidence) -> Iterator[Finding]:
    """Classes that a laterality marker tells with AUC ≥ 0.8: by being there, its letter, or its place and size."""
    rows = [row for row in labelled(evidence) if row in evidence.decoded]
    marked = [row for row in rows if evidence.decoded[row].marker is not None]
    if len(marked) < _FEWEST * len(rows):
        return
    yield from _findings(evidence, rows, list(_presence(evidence, rows)), "Laterality markers")
    yield from _findings(evidence, marked, list(_place(evidence, marked)), "Place and size of laterality markers")


def _findings(evidence: Evidence, rows: Sequence[int], features: list[Feature], what: str) -> Iterator[Finding]:
    varied = [feature for feature in features if np.ptp(feature.values) > 0]
    for name, rule in rules(evidence, rows, varied, _LEAST):
        yield Finding(
            "marker",
            "error",
            f"{what} tell {name} without the lungs (AUC {rule.auc:.2f}): {in_words(rule, name)}",
            "A network learns to read the letter. Crop the edges (--central-crop 0.9), black markers out, or take "
            "pictures of all classes from the same machines. Only upright burnt-in R and L are looked for.",
            branches(rows, rule, name),
            {"class": name, "auc": rule.auc, "counts": _counts(evidence)},
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


def _counts(evidence: Evidence) -> dict[str, dict[str, int]]:
    """Pictures of each class with R, with L and without either."""
    counts = {name: {"R": 0, "L": 0, "none": 0} for name in evidence.table.classes}
    for row, facts in evidence.decoded.items():
        if (label := evidence.table[row].label) is not None:
            counts[evidence.table.classes[label]][facts.marker.letter if facts.marker else "none"] += 1
    return counts
