"""Which detection is a hit, by two rules: TAO's own (SSD and YOLO) and strict VOC (Faster R-CNN)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xraycls.evaluation.cases import BoolArray, FloatArray, IntArray
from xraycls.evaluation.detection.cases import Cases
from xraycls.evaluation.detection.overlap import Pairs

Verdicts = npt.NDArray[np.int8]
"""int8 [m], what each detection is: one of the three below."""

HIT, FALSE, IGNORED = 1, 0, -1


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The judged detections of one class by falling score; those that are ignored are left out.

    Attributes:
        scores: float64 [k].
        hits: bool [k], else a false positive.
        images: int64 [k], where each was found.
        positives: float64 [I], how many boxes there are to find in each image.
    """

    scores: FloatArray
    hits: BoolArray
    images: IntArray
    positives: FloatArray

    @property
    def occurs(self) -> bool:
        """Whether there is anything of the class: a box to find, or a detection that counts."""
        return bool(len(self.hits)) or bool(self.positives.any())


def match(cases: Cases, pairs: Pairs, iou_threshold: float) -> Verdicts:
    """TAO's rule: each detection takes the ground truth that it overlaps most among what no better one has taken.

    It is a hit when that overlap is at least the threshold, ignored when what it takes is difficult, else false. A
    second detection of a box is therefore a hit where it overlaps another box enough, and false where it doesn't,
    even if the box is difficult.
    """
    close = pairs.only(pairs.overlap >= iou_threshold)
    taken = claims(close, len(cases.detections.scores), len(cases.truth.classes))
    return _verdicts(taken >= 0, taken, cases)


def match_strict(cases: Cases, pairs: Pairs, iou_threshold: float) -> Verdicts:
    """The rule of PASCAL VOC: a detection can only hit the ground truth that it overlaps most, whoever took it.

    It is a hit when the overlap is above the threshold (not just as much) and the box still free. Every detection
    that overlaps a difficult box most is ignored. Everingham and others, "The Pascal Visual Object Classes (VOC)
    Challenge", International Journal of Computer Vision 88 (2010).
    """
    n = len(cases.detections.scores)
    first = np.append(True, pairs.detection[1:] != pairs.detection[:-1])[: len(pairs.detection)]
    best = pairs.only(first & (pairs.overlap > iou_threshold))
    nearest = np.full(n, -1)
    nearest[best.detection] = best.truth
    return _verdicts(claims(best, n, len(cases.truth.classes)) >= 0, nearest, cases)


def claims(pairs: Pairs, n_found: int, n_truth: int) -> IntArray:
    """Each detection in turn takes, among the ground truth it is paired with, the nearest that is still free.

    Returns:
        int64 [n_found], the index of what each took, -1 for nothing.
    """
    took, free = [-1] * n_found, [True] * n_truth
    for detection, truth in zip(pairs.detection.tolist(), pairs.truth.tolist(), strict=True):
        if took[detection] < 0 and free[truth]:
            took[detection] = truth
            free[truth] = False
    return np.array(took, dtype=np.int64)


def rankings(cases: Cases, verdicts: Verdicts, n_classes: int) -> tuple[Ranking, ...]:
    """The judged detections class by class, ready for a precision–recall curve."""
    counted = verdicts != IGNORED

    def of(c: int) -> Ranking:
        rows = np.flatnonzero(counted & (cases.detections.classes == c))
        wanted = cases.truth_image[(cases.truth.classes == c) & ~cases.truth.difficult]
        positives = np.bincount(wanted, minlength=cases.n_images).astype(np.float64)
        return Ranking(cases.detections.scores[rows], verdicts[rows] == HIT, cases.detection_image[rows], positives)

    return tuple(of(c) for c in range(n_classes))


def _verdicts(hits: BoolArray, nearest: IntArray, cases: Cases) -> Verdicts:
    """Hits and false positives, and what is nearest to a difficult box ignored; ``nearest`` is -1 for none."""
    difficult = np.append(cases.truth.difficult, False)[nearest]
    return np.where(difficult, IGNORED, np.where(hits, HIT, FALSE)).astype(np.int8)
