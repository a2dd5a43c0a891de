"""Choose on validation how detections are read from raw outputs, and keep the choice with the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from xraycls.data.box_sources import BoxTables
from xraycls.data.files import atomic_write, share_file
from xraycls.evaluation.detection.operating_point import Curve, OperatingPoint, choose_point, score_curve
from xraycls.evaluation.detection.overlap import overlaps
from xraycls.evaluation.detection.rsna import IOU_THRESHOLDS
from xraycls.evaluation.report import Estimate
from xraycls.evaluation.summary import format_estimate
from xraycls.inference.load import load_detector_model
from xraycls.inference.predictor import Predictor
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.models.detection.base import Detector, DetectorConfig, Raw
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.training.job import DetectionJob
from xraycls.training.reporter import Reporter
from xraycls.training.run_folder import RunFolder
from xraycls.training.runtime import Runtime
from xraycls.types import Batch, Detections
from xraycls.workflows.detection.evaluator import Evaluator

CHOICE = "operating_point.json"
"""What a run folder keeps of the choice."""


@dataclass(frozen=True, slots=True)
class _Readings:
    """A detector whose output of a picture are its detections as each of some configurations reads them."""

    detector: Detector
    candidates: Sequence[DetectorConfig]
    classes: tuple[str, ...]
    recipe: ViewRecipe
    engine: str | None
    precision: str | None
    device: torch.device

    def launch(self, images: torch.Tensor) -> Raw:
        raw: Raw = self.detector(images)
        return raw

    def outputs(self, raw: Raw, batch: Batch, names: Sequence[str]) -> list[list[Detections]]:
        own, read = self.detector.config, []
        for config in self.candidates:
            self.detector.config = config
            read.append(self.detector.detect(raw))
        self.detector.config = own
        return [list(picture) for picture in zip(*read, strict=True)]


def is_chosen(run: RunFolder) -> bool:
    """Whether a choice was made for the models of a run."""
    return (run.path / CHOICE).is_file()


def keep_choice(
    run: RunFolder,
    job: DetectionJob,
    data: BoxTables,
    runtime: Runtime,
    listener: Reporter,
    *,
    key: str = "",
    loader: str = "auto",
    threads: int | None = None,
) -> None:
    """Choose for the models of a run, where its detector leaves something to choose, and write them with the choice."""
    objects = sum(len(sample.boxes) for sample in data.validation)
    if not job.detector.candidates(objects):
        return
    stays = f"so the score from which boxes are reported stays {job.detector.reported:g}."
    if not objects:
        listener.message(f"None of the {len(data.validation):,} validation images has an object, {stays}")
        return
    shared = run.best.is_file() and run.best.samefile(run.last)
    for path in (run.last,) if shared or not run.best.is_file() else (run.last, run.best):
        point, chosen = choose_reading(path, job, data, runtime, key=key, loader=loader, threads=threads)
        if point is None or chosen is None:
            listener.message(f"No threshold finds an object of the validation images in {path.name}, {stays}")
            continue
        detector, extra = load_detector(path, key=key)
        detector.config = chosen
        save_detector(detector, path, key=key, extra=extra)
        with atomic_write(run.path / CHOICE) as temporary:  # that of the best comes last
            temporary.write_text(json.dumps(_described(point, chosen), indent=2) + "\n", encoding="utf-8")
        if shared:
            share_file(run.last, run.best)
        if path == run.best or shared:
            listener.message(
                f"Boxes are reported from a score of {point.score:g}: RSNA's figure is {point.figure:.3f} on the "
                f"{len(data.validation):,} validation images that chose it, and {format_estimate(point.nested)} where "
                "each quarter of them is judged by the choice of the others."
            )


def choose_reading(
    model: Path,
    job: DetectionJob,
    data: BoxTables,
    runtime: Runtime,
    *,
    key: str = "",
    loader: str = "auto",
    threads: int | None = None,
) -> tuple[OperatingPoint | None, DetectorConfig | None]:
    """Returns the operating point of a model on validation images, and the configuration that has it.

    Both are None where no candidate finds an object.
    """
    trained = load_detector_model(model, runtime.device, key=key)
    table = data.validation
    candidates = trained.detector.config.candidates(sum(len(sample.boxes) for sample in table))
    readings = _Readings(
        trained.detector,
        candidates,
        trained.classes,
        trained.recipe,
        trained.engine,
        trained.precision,
        trained.device,
    )
    predictor = Predictor(
        model=readings,
        batch_size=job.evaluation.batch_size,
        precision=runtime.precision,
        loader=loader,
        threads=threads,
    )
    read = {result.index: result.output for result in predictor.over(table) if result.output is not None}
    if not read:
        return None, None
    evaluator = Evaluator.of(table, data.classes, trained.recipe, job.evaluation, job.detector.suppression.confidence)
    curves: list[Curve] = []
    for number in range(len(candidates)):
        cases = evaluator.pooled({row: each[number] for row, each in read.items()})
        curves.append(score_curve(cases, overlaps(cases, IOU_THRESHOLDS[0])))
    point = choose_point(curves, evaluator.patients(read))
    if point is None:
        return None, None
    return point, candidates[point.candidate].reported_from(point.score)


def nested_of(model: Path) -> str:
    """Returns a sentence on the figure that no film helped to choose for itself, of a run; "" where none was chosen."""
    folders = (model, model.parent, model.parent.parent)
    path = next((folder / CHOICE for folder in folders if (folder / CHOICE).is_file()), None)
    if path is None:
        return ""
    nested = json.loads(path.read_text(encoding="utf-8"))["rsna_nested"]
    figures = [math.nan if each is None else each for each in (nested["value"], *nested["interval"])]
    return (
        f"Where each quarter of them is judged by the choice of the others it is {format_estimate(Estimate(*figures))}."
    )


def _described(point: OperatingPoint, config: DetectorConfig) -> dict[str, object]:
    return {
        "score": point.score,
        "rsna_chosen_here": point.figure,
        "rsna_nested": point.nested.to_dict(),
        "reading": config.described().get("boxes"),
    }
