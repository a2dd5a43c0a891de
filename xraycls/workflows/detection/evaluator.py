"""Validation images, and how what was found in them is judged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xraycls.data.table import SampleTable
from xraycls.evaluation.detection.average_precision import (
    AveragePrecision,
    StrictAveragePrecision,
    average_precision,
    strict_average_precision,
)
from xraycls.evaluation.detection.cases import Cases, ImageBoxes, pool, rounded
from xraycls.evaluation.detection.printed import RPN_RECALL, at_overlap
from xraycls.evaluation.detection.proposal_recall import proposal_recall
from xraycls.evaluation.detection.table import DetectionReport, detection_report
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.views import Canvas
from xraycls.training.job import EvaluationConfig
from xraycls.types import Detections
from xraycls.workflows.detection.data import truths_of


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Validation images and how detections in them are judged.

    Detections go by an image's row of the table; images that could not be read are missing, and don't count.

    Attributes:
        table: the images.
        truths: their boxes, in pixels of the network's input.
        classes: of objects, without the background.
        canvas: the network's input.
        settings: the rules.
        confidence: what a detection must score to count, 0–1.
    """

    table: SampleTable
    truths: Sequence[ImageBoxes]
    classes: tuple[str, ...]
    canvas: Canvas
    settings: EvaluationConfig
    confidence: float

    @classmethod
    def of(
        cls,
        table: SampleTable,
        classes: tuple[str, ...],
        recipe: ViewRecipe,
        settings: EvaluationConfig,
        confidence: float,
    ) -> Evaluator:
        """Returns the evaluator of a table; the recipe renders its pictures, whose headers are read."""
        return cls(table, truths_of(table, classes, recipe), classes, recipe.canvas, settings, confidence)

    def average(self, detections: Mapping[int, Detections]) -> AveragePrecision:
        """Returns average precision by the rule of the settings; a class that doesn't occur has 0, and NaN by VOC's."""
        settings = self.settings
        if settings.rule == "voc":
            return self._averaged(self.strict(detections))
        truths, detected = self._cases(detections)
        return average_precision(
            truths,
            detected,
            self.classes,
            mode=settings.mode,
            iou_threshold=settings.iou,
            confidence_threshold=self.confidence,
        )

    def figures(
        self, detections: Mapping[int, Detections], proposals: Mapping[int, npt.NDArray[np.float32]] | None = None
    ) -> dict[str, float]:
        """Returns the figures of a validation during training: mAP, and AP of each class.

        By PASCAL VOC's rule precision and recall, too, at every overlap of the settings (``AP@0.75_nodule`` from the
        second on), and of a detector in two stages the recall of its proposals; NaN for a class that doesn't occur.

        Args:
            detections: by row.
            proposals: of a first stage, [n, 4] by row.
        """
        if self.settings.rule != "voc":
            average = self.average(detections)
            return {"mAP": average.mean, **{f"AP_{name}": value for name, value in average.per_class.items()}}
        strict = self.strict(detections)
        figures = {"mAP": float(np.mean([each.mean for each in strict]))}
        for number, one in enumerate(strict):
            overlap = at_overlap(one.iou_threshold, number)
            for name in self.classes:
                each = one.per_class.get(name)
                columns = (each.ap, each.precision, each.recall) if each else (math.nan,) * 3
                kinds = (f"{kind}{overlap}_{name}" for kind in ("AP", "precision", "recall"))
                figures |= dict(zip(kinds, columns, strict=True))
        recalls = self.proposal_recall(proposals) if proposals else {}
        return figures | {f"{RPN_RECALL}_{name}": recalls.get(name, math.nan) for name in self.classes if proposals}

    def strict(self, detections: Mapping[int, Detections]) -> tuple[StrictAveragePrecision, ...]:
        """Returns PASCAL VOC's strict figures, one an overlap of the settings."""
        truths, detected = self._cases(detections)
        return tuple(
            strict_average_precision(
                truths,
                detected,
                self.classes,
                mode=self.settings.mode,
                iou_thresholds=self.settings.ious or (self.settings.iou,),
                confidence_threshold=self.confidence,
            )
        )

    def proposal_recall(self, proposals: Mapping[int, npt.ArrayLike]) -> dict[str, float]:
        """Returns the share of each class's objects that a first stage's proposals [n, 4] overlap by half."""
        rows = sorted(proposals)
        return proposal_recall([self.truths[row] for row in rows], [proposals[row] for row in rows], self.classes)

    def _averaged(self, strict: Sequence[StrictAveragePrecision]) -> AveragePrecision:
        """Average precision of classes at the first overlap, and the mean over all overlaps."""
        first = strict[0].per_class
        per_class = {name: first[name].ap if name in first else math.nan for name in self.classes}
        return AveragePrecision(per_class, float(np.mean([each.mean for each in strict])))

    def report(self, detections: Mapping[int, Detections], score_threshold: float = 0.5) -> DetectionReport:
        """Returns all figures of the field, with intervals over patients where they are known.

        Args:
            detections: by row of the table.
            score_threshold: from which score on a detection is a prediction for RSNA's figure.
        """
        return detection_report(
            *self._cases(detections),
            self.classes,
            iou_threshold=self.settings.iou,
            confidence_threshold=self.confidence,
            score_threshold=score_threshold,
            groups=self.patients(detections),
        )

    def patients(self, rows: Iterable[int]) -> list[str | None] | None:
        """Returns the patients of rows of the table in its order; None where none is known."""
        patients = [self.table[row].patient for row in sorted(rows)]
        return patients if any(patient is not None for patient in patients) else None

    def pooled(self, detections: Mapping[int, Detections]) -> Cases:
        """Returns ground truth and detections of the images that were read in flat arrays."""
        return pool(*self._cases(detections), confidence_threshold=self.confidence)

    def _cases(self, detections: Mapping[int, Detections]) -> tuple[list[ImageBoxes], list[Detections]]:
        """Ground truth and detections of the images that were read, in the table's order."""
        rows = sorted(detections)
        return [self.truths[row] for row in rows], [self._rounded(detections[row]) for row in rows]

    def _rounded(self, detected: Detections) -> Detections:
        boxes = rounded(detected.boxes.astype(np.float64), self.canvas.width, self.canvas.height)
        return Detections(boxes.astype(np.float32), detected.labels, detected.scores)
