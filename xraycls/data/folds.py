"""k folds: equal parts of a data set, stratified by class and grouped by patient."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from xraycls.data.split import group_key, shuffling_key
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError


def draw_folds(table: SampleTable, folds: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """The fold of every sample, 0 to ``folds`` - 1: int64 [n].

    Patients with many images go first, each to the fold that has the smallest part of their classes so far, so that
    the many with one image even out what is left (Graham, "Bounds on multiprocessing timing anomalies", SIAM Journal on
    Applied Mathematics 17, 1969). An image without a patient counts as a patient of its own. The draw depends on the
    seed and the names alone, not on the order of the table.

    Raises:
        UsageError: fewer than two folds.
        DataError: too few patients for every fold to have one of every class.
    """
    if folds < 2:
        raise UsageError(f"--folds {folds} makes no folds", "Give 2 or more, usually 5")
    groups: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(table):
        groups[group_key(table, sample)].append(index)
    labels = table.labels + 1  # the images whose class is unknown are a class of their own, the first
    totals = np.bincount(labels, minlength=len(table.classes) + 1)
    shares = 1.0 / np.maximum(totals, 1)
    counts = np.zeros((folds, len(totals)), np.int64)
    assigned = np.empty(len(table), np.int64)
    for key in sorted(groups, key=lambda key: (-len(groups[key]), shuffling_key(f"{seed}/folds/{key}"))):
        images = groups[key]
        added = np.bincount(labels[images], minlength=len(totals))
        # Where it adds least to the sum of squares of all folds' shares; of equals, where there are fewest images.
        fold = np.lexsort((counts.sum(axis=1), counts @ (added * shares)))[0]
        counts[fold] += added
        assigned[images] = fold
    _require_every_class(table, groups, counts[:, 1:])
    return assigned


def _require_every_class(table: SampleTable, groups: dict[str, list[int]], counts: npt.NDArray[np.int64]) -> None:
    """``counts`` are images, [folds, classes]."""
    for label, name in enumerate(table.classes):
        if counts[:, label].all():
            continue
        patients = sum(any(table[index].label == label for index in group) for group in groups.values())
        images = counts[:, label].sum()
        raise DataError(
            f"No {len(counts)} folds can be drawn from {table.root}: the {images:,} images of class {name} come from "
            f"{patients:,} patient{'s'[: patients != 1]}, too few for every fold to have some",
            table.root,
            "Choose fewer folds, or add images",
        )
