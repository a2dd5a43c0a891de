"""The frozen value types that travel between stages.

Nothing here imports torch at run time, so a table of samples can be listed without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from pydicom import Dataset

    Content = bytes | npt.NDArray[np.generic] | Dataset
    """A picture in memory: the bytes of a file, an array or a DICOM dataset."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

UNCERTAIN = 0.5
"""A finding that the reader of an image was not sure of, between 0 (absent) and 1 (present)."""

NO_FINDING = "No Finding"
"""What an image without any finding is called."""

Outline = tuple[tuple[tuple[float, float], ...], ...]
"""Closed polygons as points (x, y) in shares of a box's sides, 0–1; one within another is a hole."""

PIXELS = "pixels.npy"
"""The file of a prepared store that holds its pictures."""

ENCODED = "frame/encoded"
"""The feature of a record that holds a picture's file, in TFRecords of TAO's SSD."""


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box in pixels of the original image; right and bottom are exclusive.

    Attributes:
        label: the class, as the source spells it.
        left: pixels from the left edge of the image.
        top: pixels from its upper edge.
        right: exclusive, so that the width is right - left.
        bottom: exclusive.
        score: the confidence of a predicted box, 0–1; None for one that a reader drew.
        difficult: whether a figure of merit leaves it out (KITTI's occlusion, VOC's difficult, COCO's crowd).
        outline: of the object within its box, where it was drawn; empty where the box is all that is known.
    """

    label: str
    left: float
    top: float
    right: float
    bottom: float
    score: float | None = None
    difficult: bool = False
    outline: Outline = field(default=(), repr=False)

    @property
    def is_reversed(self) -> bool:
        """Whether the right or the lower edge comes first, which no reader drew."""
        return self.right < self.left or self.bottom < self.top


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set, by reference: where its pixels lie and what is known of it.

    Attributes:
        path: the image file, or the container that holds it: a MedMNIST ``.npz``, a prepared store's ``pixels.npy``, a
            TFRecord file.
        label: index into the table's classes; None when unknown.
        patient: groups images that must not be separated by a split; None when unknown.
        split: the split it belongs to; None until one is drawn.
        boxes: findings, in pixels of the original image; of a prepared picture, in pixels of its upright source
            after the central crop.
        member: in a ``.npz``, the array that holds the pixels; in a store, the name of the source below its root; in a
            TFRecord file, ``ENCODED``; None for a plain file.
        row: the row of the array, or where the record begins, in bytes.
        attributes: what else the source says of the image, as (column, value): ("age", "61"), ("subtype", "virus").
        findings: one for each of the table's findings: 1 present, 0 absent, ``UNCERTAIN``, None unknown; empty where
            the source tells one label an image.
        content: the picture itself where it is in memory; ``path`` only names it then.
    """

    path: Path
    label: int | None = None
    patient: str | None = None
    split: Split | None = None
    boxes: tuple[Box, ...] = ()
    member: str | None = None
    row: int | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    findings: tuple[float | None, ...] = ()
    content: Content | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """A short name for logs and tables: the path, and what is meant within a container.

        That is ``set.npz:train_images[7]`` in an archive and ``store:train/NORMAL/a.jpeg`` in a prepared store.
        """
        if self.member is None:
            return str(self.path)
        if self.path.name == PIXELS:
            return f"{self.path.parent}:{self.member}"
        return f"{self.path}:{self.member}[{self.row}]"


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The objects that a detector found in one picture: the only shape in which detections travel.

    Attributes:
        boxes: float32 [n, 4], left, top, right and bottom in pixels.
        labels: int64 [n], classes from 0; there is no background.
        scores: float32 [n], 0–1, falling.

    Example:
        >>> from xraycls import Detections
        >>> found = Detections.of([[10, 10, 50, 60], [0, 0, 5, 5]], labels=[0, 1], scores=[0.9, 0.2])
        >>> len(found), len(found.above(0.5))
        (2, 1)
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(cls, boxes: npt.ArrayLike = (), labels: npt.ArrayLike = (), scores: npt.ArrayLike = ()) -> Detections:
        """Returns detections from anything that reads as arrays of these shapes, sorted by falling score.

        Detections of equal score keep their order.

        Raises:
            ValueError: the lengths differ.
        """
        marks = np.asarray(scores, np.float32).reshape(-1)
        order = np.argsort(-marks, kind="stable")
        classes = np.asarray(labels, np.int64).reshape(len(marks))
        return cls(np.asarray(boxes, np.float32).reshape(len(marks), 4)[order], classes[order], marks[order])

    def above(self, threshold: float) -> Detections:
        """Returns the detections that score ``threshold`` or more."""
        kept = self.scores >= np.float32(threshold)
        return Detections(self.boxes[kept], self.labels[kept], self.scores[kept])

    def mapped(self, matrix: npt.NDArray[np.float64]) -> Detections:
        """Returns the same in pixels of the source picture.

        Args:
            matrix: float64 [2, 3] of a view that neither rotates nor mirrors: from pixels of the canvas to those of
                the source.
        """
        boxes = self.boxes * np.tile(np.diagonal(matrix), 2) + np.tile(matrix[:, 2], 2)
        return Detections(boxes.astype(np.float32), self.labels, self.scores)

    def to_boxes(self, classes: Sequence[str]) -> tuple[Box, ...]:
        """Returns the detections as boxes with class names."""
        rows = zip(self.labels.tolist(), self.boxes.tolist(), self.scores.tolist(), strict=True)
        return tuple(
            Box(classes[label], left, top, right, bottom, score) for label, (left, top, right, bottom), score in rows
        )


@dataclass(frozen=True, slots=True)
class Objects:
    """What is to be found in the pictures of a batch, one row an object.

    Attributes:
        boxes: float32 [n, 4]: left, top, right and bottom in pixels of the picture.
        labels: int64 [n], classes of objects, from 0.
        owners: int64 [n], the row of the batch that each lies in; rising.
        difficult: bool [n], whether figures of merit leave it out.
        masks: uint8 [n, H, W], how much of every pixel of the picture each covers, 0–255; None where no outline is
            known, or a network learns from boxes alone.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    owners: torch.Tensor
    difficult: torch.Tensor
    masks: torch.Tensor | None = None

    def to(self, device: torch.device) -> Objects:
        """The same on another device; from pinned memory the copy doesn't block."""
        return Objects(
            self.boxes.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.owners.to(device, non_blocking=True),
            self.difficult.to(device, non_blocking=True),
            None if self.masks is None else self.masks.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Images on their way to the model.

    Attributes:
        images: uint8 [B, 1, H, W], grey levels 0–255; float32 [B, C, H, W] of a loader that was asked to normalise.
        labels: int64 [B]; -1 where unknown.
        indices: int64 [B], rows of the sample table.
        weights: float32 [B]; 0 marks padding and images that could not be read: they add nothing to loss and figures.
        objects: where the task is to find them; else None.
        targets: float32 [B, F] of several findings an image: 1 present, 0 absent, ``UNCERTAIN``, NaN unknown; None of
            one label an image.
        matrices: float64 [B, 2, 3], from pixels of each image to those of the file that it shows, on the CPU. Of a
            mosaic, from those of its first picture.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    weights: torch.Tensor
    objects: Objects | None = None
    matrices: torch.Tensor | None = None
    targets: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device; from pinned memory the copy doesn't block."""
        return Batch(
            self.images.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.indices.to(device, non_blocking=True),
            self.weights.to(device, non_blocking=True),
            None if self.objects is None else self.objects.to(device),
            self.matrices,
            None if self.targets is None else self.targets.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a classifier says of one image.

    Attributes:
        name: the image, as :attr:`Sample.name`.
        probabilities: one a class, 0–1, summing to 1, or one a finding; empty when the image could not be read.
        predicted: the class index at the operating threshold; None when the image could not be read, and of a
            classifier of findings.
        label: the true class index; None when unknown.
        error: why the image could not be read; None when it could.
        positive: of a classifier of findings, the indices of those at or above their thresholds; else None.
        findings: the true findings, as :attr:`Sample.findings`; empty when unknown.
        distance: how far the image is from the training data, in units of the farthest that is ordinary; None where
            that was not looked at.
        seen: whether a member of an ensemble that is tested was trained or chosen with the image; None where that plays
            no part.
        uncertainty: of probabilities that are the mean over several models, or over several views of one, their
            standard deviation, for each class or finding; empty for a single model.
    """

    name: str
    probabilities: tuple[float, ...]
    predicted: int | None
    label: int | None = None
    error: str | None = None
    positive: tuple[int, ...] | None = None
    findings: tuple[float | None, ...] = ()
    distance: float | None = None
    seen: bool | None = None
    uncertainty: tuple[float, ...] = ()

    @property
    def unlike(self) -> bool | None:
        """Whether the image is unlike the training data, so that the prediction means little; None when unknown."""
        return None if self.distance is None else self.distance > 1

    def decided(self, classes: Sequence[str]) -> str | None:
        """The name of the class that it was called, or the findings, separated by bars; None for an unread image."""
        if self.positive is not None:
            return "|".join(classes[number] for number in self.positive) or NO_FINDING
        return None if self.predicted is None else classes[self.predicted]

    def truth(self, classes: Sequence[str]) -> str | None:
        """The name of the true class, or the findings that are present; None when unknown."""
        if self.positive is not None or self.findings:
            known = any(value is not None for value in self.findings)
            present = (name for name, value in zip(classes, self.findings, strict=False) if value == 1)
            return "|".join(present) or NO_FINDING if known else None
        return None if self.label is None else classes[self.label]
