"""Cross-validation of a detector: every fold of the patients is tested by a network that learned from the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xraycls.data.box_sources import read_validation
from xraycls.data.files import atomic_write
from xraycls.errors import UsageError
from xraycls.evaluation.detection.cases import ImageBoxes, pool
from xraycls.evaluation.detection.operating_point import OperatingPoint, choose_point, score_curve
from xraycls.evaluation.detection.overlap import overlaps
from xraycls.evaluation.detection.rsna import IOU_THRESHOLDS
from xraycls.evaluation.detection.table import DetectionReport, detection_report
from xraycls.inference.load import load_detector_model
from xraycls.inference.predictor import Predictor
from xraycls.training.job import DetectionJob
from xraycls.training.precision import choose_device
from xraycls.training.run_folder import RunFolder
from xraycls.types import Detections, Sample
from xraycls.workflows.detection.train import train_detector

POOLED = "pooled.json"


@dataclass(frozen=True, slots=True)
class PooledFolds:
    """The figures of all folds together: of every picture by the network that didn't learn from it.

    Attributes:
        report: all figures, RSNA's at the score that all folds choose.
        point: that score, and RSNA's figure where each quarter of the patients is judged by the choice of the others;
            None where nothing is hit.
        pictures: that could be read, with their boxes.
        detections: in each of them, in pixels of its file.
    """

    report: DetectionReport
    point: OperatingPoint | None
    pictures: tuple[Sample, ...]
    detections: tuple[Detections, ...]


def fold_jobs(job: DetectionJob, folds: int) -> tuple[DetectionJob, ...]:
    """Returns a job a fold, which validates with that fold and trains on the others.

    Raises:
        UsageError: fewer than two folds, or validation data of their own.
    """
    if folds < 2:
        raise UsageError(f"--folds {folds} makes no folds", "Give 2 or more, usually 4 or 5")
    if job.data.validation:
        raise UsageError("Folds are drawn from the training data, and there are validation data, too", "Leave them out")
    return tuple(replace(job, data=replace(job.data, folds=folds, fold=number)) for number in range(folds))


def train_folds(job: DetectionJob, folds: int, output: Path, **how: Any) -> tuple[RunFolder, ...]:
    """Train a run a fold in ``output/fold-1``, ``output/fold-2``, …; finished ones aren't trained again.

    Args:
        job: of one training; its validation split is the fold's.
        folds: 2 or more, drawn by patient and class.
        output: the folder of all.
        **how: ``device``, ``precision``, ``loader``, ``threads``, ``cache``, ``key`` and ``reporter``, as of
            :func:`xraycls.train_detector`.

    Returns:
        The run folders.

    Raises:
        XrayclsError: as :func:`xraycls.train_detector`.
    """
    runs = []
    for number, each in enumerate(fold_jobs(job, folds), start=1):
        runs.append(train_detector(each, output=output / f"fold-{number}", resume=True, **how).run)
    return tuple(runs)


def pool_folds(
    runs: Sequence[RunFolder],
    changes: Mapping[str, Any] | None = None,
    *,
    key: str = "",
    device: str = "auto",
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
) -> PooledFolds:
    """Returns the figures of all folds together, of the weights of their last epochs: no fold chose its own.

    Args:
        runs: of :func:`train_folds`.
        changes: fields of the detectors' configurations that say how boxes are read, instead of those of the job.
        key: of the models.
        device: as in training.
        precision: likewise.
        loader: likewise.
        threads: likewise.
    """
    pictures: list[Sample] = []
    detections: list[Detections] = []
    classes: tuple[str, ...] = ()
    for run in runs:
        job = DetectionJob.read(run.config)
        trained = load_detector_model(run.last, choose_device(device), key=key)
        config: Any = replace(job.detector, classes=trained.classes)  # not what the fold chose for itself
        trained.detector.config = replace(config, **(changes or {}))
        classes = trained.classes
        table = read_validation(replace(job.data, classes=classes)).validation
        predictor = Predictor(
            model=trained,
            batch_size=job.evaluation.batch_size,
            precision=precision,
            loader=loader,
            threads=threads,
        )
        for result in predictor.over(table):
            if result.output is not None:
                pictures.append(result.sample)
                detections.append(result.output)
    return judged(pictures, detections, classes)


def judged(pictures: Sequence[Sample], detections: Sequence[Detections], classes: tuple[str, ...]) -> PooledFolds:
    """Returns the figures of detections, each of a picture that what found them didn't learn from.

    Args:
        pictures: with their true boxes and patients.
        detections: in each of them, in pixels of its file.
        classes: names of the labels.
    """
    truths = [ImageBoxes.from_boxes(sample.boxes, classes) for sample in pictures]
    cases = pool(truths, detections)
    groups = [sample.patient for sample in pictures]
    point = choose_point([score_curve(cases, overlaps(cases, IOU_THRESHOLDS[0]))], groups)
    report = detection_report(
        truths, detections, classes, score_threshold=0.5 if point is None else point.score, groups=groups
    )
    return PooledFolds(report, point, tuple(pictures), tuple(detections))


def write_pooled(pooled: PooledFolds, folder: Path) -> Path:
    """Write ``pooled.json`` and return its path."""
    path = folder / POOLED
    nested = None if pooled.point is None else {"score": pooled.point.score, **pooled.point.nested.to_dict()}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"rsna_nested": nested, **pooled.report.to_dict()}, indent=2) + "\n")
    return path
