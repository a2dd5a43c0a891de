"""Calibrate a trained classifier's probabilities on labelled images of another site."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xraycls.data.files import readable_name
from xraycls.data.findings import with_findings
from xraycls.data.identity import identities
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.source import read_table
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, RunError, UsageError, unknown
from xraycls.evaluation.calibration import expected_calibration_error
from xraycls.evaluation.cases import FloatArray, IntArray, log_losses
from xraycls.evaluation.intervals import group_indices
from xraycls.evaluation.recalibration import (
    FITS,
    SAME,
    LogitMap,
    ProbabilityMap,
    fit_softmax_temperature,
    mapped,
    mapped_threshold,
)
from xraycls.evaluation.thresholds import choose_threshold, parse_method
from xraycls.inference.adjust import Calibration, calibrated_with, calibration_file, write_calibration
from xraycls.inference.choose import open_classifier, predictor_of_classifier
from xraycls.types import Split
from xraycls.workflows.seen import known_to, splits_of_run
from xraycls.workflows.test import with_classes

if TYPE_CHECKING:
    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.exported_predictor import ExportedModel

logger = logging.getLogger(__name__)

FEWEST = 5
"""Images with a finding, and without it, below which no map is chosen for it."""

_FOLDS = 5
_ENOUGH_FOR_STEPS = 1000  # Niculescu-Mizil and Caruana, ICML 2005: with fewer cases Platt's sigmoid does better


@dataclass(frozen=True, slots=True)
class CalibratedOutput:
    """What calibration does to one finding, or to all classes.

    Attributes:
        name: of the finding, of the positive one of two classes, or of all classes.
        images: with a known label.
        present: of these, with the finding.
        before: expected calibration error and log loss of the model's probabilities.
        after: the same of probabilities whose map was chosen without the case's fifth of the patients.
        threshold: of the calibrated probabilities; None without one.
        left: why it was left as it is; None when it was calibrated.
    """

    name: str
    images: int
    present: int
    before: tuple[float, float]
    after: tuple[float, float]
    threshold: float | None
    left: str | None = None


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """A calibration that was stored.

    Attributes:
        calibration: the maps and thresholds.
        outputs: what it does, a finding each.
        path: the file.
        unreadable: file → why it was left out.
    """

    calibration: Calibration
    outputs: tuple[CalibratedOutput, ...]
    path: Path
    unreadable: dict[str, str]


def calibrate(
    model: str | Path,
    data: str | Path,
    *,
    method: str = "temperature",
    threshold: str | None = None,
    images: Path | None = None,
    split: Split | None = None,
    device: str = "auto",
    batch_size: int = 64,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    runtime: str = "auto",
    strict: bool = False,
    options: ReadOptions = AS_IT_IS,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationResult:
    """Choose a monotone map for each finding, or for all classes, and store it beside the weights.

    Predicting, testing, explaining and exporting use it from then on. The operating threshold moves with the map, so
    that the same images are called, unless it is chosen anew.

    Args:
        model: a run folder, a model's name, an exported folder or a weights file.
        data: labelled images that the model wasn't trained on, in any format.
        method: "temperature", "platt" or "isotonic", see :mod:`xraycls.evaluation.recalibration`.
        threshold: choose thresholds anew on this data, as in training; None carries those of the model over.
        images: the folder that a CSV's paths are relative to.
        split: of the data; None takes all but the test split, and of the run's own data the validation split.
        device: as in training.
        batch_size: images at a time.
        precision: as in training.
        loader: likewise.
        threads: decoding threads.
        runtime: "auto", "torch", "onnxruntime", "openvino" or "tensorrt".
        strict: stop at a file that can't be read.
        options: how the data is to be read.
        progress: told of (images done, images).

    Raises:
        UsageError: no such method, or one that doesn't go with the classes.
        RunError: no such model, or images of its training are among the data.
        DataError: no labelled images, or too few of each class.

    Example:
        >>> from pathlib import Path
        >>> import xraycls
        >>> from xraycls.data.phantom import write_phantom
        >>> _ = write_phantom(Path("site"), images=40, size=80, seed=1)
        >>> done = xraycls.calibrate("runs/first", "site", method="platt")
        >>> done.path.name, done.calibration.images
        ('best.calibration.json', 31)
        >>> xraycls.remove_calibration("runs/first")
        True
    """
    if method not in FITS:
        raise unknown("calibration method", method, FITS, "--method")
    if threshold is not None:
        parse_method(threshold, "--threshold")
    trained = open_classifier(model, runtime=runtime, device=device, precision=precision, calibrated=False)
    if len(trained.classes) > 2 and not trained.multi_label and (method != "temperature" or threshold):
        raise UsageError(
            f"{trained.weights} tells {len(trained.classes)} classes apart, which temperature calibrates",
            "Use --method temperature without --threshold",
        )
    table = _table(trained, Path(data), images, split, strict, options)
    predictor = predictor_of_classifier(
        trained, batch_size=batch_size, precision=precision, loader=loader, threads=threads, strict=strict
    )
    probabilities, failures = np.full((len(table), len(trained.classes)), np.nan), {}
    for done, result in enumerate(predictor.over(table), start=1):
        if result.output is None:
            failures[result.sample.name] = result.error or ""
        else:
            probabilities[result.index] = result.output
        if progress:
            progress(done, len(table))
    kept = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    if not len(kept):
        raise DataError(f"None of the {len(table)} images of {table.root} gave probabilities", table.root)
    read = table.with_samples(table[row] for row in kept.tolist())
    calibration, outputs = _chosen(trained, read, probabilities[kept], method, threshold, data)
    path = write_calibration(calibration, Path(trained.weights))
    identities(read.samples).write(calibrated_with(Path(trained.weights)))
    return CalibrationResult(calibration, outputs, path, failures)


def remove_calibration(model: str | Path) -> bool:
    """Take the calibration of a classifier back; returns whether there was one.

    Raises:
        RunError: no such model.

    Example:
        >>> import xraycls
        >>> xraycls.remove_calibration("runs/first")
        False
    """
    weights = Path(open_classifier(model, calibrated=False).weights)
    found = calibration_file(weights).is_file()
    calibration_file(weights).unlink(missing_ok=True)
    calibrated_with(weights).unlink(missing_ok=True)
    return found


def _table(
    trained: TrainedModel | ExportedModel,
    data: Path,
    images: Path | None,
    split: Split | None,
    strict: bool,
    options: ReadOptions,
) -> SampleTable:
    """Labelled images to calibrate on, with the model's class numbers, none of which it was trained on."""
    table, run = read_table(data, images=images, strict=strict, options=options), trained.run
    if run and (own := splits_of_run(run, table)):
        if split == "test":
            raise UsageError(
                f"{data} is what {run.path} was trained on, and its test split is kept for testing", "Use --split val"
            )
        table, split = own, split or "val"
    if split and split not in table.splits:
        raise DataError(f"{data} has no {split} split, only {', '.join(table.splits) or 'images without one'}", data)
    table = table.with_samples(s for s in table if (s.split == split if split else s.split != "test"))
    table = with_findings(table, trained.classes) if trained.multi_label else table.single_label()
    table = table.labelled()
    if not len(table):
        raise DataError(f"{data} has no labelled image that isn't of a test split", data)
    if run is None:
        logger.warning("Which images %s was trained on isn't known, so none of them is refused.", trained.weights)
    else:
        (known,) = known_to([run], table, ("train",))
        if known.any():
            first = readable_name(table[int(np.flatnonzero(known)[0])].name)
            raise RunError(
                f"{int(known.sum())} of {len(table)} images of {data} are those that {run.path} was trained on, on "
                f"which probabilities are too sure: {first}",
                "Calibrate on other images, such as --split val of the run's own data",
            )
    return table if trained.multi_label else with_classes(table, trained.classes)


