"""Evaluate a detector on validation images: those of its run, of other data, or of a TAO spec."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from xraycls.data.box_sources import BoxTables, read_judged, read_validation
from xraycls.data.depth import one_depth
from xraycls.data.files import atomic_write
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.evaluation.detection.average_precision import AveragePrecision, StrictAveragePrecision
from xraycls.evaluation.detection.plots import write_pictures
from xraycls.evaluation.detection.table import DetectionReport
from xraycls.inference.choose import check_loader, check_runtime
from xraycls.inference.detection import TrainedDetector
from xraycls.inference.exported import is_exported
from xraycls.inference.exported_predictor import ExportedModel, ExportedPredictor, load_exported, read_detections
from xraycls.inference.load import load_detector_model
from xraycls.inference.predictor import Predictor
from xraycls.inference.results import Result
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.models.detection.base import Raw, Suppression
from xraycls.training.job import DetectionJob, EvaluationConfig
from xraycls.training.precision import choose_device, validated_precision
from xraycls.training.run_folder import RunFolder
from xraycls.types import Batch, Detections
from xraycls.workflows.detection.data import warn_of_absent
from xraycls.workflows.detection.evaluator import Evaluator

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a detector is worth on some images.

    Attributes:
        average: average precision by the rule and in the mode of the settings.
        strict: PASCAL VOC's strict figures, one an overlap, where that is the rule; else empty.
        proposal_recall: share of each class's objects that proposals overlap by half; empty of a detector in one stage.
        report: all figures, with intervals.
        files: what was written.
        precision: number format that the network computed in; of an exported model that of its file.
    """

    average: AveragePrecision
    report: DetectionReport
    files: tuple[Path, ...]
    precision: str
    strict: tuple[StrictAveragePrecision, ...] = ()
    proposal_recall: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _WithRegions:
    """A detector whose output of a picture are its detections and, of two stages, the proposals of the first."""

    model: TrainedDetector
    classes: tuple[str, ...]
    recipe: ViewRecipe
    engine: str | None
    precision: str | None
    device: torch.device

    def launch(self, images: torch.Tensor) -> Raw:
        return self.model.launch(images)

    def outputs(
        self, raw: Raw, batch: Batch, names: Sequence[str]
    ) -> list[tuple[Detections, NDArray[np.float32] | None]]:
        detections = self.model.outputs(raw, batch, names)
        regions = self.model.detector.regions(raw)
        return [(each, regions[row] if regions else None) for row, each in enumerate(detections)]


