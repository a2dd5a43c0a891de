"""What a detector is held against: validation images, their boxes, and how a spec judges what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xraycls.data.table import SampleTable
from xraycls.evaluation.detection.average_precision import AveragePrecision, average_precision
from xraycls.evaluation.detection.cases import Detections, ImageBoxes, rounded
from xraycls.evaluation.detection.table import DetectionReport, detection_report
from xraycls.loaders.views import Canvas
from xraycls.tao.ssd_config import SSDEvaluation
from xraycls.types import Detections as Found
from xraycls.workflows.detection.data import truths_of


@dataclass(frozen=True, slots=True)
class Exam:
    """Validation images and how to judge what was found in them.

    What was found goes by an image's place in the table; images that could not be read are missing, and don't count.

    Attributes:
        table: the images.
        truths: their boxes, in pixels of the network's input.
        classes: of objects, without the background.
        canvas: the network's input.
        settings: of the spec.
    """

    table: SampleTable
    truths: Sequence[ImageBoxes]
    classes: tuple[str, ...]
    canvas: Canvas
    settings: SSDEvaluation

    @classmethod
    def of(cls, table: SampleTable, classes: tuple[str, ...], canvas: Canvas, settings: SSDEvaluation) -> Exam:
        """The exam on a table; the headers of its pictures are read."""
        return cls(table, truths_of(table, classes, canvas), classes, canvas, settings)

    def average(self, found: Mapping[int, Found]) -> AveragePrecision:
        """TAO's average precision."""
        return average_precision(
            *self._cases(found),
            self.classes,
            mode=self.settings.mode,
            iou_threshold=self.settings.iou,
            confidence_threshold=self.settings.confidence,
        )

    def report(self, found: Mapping[int, Found]) -> DetectionReport:
        """All figures of the field, with intervals over patients where they are known."""
        patients = [self.table[place].patient for place in sorted(found)]
        return detection_report(
            *self._cases(found),
            self.classes,
            iou_threshold=self.settings.iou,
            confidence_threshold=self.settings.confidence,
            groups=patients if any(patient is not None for patient in patients) else None,
        )

    def _cases(self, found: Mapping[int, Found]) -> tuple[list[ImageBoxes], list[Detections]]:
        """Truth and detections of the images that were read, in the table's order."""
        places = sorted(found)
        detected = [self._detected(found[place].boxes, found[place].labels, found[place].scores) for place in places]
        return [self.truths[place] for place in places], detected

    def _detected(self, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> Detections:
        return Detections.of(rounded(boxes.astype(np.float64), self.canvas.width, self.canvas.height), labels, scores)
