"""Which images train, which select and which are kept for the test: drawn where the data set doesn't say."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import Sample, Split

logger = logging.getLogger(__name__)

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "dev": "val",
    "devel": "val",
    "development": "val",
    "eval": "val",
    "evaluation": "val",
    "tuning": "val",
    "tune": "val",
    "holdout": "test",
    "held out": "test",
    "hold out": "test",
}
# Words that a name of a split may carry besides: "Train_set", "test images".
_FILLING = frozenset({"set", "sets", "data", "dataset", "split", "images", "image", "imgs", "img", "folder", "xray"})
_LONG_NAMES = {"val": "validation", "test": "test"}
_ENOUGH_IMAGES, _ENOUGH_OF_A_CLASS = 50, 10

_Counts = Counter[int | str | None]


def split_named(name: str) -> Split | None:
    """The split that a folder or a CSV cell means, in any case: train(ing), val(idation), dev, test(ing) ..."""
    return _SPLIT_NAMES.get(name.strip().lower().replace("_", " ").replace("-", " "))


def split_of_folder(name: str) -> Split | None:
    """The split that a folder above or below class folders means: also "Test_Set", "train-images" or "valData".

    >>> split_of_folder("Training Data"), split_of_folder("testSet"), split_of_folder("images")
    ('train', 'test', None)
    """
    if split := split_named(name):
        return split
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", name).lower().split()
    return split_named(" ".join(word for word in words if word not in _FILLING))


def draw_splits(
    table: SampleTable,
    *,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    redraw: bool = False,
    redraw_val: bool = False,
    seed: int = 0,
) -> SampleTable:
    """Give every sample a split; the splits that the table already has stay as they are.

    Missing ones are drawn from the training images and from those without a split: stratified by class, and never
    with a patient on both sides. An image without a patient counts as a patient of its own. The draw depends on the
    seed and the names alone, not on the order of the table, and hardly changes when a few images are added.

    Args:
        table: samples with labels; ``patient`` groups them.
        val_fraction: share of the images drawn from, 0–1; 0 draws none.
        test_fraction: likewise for the test split.
        redraw: put all given splits back into training and draw them anew.
        redraw_val: likewise the validation split alone.
        seed: another seed draws other patients.

    Raises:
        DataError: no training images of a class, or too few patients for a split that has to be drawn.
        UsageError: fractions that leave nothing to train on.
    """
    if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
        raise UsageError(
            f"A validation share of {val_fraction} and a test share of {test_fraction} leave nothing to train on",
            "Each must be 0 or more, and their sum below 1",
        )
    given = set() if redraw else set(table.splits) - ({"val"} if redraw_val else set())
    samples = [s if s.split in given else replace(s, split="train") for s in table]
    _warn_of_unsplit(table, given)
    _warn_of_tiny_validation(table, given)
    _require_training_images(table, samples)
    drawn_from = [s for s in samples if s.split == "train"]
    shares: dict[Literal["test", "val"], float] = {"test": test_fraction, "val": val_fraction}
    for split, share in shares.items():
        if split in given or share == 0:
            continue
        pool = [s for s in samples if s.split == "train"]
        drawn = _draw(table, pool, _targets(drawn_from, share), f"{seed}/{split}")
        samples = [replace(s, split=split) if s in drawn else s for s in samples]
        _require_both_sides(table, pool, drawn, split)
        _log_split(table, pool, drawn, split, seed)
    return table.with_samples(samples)


def _targets(drawn_from: list[Sample], share: float) -> _Counts:
    """Images wanted of each class: the share, at least one, and never all."""
    counts = _count(drawn_from)
    return Counter({label: min(max(round(share * n), 1), n - 1) for label, n in counts.items()})


def _draw(table: SampleTable, pool: list[Sample], targets: _Counts, salt: str) -> set[Sample]:
    """Whole patients, in an order shuffled by the salt, until the targets are met as nearly as they can be.

    Those that fit go first; then those that overshoot by less than what is still missing.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in pool:
        groups[group_key(table, sample)].append(sample)
    counts = {key: _count(group) for key, group in groups.items()}
    shuffled = sorted(groups, key=lambda key: shuffling_key(f"{salt}/{key}"))
    if table.findings:  # rare ones first, as no choice is left for them later (Sechidis et al., ECML PKDD 2011)
        totals = _count(pool)
        shuffled.sort(key=lambda key: min(totals[each] for each in counts[key]))
    drawn: set[str] = set()
    missing = Counter(targets)
    for rule in (_fits, _brings_nearer):
        for key in shuffled:
            if key not in drawn and rule(counts[key], missing):
                drawn.add(key)
                missing.subtract(counts[key])
    return {sample for key in drawn for sample in groups[key]}