def evaluate_detector(
    model: Path | str,
    data: Path | str | None = None,
    *,
    images: Path | str | None = None,
    key: str = "",
    results: Path | str | None = None,
    settings: EvaluationConfig | None = None,
    suppression: Suppression | None = None,
    device: str = "auto",
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    runtime: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Average precision of a trained detector, and the other figures of the field.

    Args:
        model: a detector's file or its run folder, whose best epoch is taken; or an exported folder or file.
        data: boxes in any format; their test split, else their validation split, else all of them counts. None takes
            the validation images of the run that the model lies in.
        images: the folder of the pictures, where it isn't beside the labels.
        key: of an encrypted model.
        results: folder for ``evaluation.json`` and the curves; None for that of the model.
        settings: rule, mode and overlap; None for those of the run, or the defaults.
        suppression: instead of the model's own.
        device: as in training.
        precision: "auto" takes the one that the model was validated with in training.
        loader: as in training.
        threads: decoding threads; None for one a processor.
        runtime: "auto", "torch", "onnxruntime", "openvino" or "tensorrt"; all but the first two of exported models.
        progress: told how many pictures are done, of how many.

    Returns:
        Average precision, the report with intervals, and the files written.

    Raises:
        XrayclsError: one sentence for whatever the user can mend.

    Example:
        The figure of a run on its own validation images, and on other films.

        >>> import xraycls
        >>> 0 <= xraycls.evaluate_detector("runs/detector").average.mean <= 1
        True
        >>> evaluation = xraycls.evaluate_detector("runs/detector", "films", results="figures")
        >>> [path.as_posix() for path in evaluation.files]
        ['figures/evaluation.json']
    """
    path = model_of(Path(model))
    if is_exported(path):
        trained: TrainedDetector | ExportedModel = open_exported(path, suppression, device, runtime)
        path = trained.weights
    else:
        check_runtime(path, runtime)
        trained = load_detector_model(path, choose_device(device), key=key, suppression=suppression)
    run = RunFolder(path.resolve().parent.parent)
    job = DetectionJob.read(run.config) if run.is_of_detector() and run.config.is_file() else None
    if data is not None:
        tables = read_judged(Path(data), trained.classes, Path(images) if images else None)
    elif job is not None:
        tables = read_validation(job.data)
    else:
        raise UsageError(f"{path} lies in no run folder, so its validation images aren't known", "Name the data")
    return judge(
        trained,
        tables,
        settings or (job.evaluation if job else EvaluationConfig()),
        Path(results) if results else path.parent,
        precision=precision,
        loader=loader,
        threads=threads,
        progress=progress,
    )


def open_exported(path: Path, suppression: Suppression | None, device: str, runtime: str = "auto") -> ExportedModel:
    """Returns an exported detector; a warning says so where its suppression isn't the one that is wanted.

    Args:
        path: the folder or file.
        suppression: that is wanted; None for any.
        device: "auto", "cpu" or "cuda".
        runtime: what computes it.
    """
    model = load_exported(path, "detector", device=device, runtime=runtime)
    file = model.file
    own = Suppression(file.confidence or 0.0, file.iou or 0.0, file.top_k or 0)
    if suppression not in (None, own):
        logger.warning("%s suppresses by the rules that it was exported with: %s, not %s.", path, own, suppression)
    return model


def model_of(path: Path) -> Path:
    """Returns the weights that a path means: of a detector's run folder those of its best epoch, or of its last."""
    run = RunFolder(path)
    if path.is_dir() and run.is_of_detector():
        return run.best if run.best.is_file() else run.last
    return path


def judge(
    trained: TrainedDetector | ExportedModel,
    tables: BoxTables,
    settings: EvaluationConfig,
    folder: Path,
    *,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Evaluate a loaded detector; arguments are those of :func:`evaluate_detector`.

    Raises:
        UsageError: the classes of the data aren't those of the detector.
        DataError: no picture can be read.
    """
    check_classes(trained, tables.classes)
    table = tables.validation
    if isinstance(trained, ExportedModel):
        bits, recipe, number, least = (
            trained.file.bits,
            trained.file.recipe,
            trained.file.precision,
            trained.file.confidence,
        )
    else:
        bits, recipe = trained.bits, trained.recipe
        number = validated_precision(precision, trained.precision, trained.device)
        least = trained.detector.config.suppression.confidence
    table = table.with_samples(one_depth(table.samples, table.root, bits))
    detections, regions = dict[int, Detections](), dict[int, NDArray[np.float32]]()
    for result in _results(trained, table, settings.batch_size, number, loader, threads):
        if result.output is not None:
            detections[result.index], proposed = result.output
            if proposed is not None:
                regions[result.index] = proposed
        progress(result.index + 1, len(table))
    if not detections:
        raise DataError(f"None of the {len(table)} validation images could be read", table.root)
    evaluator = Evaluator.of(table, tables.classes, recipe, settings, least or 0.0)
    report = evaluator.report(detections, 0.5 if trained.reported is None else trained.reported)
    files = _written(report, folder, curves=settings.curves)
    average = evaluator.average(detections)
    warn_of_absent(table, tables.classes, average.per_class)
    return Evaluation(
        average,
        report,
        files,
        number,
        evaluator.strict(detections) if settings.rule == "voc" else (),
        evaluator.proposal_recall(regions) if regions else {},
    )


_Found = tuple[Detections, NDArray[np.float32] | None]
"""The detections of a picture, in pixels of the input, and the proposals of a first stage."""


def _results(
    trained: TrainedDetector | ExportedModel,
    table: SampleTable,
    batch_size: int,
    precision: str,
    loader: str,
    threads: int | None,
) -> Iterator[Result[_Found]]:
    if isinstance(trained, ExportedModel):
        check_loader(loader)
        read = read_detections(trained.file, source=False)
        exported = ExportedPredictor(model=trained, read=read, batch_size=batch_size, threads=threads)
        for each in exported.over(table):
            yield Result(
                each.index, each.sample, None if each.output is None else (each.output, None), None, each.error
            )
        return
    model = replace(trained, pixels="input")
    predictor = Predictor(
        model=_WithRegions(model, trained.classes, trained.recipe, trained.engine, trained.precision, trained.device),
        batch_size=batch_size,
        precision=precision,
        loader=loader,
        threads=threads,
    )
    yield from predictor.over(table)


def check_classes(trained: TrainedDetector | ExportedModel, classes: tuple[str, ...]) -> None:
    """Raise UsageError when a detector finds other classes than some data have."""
    if trained.classes != classes:
        raise UsageError(
            f"The model finds {', '.join(trained.classes)}, and the data have {', '.join(classes)}",
            "Give the spec or the data that the model was trained with",
        )


def _written(report: DetectionReport, folder: Path, *, curves: bool) -> tuple[Path, ...]:
    figures = folder / "evaluation.json"
    with atomic_write(figures) as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    return (figures, *(write_pictures(report, folder) if curves else ()))
