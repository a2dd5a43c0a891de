"""Several trained classifiers as one model: how much each counts, chosen on images that none of them learned from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from xraycls.data.findings import with_findings
from xraycls.data.lock import sole_writer
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.source import read_table
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.evaluation.cases import FloatArray
from xraycls.evaluation.shares import best_shares
from xraycls.evaluation.thresholds import choose_threshold
from xraycls.inference.choose import open_classifier, predictor_of_classifier
from xraycls.inference.ensemble import Ensemble, ProbabilityPredictor, ensemble_of, mean_and_spread
from xraycls.inference.ensemble_file import EnsembleFile, is_ensemble
from xraycls.workflows.run_data import run_table
from xraycls.workflows.seen import known_to
from xraycls.workflows.test import with_classes

if TYPE_CHECKING:
    from xraycls.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

_ENOUGH = 50  # images, below which weights are a matter of a few of them
_EQUAL = "Give --weights equal, or images that no member knows with --data"


@dataclass(frozen=True, slots=True)
class EnsembleResult:
    """An ensemble that was written.

    Attributes:
        folder: stands for it as a model's name.
        members: their run folders or files.
        shares: how much each counts, with the sum 1.
        images: that they were chosen on; 0 for equal ones.
        loss: mean log loss of the weighted mean on these images; NaN for equal shares, whose loss nobody measured.
        equal_loss: of the plain mean on the same images; likewise.
    """

    folder: Path
    members: tuple[str, ...]
    shares: tuple[float, ...]
    images: int
    loss: float
    equal_loss: float


def make_ensemble(
    models: Sequence[str | Path],
    output: Path | str,
    *,
    weights: Literal["validation", "equal"] = "validation",
    data: Path | str | None = None,
    images: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 64,
    loader: str = "auto",
    threads: int | None = None,
    options: ReadOptions = AS_IT_IS,
    progress: Callable[[int, int], None] | None = None,
) -> EnsembleResult:
    """Write a folder that stands for several classifiers: ``predict``, ``test`` and ``cam`` average what they say.

    The weights of the mean are those, 0 or more, with the least log loss on validation images that no member learned
    from, recognised by content; the mean's thresholds are chosen on the same images.

    Args:
        models: run folders or weights files of two classifiers or more, of the same classes or findings.
        output: the folder; its ``ensemble.json`` is written anew.
        weights: "equal" looks at no image, and takes the mean of the members' thresholds.
        data: validation images of their own: the split "val", or all where there are no splits; None for the validation
            images of the first run.
        images: the folder that a CSV's paths start from.
        device: as in training, and so are the others.
        precision: likewise.
        batch_size: images at a time.
        loader: likewise.
        threads: likewise.
        options: how other data is to be read.
        progress: told how many images are done, of how many.

    Raises:
        UsageError: one model alone, other classes, or a member of which nobody knows what it learned from.
        DataError: a member learned from every one of the images.

    Example:
        >>> import xraycls
        >>> made = xraycls.make_ensemble(["runs/first", "runs/first"], "runs/both", weights="equal")
        >>> made.shares
        (0.5, 0.5)
        >>> predictions, classes = xraycls.predict("runs/both", "film.jpeg")
        >>> predictions[0].uncertainty
        (0.0, 0.0)
    """
    if len(models) < 2:
        raise UsageError("An ensemble has two members or more, and one model was named", "Name several")
    for model in models:
        if is_ensemble(model):
            raise UsageError(f"{model} is several models as one already", "Name its members")
    ensemble = ensemble_of(open_classifier(each, device=device, precision=precision) for each in models)
    folder, members = Path(output), tuple(map(str, models))
    if weights == "equal":
        with sole_writer(folder):
            EnsembleFile(members, ensemble.shares).write(folder)
        return EnsembleResult(folder, members, ensemble.shares, 0, float("nan"), float("nan"))
    table = _unlearned(ensemble, _validation(ensemble, data, images, options))
    predictors = [
        predictor_of_classifier(each, batch_size=batch_size, precision=precision, loader=loader, threads=threads)
        for each in ensemble.members
    ]
    probabilities, table = _probabilities(ensemble, predictors, table, progress)
    told, rows = _of_truth(probabilities, table)
    shares = best_shares(told)
    mean, _ = mean_and_spread(probabilities, shares)
    loss, equal = (float(-np.log(np.maximum(np.dot(each, told), 1e-15)).mean()) for each in (shares, ensemble.shares))
    file = EnsembleFile(
        members,
        shares,
        *_thresholds(table, mean),
        f"validation: the least log loss on {rows} images no member learned from",
    )
    with sole_writer(folder):
        file.write(folder)
    return EnsembleResult(folder, members, shares, rows, loss, equal)


def _validation(ensemble: Ensemble, data: Path | str | None, images: Path | None, options: ReadOptions) -> SampleTable:
    """The images to choose on, with the ensemble's class numbers."""
    if data is not None:
        table = read_table(Path(data), images=images, options=options)
        table = table.split("val") if table.splits else table
    elif ensemble.run is None:
        raise UsageError(f"{ensemble.members[0].weights} has no validation images of its own", _EQUAL)
    else:
        table = run_table(ensemble.run.read_config()).split("val")
    if ensemble.multi_label:
        return with_findings(table, ensemble.classes).labelled()
    return with_classes(table.single_label(), ensemble.classes).labelled()


