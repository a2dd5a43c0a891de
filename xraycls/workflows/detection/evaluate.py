"""Evaluate a detector on the validation images of a spec."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from xraycls.data.files import atomic_write
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.evaluation.detection.average_precision import AveragePrecision, average_precision
from xraycls.evaluation.detection.cases import Detections, ImageBoxes, rounded
from xraycls.evaluation.detection.plots import write_pictures
from xraycls.evaluation.detection.table import DetectionReport, detection_report
from xraycls.loaders.choose import build_loader
from xraycls.models.detection.detector import Detector
from xraycls.models.detection.files import find_model, load_detector
from xraycls.tao.mounts import Mounts
from xraycls.tao.results import reported
from xraycls.tao.spec import open_spec
from xraycls.tao.ssd import SSDSpec
from xraycls.tao.ssd_config import SSDSetup
from xraycls.tao.ssd_setup import ssd_setup
from xraycls.training.detection import Found
from xraycls.training.precision import autocast, choose_device, choose_precision
from xraycls.workflows.detection.data import read_data, truths_of


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a detector is worth on the validation images of a spec.

    Attributes:
        average: TAO's average precision, in the spec's mode.
        report: all figures, with intervals.
        folder: where they were written; None when nowhere.
    """

    average: AveragePrecision
    report: DetectionReport
    folder: Path | None


def evaluate_ssd(
    model: Path,
    spec: Path,
    *,
    key: str = "",
    results: Path | None = None,
    batch_size: int | None = None,
    mounts: Mounts | None = None,
    device: str = "auto",
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Average precision of a model on the validation images of a spec, and the other figures of the field.

    Args:
        model: the detector's file, as :func:`xraycls.models.detection.files.find_model` takes it.
        spec: its data and evaluation count; the network is the model's own.
        key: of an encrypted model.
        results: folder for ``status.json``, ``evaluation.json`` and the curves; None for that of the model.
        batch_size: instead of the spec's.
        mounts: where folders of TAO's container lie here.
        device: as in ``xraycls train``.
        precision: likewise.
        loader: likewise.
        threads: likewise.
        progress: told of (pictures done, pictures).

    Raises:
        XrayclsError: one sentence for whatever the user can mend.
    """
    folder = results or find_model(model, key).parent
    with reported(folder, "SSD evaluation") as status:
        setup = ssd_setup(open_spec(spec, SSDSpec), mounts)
        detector, _ = load_detector(model, key=key)
        setup = fitted_to(setup, detector)
        table = read_data(setup).validation
        if not len(table):
            raise DataError(
                f"{spec} names no validation images", spec, "Give validation_data_sources or a validation_fold"
            )
        detector.suppression = setup.suppression()
        place = choose_device(device, 0)
        number = choose_precision(precision, place)
        batches = build_loader(
            table,
            setup.recipe,
            batch_size=batch_size or setup.evaluation.batch_size,
            training=False,
            device=place,
            engine=loader,
            threads=threads,
        )
        detector.to(place).eval()
        found: list[Found] = []
        for batch in batches:
            with torch.inference_mode(), autocast(place, number):
                found += [(b.cpu(), c.cpu(), s.cpu()) for b, c, s in detector.detect(batch.images.to(place))]
            if progress:
                progress(len(found), len(table))
        evaluation = _evaluation(setup, table, found[: len(table)], folder)
        figures = {f"AP_{name}": value for name, value in evaluation.average.per_class.items()}
        status.write("Evaluation results", figures={"kpi": figures | {"mAP": evaluation.average.mean}})
    return evaluation


def fitted_to(setup: SSDSetup, detector: Detector) -> SSDSetup:
    """The setup of a spec for a model whose size may be another, such as one trained with ``--size``.

    Raises:
        UsageError: the model finds other classes than the spec names.
    """
    plan = detector.plan
    if plan.classes != setup.data.classes:
        raise UsageError(
            f"The model finds {', '.join(plan.classes)}, and the spec names {', '.join(setup.data.classes)}",
            "Give the spec that the model was trained with",
        )
    return setup.resized(plan.width, plan.height)


def scored(setup: SSDSetup, truths: Sequence[ImageBoxes], found: Sequence[Found]) -> AveragePrecision:
    """TAO's average precision of what was found, in pixels of the network's input."""
    return average_precision(
        truths,
        [_detections(setup, each) for each in found],
        setup.data.classes,
        mode=setup.evaluation.mode,
        iou_threshold=setup.evaluation.iou,
        confidence_threshold=setup.evaluation.confidence,
    )


def _evaluation(setup: SSDSetup, table: SampleTable, found: Sequence[Found], folder: Path) -> Evaluation:
    truths = truths_of(setup, table)
    report = detection_report(
        truths,
        [_detections(setup, each) for each in found],
        setup.data.classes,
        iou_threshold=setup.evaluation.iou,
        confidence_threshold=setup.evaluation.confidence,
        groups=None if all(s.patient is None for s in table) else [s.patient for s in table],
    )
    with atomic_write(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    if setup.evaluation.curve:
        write_pictures(report, folder)
    return Evaluation(scored(setup, truths, found), report, folder)


def _detections(setup: SSDSetup, found: Found) -> Detections:
    boxes, labels, scores = (np.asarray(part.float()) for part in found)
    canvas = setup.recipe.canvas
    return Detections.of(rounded(boxes.astype(np.float64), canvas.width, canvas.height), labels, scores)
