"""Detection as a task of the training loop: any detector, its loss and a regulariser of its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from xraycls.models.detection.base import Detector, total
from xraycls.types import Batch, Detections, Objects

_COLUMNS = 6  # label, score, left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Regularizer:
    """A penalty on the kernels that :meth:`~xraycls.models.detection.base.Detector.regularized` names.

    Attributes:
        kind: "L1" adds weight · Σ|k|, "L2" weight · Σk², "NO_REG" nothing.
        weight: 0 or more.
    """

    kind: Literal["NO_REG", "L1", "L2"] = "NO_REG"
    weight: float = 0.0

    def __call__(self, detector: Detector) -> Tensor | float:
        """Returns the penalty of a detector, a scalar."""
        if self.kind == "NO_REG":
            return 0.0
        kernels = detector.regularized()
        return (
            self.weight * torch.stack([k.abs().sum() if self.kind == "L1" else k.square().sum() for k in kernels]).sum()
        )


class Detection:
    """Finding objects with a detector.

    Args:
        regularizer: of its kernels.
        scores: figures of a validation split, from the detections in its pictures by their rows of the table; those
            that could not be read are missing.
        save: writes a detector to a path with some settings.
    """

    def __init__(
        self,
        regularizer: Regularizer,
        scores: Callable[[Mapping[int, Detections]], Mapping[str, float]],
        save: Callable[[Detector, Path, Mapping[str, str]], None],
    ) -> None:
        self.regularizer = regularizer
        self.scores = scores
        self._save = save

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The batch's loss, which the detector normalises, times its readable pictures; a scalar."""
        detector = _detector(model)
        terms = detector.loss(batch.images, _objects(batch), batch.weights)
        return (total(terms) + self.regularizer(detector)) * (batch.weights > 0).sum()

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """The detections, float32 [B, 1 + top_k, 6]: label, score and box; label -1 where there is no more.

        The first row holds the loss of the batch and the picture's place in the table, since several processes bring
        theirs in another order.
        """
        detector = _detector(model)
        terms, detections = detector.loss_and_detections(batch.images, _objects(batch), batch.weights)
        shape = batch.images.shape[0], 1 + detector.config.suppression.top_k, _COLUMNS
        rows = torch.full(shape, -1.0, device=batch.images.device)
        rows[:, 0, 0] = total(terms) + self.regularizer(detector)
        rows[:, 0, 1] = batch.indices
        for row, found in zip(rows, detections, strict=True):
            values = torch.cat(
                [torch.from_numpy(found.labels)[:, None], torch.from_numpy(found.scores)[:, None]], dim=1
            )
            row[1 : 1 + len(found)] = torch.cat([values, torch.from_numpy(found.boxes)], dim=1).to(row)
        return rows

    def metrics(self, predictions: Tensor, labels: Tensor) -> dict[str, float]:
        """The mean loss, and the figures of ``scores``."""
        found = {int(rows[0, 1]): _detections(rows) for rows in predictions}
        return {"loss": float(predictions[:, 0, 0].mean()), **self.scores(found)}

    def settings(self, predictions: Tensor, labels: Tensor) -> dict[str, str]:
        """Nothing is chosen on validation."""
        return {}

    def save(self, model: nn.Module, path: Path, settings: Mapping[str, str]) -> None:
        """Write the detector."""
        self._save(_detector(model), path, settings)


def _detections(rows: Tensor) -> Detections:
    kept = rows[1:][rows[1:, 0] >= 0].numpy()
    return Detections.of(kept[:, 2:], kept[:, 0], kept[:, 1])


def _objects(batch: Batch) -> Objects:
    if batch.objects is None:
        raise ValueError("a detector trains on batches with objects")
    return batch.objects


def _detector(model: nn.Module) -> Detector:
    if not isinstance(model, Detector):
        raise TypeError(f"Detection trains a Detector, not a {type(model).__name__}")
    return model