def _chosen(
    trained: TrainedModel | ExportedModel,
    table: SampleTable,
    probabilities: FloatArray,
    method: str,
    threshold: str | None,
    data: str | Path,
) -> tuple[Calibration, tuple[CalibratedOutput, ...]]:
    """Maps and thresholds of every output."""
    folds = _folds([sample.patient for sample in table])
    before: Sequence[float | None] = trained.thresholds or (None, trained.threshold)
    maps: list[ProbabilityMap]
    if trained.multi_label:
        targets = table.targets
        columns = [np.where(np.isin(t, (0, 1)), t, -1).astype(np.int64) for t in targets.T]
        found = [
            _one(name, labels, scores, at, folds, method, threshold)
            for name, labels, scores, at in zip(trained.classes, columns, probabilities.T, before, strict=True)
        ]
        maps, outputs = [map_ for map_, _ in found], tuple(output for _, output in found)
        if all(output.left for output in outputs):
            raise DataError(f"Nothing can be calibrated on {table.root}: {outputs[0].name}: {outputs[0].left}")
    elif len(trained.classes) == 2:
        columns = [1 - table.labels, table.labels]
        map_, one = _one(trained.classes[1], table.labels, probabilities[:, 1], before[1], folds, method, threshold)
        if one.left:
            raise DataError(f"Nothing can be calibrated on {table.root}: {one.left}")
        maps, outputs = [SAME, map_], (one,)
    else:
        columns = [(table.labels == number).astype(np.int64) for number in range(len(trained.classes))]
        map_, one = _softmax(table, probabilities, folds)
        maps, outputs = [map_] * len(trained.classes), (one,)
    shares = [float((each == 1).sum() / (each >= 0).sum()) if (each >= 0).any() else None for each in columns]
    at = tuple(0.5 if output.threshold is None else output.threshold for output in outputs)
    return Calibration(
        classes=trained.classes,
        method=method,
        maps=tuple(maps),
        data=str(data),
        images=len(table),
        prevalence=tuple(shares),
        date=datetime.now().astimezone().isoformat(timespec="seconds"),
        threshold=None if trained.multi_label else outputs[0].threshold,
        thresholds=at if trained.multi_label else None,
        threshold_method=threshold,
    ), outputs


