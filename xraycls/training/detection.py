"""Detection as a task of the training loop: any detector, its loss and a regulariser of its kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xraycls.models.detection.base import Detector, Raw, total
from xraycls.training.distributed import World, all_sum, gathered
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
        scores: figures of a validation split, from the detections in its pictures by their rows of the table, and
            from the proposals [n, 4] of a first stage, none of a detector in one stage; pictures that could not be
            read are missing.
        save: writes a detector to a path with some settings.
    """

    def __init__(
        self,
        regularizer: Regularizer,
        scores: Callable[[Mapping[int, Detections], Mapping[int, NDArray[np.float32]]], Mapping[str, float]],
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
        """Forget the detections, the proposals and the loss of the split."""
        self._detections: dict[int, Detections] = {}
        self._regions: dict[int, NDArray[np.float32]] = {}
        self._losses: list[Tensor] = []

    def update(self, model: nn.Module, batch: Batch) -> None:
        """Keep the detections and proposals of the pictures that could be read, by their row of the table, and the
        loss; all of one forward pass."""
        detector = _detector(model)
        raw: Raw = detector(batch.images)
        terms = detector.criterion(raw, _objects(batch), batch.weights)
        regions = detector.regions(raw)
        readable = batch.weights > 0
        loss = (total(terms) + self.regularizer(detector)) * readable.sum()
        self._losses.append(torch.stack([loss, readable.sum().to(loss)]))
        for row, (found, index) in enumerate(zip(detector.detect(raw), batch.indices.tolist(), strict=True)):
            if readable[row]:
                self._detections[index] = found
                if regions:
                    self._regions[index] = regions[row]

    def compute(self, world: World) -> dict[str, float]:
        """Returns the mean loss of a picture, and the figures of ``scores``."""
        loss, pictures = all_sum(torch.stack(self._losses).sum(dim=0), world).tolist()
        figures = self.scores(gathered(self._detections, world), gathered(self._regions, world))
        return {"loss": loss / max(pictures, 1.0), **figures}

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
