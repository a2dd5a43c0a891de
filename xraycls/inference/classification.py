"""A trained classifier, and what it says of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from xraycls.evaluation.cases import FloatArray
from xraycls.inference.adjust import Adjustment, adjusted_probabilities
from xraycls.inference.results import Decisions
from xraycls.loaders.recipes.classification import Recipe
from xraycls.models.classifier import Classifier
from xraycls.models.ood import OODCheck
from xraycls.training.run_folder import RunFolder
from xraycls.types import Batch


@dataclass(frozen=True, slots=True)
class TrainedModel(Decisions):
    """A classifier as it was trained; its output of a picture are the probabilities of its classes, float64 [C].

    Attributes:
        classifier: in evaluation mode, on its device.
        recipe: how its pictures are rendered.
        engine: the engine that fed its training; None when unknown.
        threshold: the operating threshold of two classes, chosen on validation; None without one.
        weights: the file it came from.
        run: the run folder it came from; None for a bare weights file.
        bits: of the grey levels in 16-bit pictures that it was trained with; None when unknown.
        thresholds: of a classifier of findings, from which each is called, chosen on validation; else None.
        ood_check: tells pictures that are unlike the training data; None where the weights hold no check.
        adjustments: what is done to its probabilities, in order; thresholds are of the last.
        prevalence: of each class or finding in its training, sampling and weights counted; None when unknown.
        precision: number format that it was validated in; None when unknown.
    """

    classifier: Classifier
    recipe: Recipe
    engine: str | None
    threshold: float | None
    weights: Path
    run: RunFolder | None
    bits: int | None = None
    thresholds: tuple[float, ...] | None = None
    ood_check: OODCheck | None = None
    adjustments: tuple[Adjustment, ...] = ()
    prevalence: Mapping[str, float] | None = None
    precision: str | None = None

    @property
    def multi_label(self) -> bool:
        """Whether an image may show several of the classes, which are findings then."""
        return self.classifier.multi_label

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.classifier.classes

    @property
    def network(self) -> str:
        """The network's name."""
        return self.classifier.architecture.name

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.classifier.parameters()).device

    def launch(self, images: torch.Tensor) -> torch.Tensor:
        """Returns logits [B, C] of uint8 images [B, 1, S, S]."""
        logits: torch.Tensor = self.classifier(images)
        return logits

    def outputs(self, raw: torch.Tensor, batch: Batch, names: Sequence[str]) -> list[FloatArray]:
        """Returns the probabilities of each picture, float64 [C]."""
        probabilities = self.classifier.probabilities(raw.cpu().double()).numpy()
        return list(adjusted_probabilities(probabilities, self.adjustments, multi_label=self.multi_label))