def _one(
    name: str,
    labels: IntArray,
    scores: FloatArray,
    at: float | None,
    folds: IntArray,
    method: str,
    threshold: str | None,
) -> tuple[ProbabilityMap, CalibratedOutput]:
    """The map of one finding, or of the positive one of two classes; ``labels`` below 0 are unknown."""
    known = labels >= 0
    y, p, folds = labels[known], scores[known], folds[known]
    positive = y.astype(np.float64)
    before = _figures(y, p)
    left, map_ = _too_few(y), None
    if left is None and (map_ := FITS[method](positive, p)) is None:
        offset = ", or the probabilities need an offset, which platt has" if method == "temperature" else ""
        left = f"no rising map fits, so the model ranks it no better than chance here{offset}"
    if map_ is None:
        logger.warning("%s is left as it is: %s.", name, left)
        return SAME, CalibratedOutput(name, len(y), int(y.sum()), before, before, at, left)
    if method == "isotonic" and len(y) < _ENOUGH_FOR_STEPS:
        logger.warning("%s: isotonic steps of %d images follow chance; platt needs fewer.", name, len(y))
    apart = p.copy()
    for fold in range(_FOLDS):
        own = folds == fold
        part = FITS[method](positive[~own], p[~own]) if {0, 1} <= set(y[~own].tolist()) else None
        apart[own] = p[own] if part is None else part(p[own])
    chosen = None if at is None else mapped_threshold(at, map_)
    if threshold is not None:
        chosen = choose_threshold(y, map_(p), threshold)
    return map_, CalibratedOutput(name, len(y), int(y.sum()), before, _figures(y, apart), chosen)


def _softmax(table: SampleTable, probabilities: FloatArray, folds: IntArray) -> tuple[LogitMap, CalibratedOutput]:
    """One temperature for three classes or more."""
    labels, n_classes = table.labels, probabilities.shape[1]
    map_ = fit_softmax_temperature(labels, probabilities)
    if map_ is None or len(np.unique(labels)) < 2:
        raise DataError(
            f"Nothing can be calibrated on {table.root}: its labels hold one class, or are ranked no better than chance"
        )
    apart = probabilities.copy()
    for fold in range(_FOLDS):
        own = folds == fold
        part = fit_softmax_temperature(labels[~own], probabilities[~own]) or SAME
        apart[own] = mapped(probabilities[own], [part] * n_classes, multi_label=False)

    def figures(p: FloatArray) -> tuple[float, float]:
        return expected_calibration_error(labels, p), float(log_losses(labels, p).mean())

    name = "/".join(table.classes)
    return map_, CalibratedOutput(name, len(labels), len(labels), figures(probabilities), figures(apart), None)


def _too_few(labels: IntArray) -> str | None:
    present, absent = int((labels == 1).sum()), int((labels == 0).sum())
    if min(present, absent) >= FEWEST:
        return None
    return f"it takes {FEWEST} images with and {FEWEST} without, and there are {present} and {absent}"


def _figures(labels: IntArray, scores: FloatArray) -> tuple[float, float]:
    if not len(labels):
        return float("nan"), float("nan")
    both = np.stack([1 - scores, scores], axis=1)
    return expected_calibration_error(labels, both), float(log_losses(labels, both).mean())


def _folds(patients: Sequence[str | None]) -> IntArray:
    """The fold of each image, int64 [n]; those of a patient are in one."""
    members = group_indices(patients)
    numbers = np.arange(members.max() + 1) % _FOLDS
    return np.asarray(np.random.default_rng(0).permutation(numbers)[members], np.int64)
