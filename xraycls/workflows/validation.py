"""What an exported file scores on the validation images of its model's run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from xraycls.data.table import SampleTable
from xraycls.evaluation.findings import finding_scores
from xraycls.evaluation.metrics import scores
from xraycls.export.folder import Exported
from xraycls.inference.exported_predictor import (
    ExportedModel,
    ExportedPredictor,
    read_detections,
    read_probabilities,
)
from xraycls.inference.runtimes import open_session
from xraycls.training.job import EvaluationConfig
from xraycls.types import Detections
from xraycls.workflows.detection.evaluator import Evaluator


@dataclass(frozen=True, slots=True)
class Validation:
    """Labelled images and how they are judged.

    Attributes:
        table: the images.
        settings: of average precision; None of a classifier, which is judged by the area under its ROC curve.
    """

    table: SampleTable
    settings: EvaluationConfig | None = None

    @property
    def metric(self) -> str:
        """The name of the figure."""
        return "AUROC" if self.settings is None else "mAP"

    def score(self, exported: Exported) -> float:
        """Returns the figure of a file in the runtime that is there, 0–1; pictures that can't be read don't count."""
        model = ExportedModel(exported.path, exported.file, open_session(exported.path, device="cpu"))
        return self._auroc(model) if self.settings is None else self._mean_average_precision(model, self.settings)

    def _auroc(self, model: ExportedModel) -> float:
        findings = self.table.findings
        read = partial(read_probabilities, multi_label=model.multi_label)
        results = ExportedPredictor(model=model, read=read).over(self.table)
        found = {result.index: result.output for result in results if result.output is not None}
        rows = sorted(found)
        probabilities = np.stack([found[row] for row in rows])
        if findings:
            return finding_scores(self.table.targets[rows], probabilities, findings)["auroc"]
        return scores(self.table.labels[rows], probabilities)["auroc"]

    def _mean_average_precision(self, model: ExportedModel, settings: EvaluationConfig) -> float:
        predictor = ExportedPredictor(model=model, read=read_detections(model.file, source=False), batch_size=8)
        found: dict[int, Detections] = {
            result.index: result.output for result in predictor.over(self.table) if result.output is not None
        }
        confidence = model.file.confidence or 0.0
        evaluator = Evaluator.of(self.table, model.classes, model.file.recipe, settings, confidence)
        return evaluator.average(found).mean
