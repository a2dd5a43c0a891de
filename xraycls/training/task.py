"""What the training loop needs to know of a task, and classification as the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from xraycls.models.classifier import Classifier, save_classifier
from xraycls.training.distributed import World, gather_rows
from xraycls.types import Batch

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class Task(Protocol):
    """A kind of model to train: the loss of a batch, and what validation says of a split."""

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Returns the weighted sum of the losses of a batch, a scalar; samples of weight 0 count nothing."""

    def reset(self) -> None:
        """Forget what :meth:`update` took in, before the validation of another epoch."""

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Take in a validation batch, on the device of the model."""

    def compute(self, world: World) -> dict[str, float]:
        """Returns the figures of the whole split by name; gathers what the processes took in."""

    def save(self, model: nn.Module, path: Path, settings: Mapping[str, str]) -> None:
        """Write weights for use, atomically; the settings, and what was chosen on validation, go with them."""


class Classification:
    """Single-label classification with cross-entropy.

    Args:
        scores: validation figures of labels int64 [n] and probabilities float64 [n, C].
        choose: what is chosen on validation from the same two and travels with the weights.
        label_smoothing: 0–1 (Szegedy et al., CVPR 2016).
        class_weights: float32 [C] on the device of the model, a factor of each class's loss; None for equal weights.
    """

    def __init__(
        self,
        scores: Callable[[Any, Floats], Mapping[str, float]],
        choose: Callable[[Any, Floats], dict[str, str]],
        label_smoothing: float = 0.0,
        class_weights: torch.Tensor | None = None,
    ) -> None:
        self.scores = scores
        self.choose = choose
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.reset()

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of the logits, plus the auxiliary heads' with their own weight; summed over the batch."""
        classifier = _classifier(model)
        logits, auxiliary = classifier.logits_and_auxiliary(batch.images)
        loss = self._loss_of(logits, batch)
        for head in auxiliary:
            loss = loss + classifier.auxiliary_weight * self._loss_of(head, batch)
        return loss

    def reset(self) -> None:
        """Forget the logits of the split, and what was chosen on them."""
        self._logits: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []
        self._weights: list[torch.Tensor] = []
        self._chosen: dict[str, str] = {}

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Keep the logits of a batch."""
        logits: torch.Tensor = model(batch.images)
        self._logits.append(logits.float())
        self._labels.append(self._truth(batch))
        self._weights.append(batch.weights)

    def compute(self, world: World) -> dict[str, float]:
        """Returns the figures of ``scores``, and lets ``choose`` choose."""
        kept = gather_rows(torch.cat(self._weights), world) > 0
        labels = gather_rows(torch.cat(self._labels), world)[kept].cpu().numpy()
        logits = gather_rows(torch.cat(self._logits), world)[kept].cpu()
        probabilities = self._probabilities(logits.double()).numpy()
        self._chosen = self.choose(labels, probabilities)
        return dict(self.scores(labels, probabilities))

    def save(self, model: nn.Module, path: Path, settings: Mapping[str, str]) -> None:
        """Write the classifier as safetensors."""
        save_classifier(_classifier(model), path, extra=self._chosen | dict(settings))

    def _loss_of(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        each = F.cross_entropy(
            logits.float(),
            batch.labels,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return (each * batch.weights).sum()

    def _truth(self, batch: Batch) -> torch.Tensor:
        return batch.labels

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(1)


def _classifier(model: nn.Module) -> Classifier:
    if not isinstance(model, Classifier):
        raise TypeError(f"Classification trains a Classifier, not a {type(model).__name__}")
    return model


def balanced_class_weights(labels: Labels, classes: int) -> torch.Tensor:
    """Weights inverse to the class counts, float32 [C], with mean 1 over the samples; 0 for an absent class."""
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.divide(counts.sum(), present * counts, out=np.zeros(classes), where=counts > 0)
    return torch.tensor(weights, dtype=torch.float32)
