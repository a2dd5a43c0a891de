"""How the classes are spread over the splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from xraycls.data.audit.finding import Evidence, Finding, Group

_SHIFT = 0.10  # of a class's share, in one split against the others
_ERRORS = 4  # standard errors above which a shift is no accident of the draw


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
