"""Detection as a task of the training loop: any detector, its loss and a regulariser of its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from xraycls.models.detection.base import Detector, total
from xraycls.training.distributed import World, all_sum, gather_detections
from xraycls.types import Batch, Detections, Objects


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
        self.reset()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The batch's loss, which the detector normalises, times its readable pictures; a scalar."""
        detector = _detector(model)
        terms = detector.loss(batch.images, _objects(batch), batch.weights)
        return (total(terms) + self.regularizer(detector)) * (batch.weights > 0).sum()

    def reset(self) -> None:
        """Forget the detections and the loss of the split."""
        self._detections: dict[int, Detections] = {}
        self._losses: list[Tensor] = []

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Keep the detections of the pictures that could be read, by their row of the table, and the loss."""
        detector = _detector(model)
        terms, detections = detector.loss_and_detections(batch.images, _objects(batch), batch.weights)
        readable = batch.weights > 0
        loss = (total(terms) + self.regularizer(detector)) * readable.sum()
        self._losses.append(torch.stack([loss, readable.sum().to(loss)]))
        for row, index, kept in zip(detections, batch.indices.tolist(), readable.tolist(), strict=True):
            if kept:
                self._detections[index] = row

    def compute(self, world: World) -> dict[str, float]:
        """Returns the mean loss of a picture, and the figures of ``scores``."""
        loss, pictures = all_sum(torch.stack(self._losses).sum(dim=0), world).tolist()
        return {"loss": loss / max(pictures, 1.0), **self.scores(gather_detections(self._detections, world))}

    def save(self, model: nn.Module, path: Path, settings: Mapping[str, str]) -> None:
        """Write the detector."""
        self._save(_detector(model), path, settings)


def _objects(batch: Batch) -> Objects:
    if batch.objects is None:
        raise ValueError("a detector trains on batches with objects")
    return batch.objects


def _detector(model: nn.Module) -> Detector:
    if not isinstance(model, Detector):
        raise TypeError(f"Detection trains a Detector, not a {type(model).__name__}")
    return model
