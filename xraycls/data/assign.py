"""Assigning every image to a split, once and for all: what `xraycls data split` writes down."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.data.files import atomic_write
from xraycls.data.formats.table import table_csv
from xraycls.data.split import draw_splits, group_key, shuffling_key
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import SPLITS, Sample, Split

logger = logging.getLogger(__name__)

_NAMED = 5
_FEWER = "Choose fewer folds, or add images"


def split_table(
    table: SampleTable,
    *,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    redraw: bool = False,
    redraw_val: bool = False,
    seed: int = 0,
) -> SampleTable:
    """The table with a split for every sample, and no patient in two; given splits stay unless they are redrawn.

    Args:
        table: samples with labels.
        val_fraction: share drawn for validation where none is given, 0–1.
        test_fraction: likewise for the test.
        redraw: draw all splits anew.
        redraw_val: draw validation anew from the images that aren't for the test.
        seed: of the draw.

    Raises:
        DataError: a patient is in two given splits, or there are too few patients for a split.
        UsageError: shares that leave nothing to train on.
    """
    table = _with_classes_present(table)
    if not redraw:
        _require_patients_apart(table, lambda s: "train" if redraw_val and s.split == "val" else s.split or "train")
    return draw_splits(
        table,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        redraw=redraw,
        redraw_val=redraw_val,
        seed=seed,
    )


def without_test_patients(table: SampleTable) -> SampleTable:
    """The table without the training and validation images of patients who are in its test split.

    So a published test split stays as it is, and nothing of its patients is learnt from.
    """
    tested = {s.patient for s in table if s.split == "test" and s.patient is not None}
    kept = table.with_samples(s for s in table if s.split == "test" or s.patient not in tested)
    if left_out := len(table) - len(kept):
        logger.info("%d images of patients of the test split are left out of training and validation.", left_out)
    return kept


def fold_tables(table: SampleTable, folds: int, *, redraw: bool = False, seed: int = 0) -> list[SampleTable]:
    """Tables for cross-validation: fold i of table i is held out, and no patient is in two splits.

    Where the data has a test split of its own, it is the test split of every table, and fold i validates. Otherwise
    fold i tests and the next one validates, so that each image is tested in one table and never selected by there.
    The attribute "fold" keeps the number.

    Args:
        table: samples with labels; a given validation split is taken apart.
        folds: how many, 2 or more; 3 or more without a given test split.
        redraw: draw from all images, those of the given test split too.
        seed: of the draw.

    Raises:
        DataError: a patient is in the test split and elsewhere, or there are too few patients.
        UsageError: too few folds.
    """
    table = _with_classes_present(table)
    if redraw:
        table = table.with_samples(replace(sample, split=None) for sample in table)
    _require_patients_apart(table, lambda s: "test" if s.split == "test" else "train")
    has_test = "test" in table.splits
    if folds == 2 and not has_test:
        raise UsageError(
            "--folds 2 leaves nothing to train on: without a test split of its own, one fold tests and one validates",
            "Give 3 or more, usually 5",
        )
    if "val" in table.splits:
        logger.info("The validation split of %s is taken apart into the folds.", table.root)
    pool = table.with_samples(s for s in table if s.split != "test")
    numbers = dict(zip(pool, draw_folds(pool, folds, seed).tolist(), strict=True))
    return [
        table.with_samples(_in_fold(sample, numbers.get(sample), fold, folds, has_test) for sample in table)
        for fold in range(folds)
    ]


def with_fold(table: SampleTable, folds: int, fold: int, *, seed: int = 0) -> SampleTable:
    """The table with one of its folds held out, the next one for validation and the others to train on.

    What is held out chose neither the weights nor a threshold, so that every image can be predicted by a network that
    knows nothing of its patient. Where the data has a test split of its own, that stays as it is and the fold that is
    held out is in no split; else this fold is the test split.

    Args:
        table: samples with labels; a given validation split is taken apart.
        folds: how many, 3 or more, drawn by :func:`draw_folds`.
        fold: the number of the one that is held out, from 0.
        seed: of the draw.

    Raises:
        DataError: a patient is in the test split and elsewhere, or there are too few patients.
        UsageError: too few folds, or there is no such fold.
    """
    if folds < 3:
        raise UsageError(
            f"--folds {folds} leaves nothing to train on: one fold is held out and one validates",
            "Give 3 or more, usually 5",
        )
    if not 0 <= fold < folds:
        raise UsageError(f"--fold {fold} is none of the {folds} folds", f"They are counted from 0 to {folds - 1}")
    _require_patients_apart(
        table,
        lambda s: "test" if s.split == "test" else "train",
        "Leave their other images out: xraycls data split DATA --keep-test writes a table without them",
    )
    held_out: Split | None = None if "test" in table.splits else "test"
    pool = table.with_samples(s for s in table if s.split != "test")
    splits: dict[int, Split | None] = {fold: held_out, (fold + 1) % folds: "val"}
    drawn = iter(draw_folds(pool, folds, seed).tolist())
    return table.with_samples(
        s if s.split == "test" else replace(s, split=splits.get(next(drawn), "train")) for s in table
    )


def held_out_of(table: SampleTable) -> SampleTable:
    """The samples that :func:`with_fold` held out."""
    unsplit = table.with_samples(s for s in table if s.split is None)
    return unsplit if len(unsplit) else table.split("test")


def fold_files(folder: Path, folds: int) -> list[Path]:
    """``fold-0.csv`` and so on in a folder.

    Raises:
        DataError: the folder is a file, or holds such files of a draw of more folds.
    """
    if folder.is_file():
        raise DataError(f"{folder} is a file, but folds need a folder", folder, "Name a folder with --output")
    files = [folder / f"fold-{number}.csv" for number in range(folds)]
    others = sorted(set(folder.glob("fold-*.csv")) - set(files))
    if others:
        raise DataError(f"{others[0]} belongs to another draw", others[0], "Remove it, or choose another --output")
    return files


def write_new(tables: dict[Path, SampleTable], *, overwrite: bool = False) -> bool:
    """Write tables as CSVs, all or none.

    Args:
        tables: where to write what.
        overwrite: replace files that hold something else.

    Returns:
        Whether anything was written; False where all of it is there already.

    Raises:
        DataError: a file holds something else, or a table can't be a CSV.
        XrayclsError: a file can't be written.
    """
    if any(sample.boxes for table in tables.values() for sample in table):
        logger.info("A CSV of splits has labels, but no boxes.")
    contents = {path: table_csv(table, path.parent) for path, table in tables.items()}
    changed = [path for path in contents if not (path.is_file() and path.read_bytes() == contents[path])]
    standing = [path for path in changed if path.exists()]
    if standing and not overwrite:
        raise DataError(f"{standing[0]} holds something else", standing[0], "Replace it with --overwrite")
    with ExitStack() as stack:  # none gets its name before all are on the disk
        for path in changed:
            stack.enter_context(atomic_write(path)).write_bytes(contents[path])
    return bool(changed)


def _with_classes_present(table: SampleTable) -> SampleTable:
    """The table without classes that no image has, as sets of boxes often have no negatives."""
    table = table.single_label()
    present = sorted({sample.label for sample in table if sample.label is not None})
    label_of: dict[int | None, int | None] = {label: index for index, label in enumerate(present)} | {None: None}
    samples = (replace(sample, label=label_of[sample.label]) for sample in table)
    return replace(table, classes=tuple(table.classes[label] for label in present), samples=tuple(samples))


def _in_fold(sample: Sample, number: int | None, fold: int, folds: int, has_test: bool) -> Sample:
    """The sample as the table of a fold has it; ``number`` is its own fold, None for the given test split."""
    if number is None:
        return sample
    held_out: dict[int, Split] = {fold: "val"} if has_test else {(fold + 1) % folds: "val", fold: "test"}
    others = tuple(pair for pair in sample.attributes if pair[0] != "fold")
    return replace(sample, split=held_out.get(number, "train"), attributes=(*others, ("fold", str(number))))


def _require_patients_apart(
    table: SampleTable,
    side_of: Callable[[Sample], Split],
    hint: str = "Draw all splits anew with --redraw, or leave out other images of the test's patients with --keep-test",
) -> None:
    """Raise DataError where a patient is on two sides."""
    sides: dict[str, Counter[Split]] = defaultdict(Counter)
    for sample in table:
        if sample.patient is not None:
            sides[sample.patient][side_of(sample)] += 1
    crossing = {patient: counts for patient, counts in sides.items() if len(counts) > 1}
    if crossing:
        named = "; ".join(f"{patient} ({_counted(crossing[patient])})" for patient in sorted(crossing)[:_NAMED])
        raise DataError(
            f"{len(crossing):,} of {len(sides):,} patients of {table.root} are in more than one split, such as {named}",
            table.root,
            hint,
        )


def _counted(counts: Counter[Split]) -> str:
    return ", ".join(f"{counts[split]} in {split}" for split in SPLITS if counts[split])


def draw_folds(table: SampleTable, folds: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """The fold of every sample, 0 to ``folds`` - 1: int64 [n].

    Patients with many images go first, each to the fold that has the smallest part of their classes and findings so
    far, so that the many with one image even out what is left (Graham, "Bounds on multiprocessing timing anomalies",
    SIAM Journal on Applied Mathematics 17, 1969). An image without a patient counts as a patient of its own. The draw
    depends on the seed and the names alone, not on the order of the table.

    Raises:
        UsageError: fewer than two folds.
        DataError: too few patients for every fold to have one of every class; of findings, for every fold to have one.
    """
    if folds < 2:
        raise UsageError(f"--folds {folds} makes no folds", "Give 2 or more, usually 5")
    groups: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(table):
        groups[group_key(table, sample)].append(index)
    if len(groups) < folds:
        patients = f"{len(groups):,} patient{'s'[: len(groups) != 1]}"
        raise DataError(f"No {folds} folds can be drawn from {table.root}: it has {patients}", table.root, _FEWER)
    # The images whose class is unknown are a class of their own, the first.
    kinds = np.hstack([np.eye(len(table.classes) + 1, dtype=np.int64)[table.labels + 1], table.targets == 1])
    totals = kinds.sum(axis=0)
    shares = 1.0 / np.maximum(totals, 1)
    counts = np.zeros((folds, len(totals)), np.int64)
    sizes = np.zeros(folds, np.int64)
    assigned = np.empty(len(table), np.int64)
    for key in sorted(groups, key=lambda key: (-len(groups[key]), shuffling_key(f"{seed}/folds/{key}"))):
        images = groups[key]
        added = kinds[images].sum(axis=0)
        # Where it adds least to the sum of squares of all folds' shares; of equals, where there are fewest images.
        fold = np.lexsort((sizes, counts @ (added * shares)))[0]
        counts[fold] += added
        sizes[fold] += len(images)
        assigned[images] = fold
    if table.findings:
        _warn_of_rare_findings(table, counts[:, len(table.classes) + 1 :])
    else:
        _require_every_class(table, groups, counts[:, 1:])
    return assigned


def _warn_of_rare_findings(table: SampleTable, counts: npt.NDArray[np.int64]) -> None:
    """``counts`` are images that show a finding, [folds, findings]."""
    without = (counts == 0).sum(axis=0).tolist()
    if rare := [f"{name} ({absent})" for name, absent in zip(table.findings, without, strict=True) if absent]:
        logger.warning(
            "Some of the %d folds have no image that is known to show a finding: %s. Fewer folds may do better.",
            len(counts),
            ", ".join(rare),
        )


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
            _FEWER,
        )