def _fits(counts: _Counts, missing: _Counts) -> bool:
    return all(n <= missing[label] for label, n in counts.items())


def _brings_nearer(counts: _Counts, missing: _Counts) -> bool:
    return sum(abs(missing[label] - n) - abs(missing[label]) for label, n in counts.items()) < 0


def group_key(table: SampleTable, sample: Sample) -> str:
    """What mustn't be separated: the patient, or else the image, by a name that is the same on every machine."""
    if sample.patient is not None:
        return f"patient {sample.patient}"
    return f"image {table.name_of(sample)} None None"  # the end keeps the draws of earlier versions


def shuffling_key(text: str) -> bytes:
    """What to sort by for an order that looks random and is the same on every machine."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest()


def _count(samples: Iterable[Sample]) -> _Counts:
    """Images of each class and, where there are several findings an image, of each finding by its number."""
    counts: _Counts = Counter()
    for sample in samples:
        counts[sample.label] += 1
        counts.update(f"finding {number}" for number, value in enumerate(sample.findings) if value == 1)
    return counts


def _require_training_images(table: SampleTable, samples: list[Sample]) -> None:
    training = _count(s for s in samples if s.split == "train")
    if not training:
        raise DataError(
            f"{table.root} has no training images whose label is known",
            table.root,
            "Label some, or draw all splits anew: xraycls data split DATA --redraw writes a table of them",
        )
    if table.findings:  # classes only follow from them
        return
    for label, name in enumerate(table.classes):
        if not training[label]:
            elsewhere = " and ".join(sorted({str(s.split) for s in samples if s.label == label}))
            if not elsewhere:
                raise DataError(f"{table.root} has no images of class {name}", table.root)
            raise DataError(
                f"Class {name} of {table.root} has images in {elsewhere} but none to train on",
                table.root,
                "Class names must be spelled alike in every split",
            )


def _require_both_sides(table: SampleTable, pool: list[Sample], drawn: set[Sample], split: Split) -> None:
    before, after = _count(pool), _count(drawn)
    if table.findings:
        if not 0 < after.total() < before.total():
            raise DataError(
                f"No {_LONG_NAMES[split]} split can be drawn from {table.root}: it has too few patients",
                table.root,
                "Add images, change the share, or provide the split yourself",
            )
        return
    for label, name in enumerate(table.classes):
        if not 0 < after[label] < before[label]:
            patients = len({group_key(table, s) for s in pool if s.label == label})
            raise DataError(
                f"No {_LONG_NAMES[split]} split can be drawn from {table.root}: the {before[label]:,} images of class "
                f"{name} come from {patients:,} patient{'s'[: patients != 1]}, too few to set some apart",
                table.root,
                "Add images, change the share, or provide the split yourself",
            )


def _warn_of_unsplit(table: SampleTable, given: set[Split]) -> None:
    unsplit = sum(s.split is None for s in table)
    if given and unsplit:
        logger.warning("%d images of %s are in no split and count as training images.", unsplit, table.root)


def _warn_of_tiny_validation(table: SampleTable, given: set[Split]) -> None:
    if "val" not in given:
        return
    counts = table.split("val").counts()
    if sum(counts.values()) < _ENOUGH_IMAGES or any(n < _ENOUGH_OF_A_CLASS for n in counts.values()):
        logger.warning(
            "The validation split of %s has only %s, too few to choose a model by; "
            "--redraw-val puts them into training and draws a larger one.",
            table.root,
            _named(counts),
        )


def _log_split(table: SampleTable, pool: list[Sample], drawn: set[Sample], split: Split, seed: int) -> None:
    def patients(samples: Iterable[Sample]) -> int:
        return len({group_key(table, s) for s in samples})

    grouping = f"grouped by patient ({patients(drawn):,} of {patients(pool):,})"
    if all(s.patient is None for s in pool):
        grouping = "each image taken for a patient of its own"
    reason = "The %s split is drawn anew" if split in table.splits else "No %s split is given"
    logger.info(
        reason + ": %s of %s training images become it (%s), stratified by class, %s, seed %d.",
        _LONG_NAMES[split],
        f"{len(drawn):,}",
        f"{len(pool):,}",
        _named(table.with_samples(drawn).counts()),
        grouping,
        seed,
    )


def _named(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