def _unlearned(ensemble: Ensemble, table: SampleTable) -> SampleTable:
    """The images that no member learned from.

    Raises:
        UsageError: nobody knows what a member learned from.
        DataError: there are none.
    """
    runs: list[RunFolder] = []
    for member in ensemble.members:
        if member.run is None:
            raise UsageError(f"{member.weights} belongs to no run, so nobody knows what it learned from", _EQUAL)
        runs.append(member.run)
    learned = np.any(known_to(runs, table, ("train",)), axis=0)
    kept = table.with_samples(s for s, is_known in zip(table, learned, strict=True) if not is_known)
    if not len(kept):
        raise DataError(
            f"Each of the {len(table)} validation images was learned from by a member, as those of folds are",
            table.root,
            _EQUAL,
        )
    if len(kept) < len(table):
        logger.info(
            "%d of %d validation images are left out: a member learned from them.", len(table) - len(kept), len(table)
        )
    if len(kept) < _ENOUGH:
        logger.warning("%d images are few to choose weights on.", len(kept))
    return kept


def _probabilities(
    ensemble: Ensemble,
    predictors: Sequence[ProbabilityPredictor],
    table: SampleTable,
    progress: Callable[[int, int], None] | None,
) -> tuple[FloatArray, SampleTable]:
    """What each member says of the images that can be read, float64 [m, n, C], and these images."""
    each: list[FloatArray] = []
    kept: list[int] = []
    orders = ensemble.orders
    for results in zip(*(predictor.over(table) for predictor in predictors), strict=True):
        outputs = [r.output[order] for r, order in zip(results, orders, strict=True) if r.output is not None]
        if len(outputs) == len(results) and np.isfinite(outputs).all():
            kept.append(results[0].index)
            each.append(np.stack(outputs))
        if progress:
            progress(results[0].index + 1, len(table))
    if not kept:
        raise DataError(f"None of the {len(table)} images of {table.root} could be read", table.root)
    return np.stack(each, axis=1), table.with_samples(table[row] for row in kept)


def _of_truth(probabilities: FloatArray, table: SampleTable) -> tuple[FloatArray, int]:
    """The probability that each member gives to what is true: float64 [m, k], k known labels; and the images."""
    if not table.findings:
        return probabilities[:, np.arange(len(table)), table.labels], len(table)
    present, absent = table.targets == 1, table.targets == 0
    return np.concatenate([probabilities[:, present], 1 - probabilities[:, absent]], axis=1), len(table)


def _thresholds(table: SampleTable, mean: FloatArray) -> tuple[float | None, dict[str, float] | None]:
    """The thresholds of the mean, by Youden's index; of classes or findings that the images hold both ways."""
    if not table.findings:
        both = len(table.classes) == 2 and len(np.unique(table.labels)) == 2
        return (choose_threshold(table.labels, mean[:, 1]) if both else None), None
    chosen: dict[str, float] = {}
    for number, name in enumerate(table.findings):
        targets = table.targets[:, number]
        known = np.where((targets == 0) | (targets == 1), targets, -1).astype(np.int64)
        if {0, 1} <= set(known.tolist()):
            chosen[name] = choose_threshold(known, mean[:, number])
    return None, chosen
