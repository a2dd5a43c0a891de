"""Evaluate a detector on the validation images of a spec."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from xraycls.data.files import atomic_write
from xraycls.errors import DataError, UsageError
from xraycls.evaluation.detection.average_precision import AveragePrecision
from xraycls.evaluation.detection.plots import write_pictures
from xraycls.evaluation.detection.table import DetectionReport
from xraycls.inference.load import load_detector_model
from xraycls.inference.predictor import Predictor
from xraycls.loaders.views import Canvas
from xraycls.models.detection.files import find_model
from xraycls.tao.mounts import Mounts
from xraycls.tao.programs import open_spec
from xraycls.tao.results import reported
from xraycls.tao.ssd import SSDSpec
from xraycls.tao.ssd_setup import evaluation_setup
from xraycls.training.precision import choose_device
from xraycls.workflows.detection.data import read_validation
from xraycls.workflows.detection.exam import Exam


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a detector is worth on the validation images of a spec.

    Attributes:
        average: TAO's average precision, in the spec's mode.
        report: all figures, with intervals.
        files: what was written.
    """

    average: AveragePrecision
    report: DetectionReport
    files: tuple[Path, ...]


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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Average precision of a model on the validation images of a spec, and the other figures of the field.

    Args:
        model: the detector's file, as :func:`xraycls.models.detection.files.find_model` takes it.
        spec: its validation data, ``eval_config`` and ``nms_config`` count; the network and its input are the model's
            own, and what is for training need not be right or there.
        key: of an encrypted model.
        results: folder for ``status.json``, ``evaluation.json`` and the curves; None for that of the model.
        batch_size: instead of the spec's.
        mounts: where folders of TAO's container lie here.
        device: as in ``xraycls train``.
        precision: likewise.
        loader: likewise.
        threads: likewise.
        progress: told how many pictures are done, of how many.

    Raises:
        XrayclsError: one sentence for whatever the user can mend.
    """
    folder = results or find_model(model, key).parent
    with reported(folder, "SSD evaluation") as status:
        data, settings = evaluation_setup(open_spec(spec, SSDSpec), mounts)
        trained = load_detector_model(model, choose_device(device, 0), key=key, suppression=settings.suppression())
        plan = trained.detector.config
        if plan.classes != data.classes:
            raise UsageError(
                f"The model finds {', '.join(plan.classes)}, and the spec names {', '.join(data.classes)}",
                "Give the spec that the model was trained with",
            )
        table = read_validation(data)
        canvas = Canvas(plan.height, plan.width)
        predictor = Predictor(
            model=replace(trained, pixels="input"),
            batch_size=batch_size or settings.batch_size,
            precision=precision,
            loader=loader,
            threads=threads,
        )
        found = {}
        for result in predictor.over(table):
            if result.output is not None:
                found[result.index] = result.output
            progress(result.index + 1, len(table))
        if not found:
            raise DataError(f"None of the {len(table)} validation images could be read", table.root)
        exam = Exam.of(table, data.classes, canvas, settings)
        average, report = exam.average(found), exam.report(found)
        files = _written(report, folder, curves=settings.curve)
        figures = {f"AP_{name}": value for name, value in average.per_class.items()}
        status.write("Evaluation results", figures={"kpi": figures | {"mAP": average.mean}})
    return Evaluation(average, report, files)


def _written(report: DetectionReport, folder: Path, *, curves: bool) -> tuple[Path, ...]:
    figures = folder / "evaluation.json"
    with atomic_write(figures) as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    return (figures, *(write_pictures(report, folder) if curves else ()))
