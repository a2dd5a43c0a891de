"""Detection as a task of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from xraycls.models.detection.coding import encode
from xraycls.models.detection.detector import Detector
from xraycls.models.detection.matching import NEUTRAL, match
from xraycls.models.detection.ssd_loss import focal_loss, hard_negative_loss
from xraycls.types import Batch, Objects

Found = tuple[Tensor, Tensor, Tensor]
"""Of one picture: boxes [n, 4] in pixels of the canvas, classes int64 [n] and scores [n]."""

_COLUMNS = 6  # label, score, left, top, right, bottom


@dataclass(frozen=True, slots=True)
class DetectionLoss:
    """The loss of a spec.

    Attributes:
        positive: IoU from which an anchor answers for an object, 0–1.
        negative: IoU from which it isn't background any more, 0–1.
        neg_pos: background anchors a positive that count (hard-negative mining).
        alpha: weight of the box loss.
        focal: alpha and gamma of the focal loss of TLT 2; None for hard-negative mining.
        regularizer: what the kernels of convolutions are held down by.
        regularizer_weight: times Σ|k| (L1) or Σk² (L2).
    """

    positive: float = 0.5
    negative: float = 0.5
    neg_pos: float = 3.0
    alpha: float = 1.0
    focal: tuple[float, float] | None = None
    regularizer: Literal["NO_REG", "L1", "L2"] = "NO_REG"
    regularizer_weight: float = 0.0


class Detection:
    """Finding objects with a single-shot detector.

    Args:
        settings: of the loss.
        scores: figures of a validation split, from what was found in its pictures by their place in the table; those
            that could not be read are missing.
        save: writes a detector to a path with some settings.
    """

    def __init__(
        self,
        settings: DetectionLoss,
        scores: Callable[[Mapping[int, Found]], Mapping[str, float]],
        save: Callable[[Detector, Path, Mapping[str, str]], None],
    ) -> None:
        self.settings_of_loss = settings
        self.scores = scores
        self._save = save

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The batch's loss, which is divided by its positives, times its readable pictures; a scalar."""
        detector = _detector(model)
        logits, offsets = detector(batch.images)
        found = self._criterion(detector, logits, offsets, batch) + self._regularizer(detector)
        return found * (batch.weights > 0).sum()

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """What is found, float32 [b, 1 + top_k, 6]: label, score and box; label -1 where there is no more.

        The first row holds the loss of the batch and the picture's place in the table, since several processes bring
        theirs in another order.
        """
        detector = _detector(model)
        logits, offsets = detector(batch.images)
        rows = torch.full((len(batch.images), 1 + detector.suppression.top_k, _COLUMNS), -1.0, device=logits.device)
        rows[:, 0, 0] = self._criterion(detector, logits, offsets, batch) + self._regularizer(detector)
        rows[:, 0, 1] = batch.indices
        for row, (boxes, labels, scores) in zip(rows, detector.found(logits, offsets), strict=True):
            row[1 : 1 + len(labels)] = torch.cat([labels[:, None], scores[:, None], boxes], dim=1)
        return rows

    def metrics(self, predictions: Tensor, labels: Tensor) -> dict[str, float]:
        """The mean loss, and the figures of ``scores``."""
        found = {int(rows[0, 1]): found_in(rows) for rows in predictions}
        return {"loss": float(predictions[:, 0, 0].mean()), **self.scores(found)}

    def settings(self, predictions: Tensor, labels: Tensor) -> dict[str, str]:
        """Nothing is chosen on validation."""
        return {}

    def save(self, model: nn.Module, path: Path, settings: Mapping[str, str]) -> None:
        """Write the detector."""
        self._save(_detector(model), path, settings)

    def _criterion(self, detector: Detector, logits: Tensor, offsets: Tensor, batch: Batch) -> Tensor:
        loss = self.settings_of_loss
        truth = targets(detector, batch, loss.positive, loss.negative)
        if loss.focal is not None:
            alpha, gamma = loss.focal
            return focal_loss(logits, offsets, *truth, alpha=alpha, gamma=gamma, loc_weight=loss.alpha)
        return hard_negative_loss(logits, offsets, *truth, neg_pos=loss.neg_pos, alpha=loss.alpha)

    def _regularizer(self, detector: Detector) -> Tensor | float:
        kind = self.settings_of_loss.regularizer
        if kind == "NO_REG":
            return 0.0
        kernels = [m.weight for m in detector.net.modules() if isinstance(m, nn.Conv2d) and m.weight.requires_grad]
        sums = [kernel.abs().sum() if kind == "L1" else kernel.square().sum() for kernel in kernels]
        return self.settings_of_loss.regularizer_weight * torch.stack(sums).sum()


def targets(detector: Detector, batch: Batch, positive: float, negative: float) -> tuple[Tensor, Tensor, Tensor]:
    """What the anchors of a batch should say: matches [b, a], labels [b, a] from 1, and offsets [b, a, 4].

    Anchors of pictures that could not be read are neutral.
    """
    if batch.objects is None:
        raise ValueError("a detector trains on batches with objects")
    boxes, classes, present = by_picture(batch.objects, len(batch.images))
    boxes = boxes / detector.size
    matches = match(boxes, detector.anchors, positive, negative, present)
    matches = torch.where((batch.weights > 0)[:, None], matches, NEUTRAL)
    chosen, found = matches.clamp_min(0), matches >= 0
    offsets = encode(boxes.gather(1, chosen[..., None].expand(-1, -1, 4)), detector.anchors, detector.variances)
    return matches, (classes.gather(1, chosen) + 1) * found, torch.where(found[..., None], offsets, 0.0)


def by_picture(objects: Objects, pictures: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [b, n, 4], classes int64 [b, n] and which of them are there, bool [b, n]; n is 1 or the most in a picture.

    A step then costs the same few kernels, however many pictures and objects there are.
    """
    counts = torch.bincount(objects.owners, minlength=pictures)
    place = torch.arange(len(objects.owners), device=counts.device) - (counts.cumsum(0) - counts)[objects.owners]
    shape = pictures, max(int(counts.max()), 1)
    at = objects.owners, place
    boxes = objects.boxes.new_zeros(*shape, 4).index_put(at, objects.boxes)
    classes = objects.labels.new_zeros(shape).index_put(at, objects.labels)
    return boxes, classes, counts[:, None] > torch.arange(shape[1], device=counts.device)


def found_in(rows: Tensor) -> Found:
    """What :meth:`Detection.predict` says of one picture, [1 + top_k, 6]."""
    told = rows[1:][rows[1:, 0] >= 0]
    return told[:, 2:], told[:, 0].long(), told[:, 1]


def _detector(model: nn.Module) -> Detector:
    if not isinstance(model, Detector):
        raise TypeError(f"Detection trains a Detector, not a {type(model).__name__}")
    return model
