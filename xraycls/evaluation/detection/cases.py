"""What is judged: the boxes that were drawn and those that were found, image by image and pooled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xraycls.errors import XrayclsError, unknown
from xraycls.evaluation.cases import BoolArray, FloatArray, IntArray
from xraycls.types import Box, Detections

DIVERGED = "the training has diverged: take the model of an earlier epoch, or train with a lower learning rate"
"""The way out for weights that give no numbers."""

_NOTHING = np.zeros((0, 4))


@dataclass(frozen=True, slots=True, eq=False)
class ImageBoxes:
    """The ground truth of one image; of a negative image, empty.

    Attributes:
        boxes: float64 [n, 4], left, top, right, bottom in pixels, the last two exclusive.
        classes: int64 [n], 0 to C - 1; there is no background.
        difficult: bool [n], boxes that neither have to be found nor count when they are.
    """

    boxes: FloatArray
    classes: IntArray
    difficult: BoolArray

    @classmethod
    def of(
        cls, boxes: npt.ArrayLike = (), classes: npt.ArrayLike = (), difficult: npt.ArrayLike | None = None
    ) -> ImageBoxes:
        """From anything that reads as arrays of these shapes; without ``difficult``, none is."""
        labels = np.asarray(classes, dtype=np.int64)
        hard = np.zeros(len(labels), dtype=np.bool_) if difficult is None else np.asarray(difficult, dtype=np.bool_)
        return cls(_corners(boxes, len(labels)), labels, hard)

    @classmethod
    def from_boxes(cls, boxes: Iterable[Box], classes: Sequence[str]) -> ImageBoxes:
        """From the boxes of a sample.

        Raises:
            UsageError: a box of a class that isn't among ``classes``.
        """
        listed = list(boxes)
        return cls.of(*_columns(listed, classes), [box.difficult for box in listed])


@dataclass(frozen=True, slots=True, eq=False)
class RankedDetections:
    """The detections of all images by falling score.

    Attributes:
        boxes: float64 [m, 4], left, top, right, bottom in the pixels of the ground truth.
        classes: int64 [m], 0 to C - 1.
        scores: float64 [m], 0–1.
    """

    boxes: FloatArray
    classes: IntArray
    scores: FloatArray


def detections_from_boxes(boxes: Iterable[Box], classes: Sequence[str]) -> Detections:
    """Returns detections from boxes with scores.

    Raises:
        UsageError: a box of a class that isn't among ``classes``.
    """
    listed = list(boxes)
    return Detections.of(*_columns(listed, classes), [np.nan if box.score is None else box.score for box in listed])


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """All images in flat arrays; detections by falling score, so that an index is a rank.

    Attributes:
        truth: every box that was drawn, image after image.
        truth_image: int64 [n], the image of each.
        detections: every box that was found, by falling score.
        detection_image: int64 [m], the image of each.
        n_images: I, negative images included.
    """

    truth: ImageBoxes
    truth_image: IntArray
    detections: RankedDetections
    detection_image: IntArray
    n_images: int


def pool(
    truths: Sequence[ImageBoxes],
    detections: Sequence[Detections],
    *,
    confidence_threshold: float = 0.0,
    last_first: bool = False,
) -> Cases:
    """All images together.

    Args:
        truths: I, one an image.
        detections: I, of the same images.
        confidence_threshold: detections that score less are left out. They come after all others in every figure, and
            so change nothing for these.
        last_first: which of equally scored detections of one image goes first: the last given instead of the first.
            Between images the order is always that of the images.

    Raises:
        XrayclsError: a score or a corner isn't a number.
    """
    if len(truths) != len(detections):
        raise ValueError(f"{len(truths)} images of ground truth and {len(detections)} of detections")
    truth = ImageBoxes(
        np.concatenate([_NOTHING, *(one.boxes for one in truths)]),
        np.concatenate([np.array([], np.int64), *(one.classes for one in truths)]),
        np.concatenate([np.array([], np.bool_), *(one.difficult for one in truths)]),
    )
    boxes = np.concatenate([_NOTHING, *(one.boxes.astype(np.float64) for one in detections)])
    classes = np.concatenate([np.array([], np.int64), *(one.labels for one in detections)])
    scores = np.concatenate([np.array([]), *(one.scores.astype(np.float64) for one in detections)])
    image = _images(len(one.scores) for one in detections)
    _check_finite(np.column_stack([boxes, scores]), image)
    given = np.arange(len(scores))
    order = np.lexsort((-given if last_first else given, image, -scores))
    order = order[scores[order] >= single(confidence_threshold)]
    return Cases(
        truth,
        _images(len(one.classes) for one in truths),
        RankedDetections(boxes[order], classes[order], scores[order]),
        image[order],
        len(truths),
    )


def single(threshold: float) -> float:
    """Returns a threshold in the precision that scores have, so that a score just as high counts."""
    return float(np.float32(threshold))


def rounded(boxes: FloatArray, width: float, height: float) -> FloatArray:
    """Corners on whole pixels, halves to even, within the image: what TAO's SSD evaluates of what was found.

    Args:
        boxes: float64 [n, 4] in pixels of the network's input.
        width: of the input, in pixels.
        height: likewise.

    Returns:
        float64 [n, 4], 0 to width or height.
    """
    return np.clip(np.rint(boxes), 0, [width, height, width, height])


def rounded_truth(truth: ImageBoxes, width: float, height: float) -> ImageBoxes:
    """The ground truth that TAO's SSD evaluates: corners as :func:`rounded`, but no further than the last pixel.

    A box that has no area then is left out: nobody has to find it.
    """
    boxes = rounded(truth.boxes, width - 1, height - 1)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return ImageBoxes(boxes[kept], truth.classes[kept], truth.difficult[kept])


def _corners(boxes: npt.ArrayLike, n: int) -> FloatArray:
    return np.asarray(boxes, dtype=np.float64).reshape(n, 4)


def _columns(boxes: Sequence[Box], classes: Sequence[str]) -> tuple[list[tuple[float, ...]], list[int]]:
    index = {name: c for c, name in enumerate(classes)}
    for box in boxes:
        if box.label not in index:
            raise unknown("class", box.label, classes)
    return [(box.left, box.top, box.right, box.bottom) for box in boxes], [index[box.label] for box in boxes]


def _images(counts: Iterable[int]) -> IntArray:
    """The image of each box, from how many each image has."""
    listed = np.fromiter(counts, dtype=np.int64)
    return np.repeat(np.arange(len(listed)), listed)


def _check_finite(numbers: FloatArray, image: IntArray) -> None:
    broken = np.unique(image[~np.isfinite(numbers).all(axis=1)])
    if len(broken):
        raise XrayclsError(
            f"The model gives boxes or scores that aren't numbers in {len(broken)} images",
            f"Use precision fp32 where it was half; otherwise {DIVERGED}",
        )
