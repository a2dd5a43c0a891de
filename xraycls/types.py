"""The frozen value types that travel between stages.

Nothing here imports torch at run time, so a table of samples can be listed without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from pydicom import Dataset

    Content = bytes | npt.NDArray[np.generic] | Dataset
    """A picture in memory: the bytes of a file, an array or a DICOM dataset."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

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
    """

    label: str
    left: float
    top: float
    right: float
    bottom: float
    score: float | None = None
    difficult: bool = False


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


@dataclass(frozen=True, slots=True)
class Objects:
    """What is to be found in the pictures of a batch, one row an object.

    Attributes:
        boxes: float32 [n, 4]: left, top, right and bottom in pixels of the picture.
        labels: int64 [n], classes of objects, from 0.
        owners: int64 [n], the row of the batch that each lies in; rising.
        difficult: bool [n], whether figures of merit leave it out.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    owners: torch.Tensor
    difficult: torch.Tensor

    def to(self, device: torch.device) -> Objects:
        """The same on another device; from pinned memory the copy doesn't block."""
        parts = (self.boxes, self.labels, self.owners, self.difficult)
        return Objects(*(part.to(device, non_blocking=True) for part in parts))


@dataclass(frozen=True, slots=True)
class Batch:
    """Images on their way to the model.

    Attributes:
        images: uint8 [B, 1, H, W], grey levels 0–255, not normalised.
        labels: int64 [B]; -1 where unknown.
        indices: int64 [B], rows of the sample table.
        weights: float32 [B]; 0 marks padding and images that could not be read: they add nothing to loss and figures.
        objects: where the task is to find them; else None.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    weights: torch.Tensor
    objects: Objects | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device; from pinned memory the copy doesn't block."""
        return Batch(
            self.images.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.indices.to(device, non_blocking=True),
            self.weights.to(device, non_blocking=True),
            None if self.objects is None else self.objects.to(device),
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a classifier says of one image.

    Attributes:
        name: the image, as :attr:`Sample.name`.
        probabilities: one a class, 0–1, summing to 1; empty when the image could not be read.
        predicted: the class index at the operating threshold; None when the image could not be read.
        label: the true class index; None when unknown.
        error: why the image could not be read; None when it could.
    """

    name: str
    probabilities: tuple[float, ...]
    predicted: int | None
    label: int | None = None
    error: str | None = None
