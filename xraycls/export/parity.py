"""How near an exported file comes to the model in torch, on pictures."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xraycls.evaluation.detection.overlap import box_iou
from xraycls.inference.exported import ExportedFile
from xraycls.inference.exported_detections import detections_of
from xraycls.inference.runtimes import Arrays, Session
from xraycls.models.classifier import Classifier
from xraycls.models.detection.base import Detector
from xraycls.models.detection.map_detector import MapDetector
from xraycls.models.quantization import remove_quantization
from xraycls.types import Detections

Doubles = npt.NDArray[np.float64]

BATCHES = (1, 2, 5)
"""Pictures of the batches that are compared: any number has to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may differ from torch by.

    Attributes:
        logits: share of the largest logit.
        score: of a probability, 0–1.
        iou: that a detection must have with the one it is compared with.
        matched: share of the detections that must have a counterpart.
    """

    logits: float
    score: float
    iou: float
    matched: float


LIMITS: Mapping[str, Limits] = {
    "fp32": Limits(1e-4, 1e-4, 0.99, 0.99),
    "fp16": Limits(1e-2, 1e-2, 0.95, 0.95),
    "bf16": Limits(5e-2, 5e-2, 0.90, 0.90),
    "int8": Limits(0.2, 5e-2, 0.90, 0.90),
}
"""By number format. That of "int8" is against a network in torch that rounds as the file says: what rounding costs
shows in the figures on validation images. Of "u8s8", whose rounding onnxruntime chooses, these are all there is.

A value between two steps may be rounded either way, and what follows differs. A file that is off its twin by more than
twice of what rounding moves the twin by is further from the network in fp32 than the twin is: where that is less than
the limit of "int8", it takes its place, down to that of "fp16". A trained MobileNetV2 whose logits rounding moved by
0.70 of the largest differed from its file by 0.024 (``python -m benchmarks.int8``)."""


@dataclass(frozen=True, slots=True)
class Parity:
    """A comparison of one batch.

    Attributes:
        batch: pictures.
        what: the quantity that is compared.
        difference: the largest; of "unmatched", the share of detections without a counterpart.
        limit: that it must not exceed; None where it is only told.
        compared: numbers, or detections of torch and of the file.
    """

    batch: int
    what: str
    difference: float
    limit: float | None
    compared: int

    @property
    def passed(self) -> bool:
        """Whether the difference is within the limit."""
        return self.limit is None or self.difference <= self.limit

    def described(self) -> dict[str, Any]:
        """The comparison as values of JSON."""
        return {**asdict(self), "passed": self.passed}


def compare(
    model: Classifier | Detector, session: Session, file: ExportedFile, images: npt.NDArray[np.uint8]
) -> list[Parity]:
    """Returns the comparisons of batches of 1, 2 and 5 pictures.

    Args:
        model: in torch, in evaluation mode on the CPU.
        session: the file.
        file: its description; the form ``trt`` is compared up to the plugin, as ``heads``.
        images: uint8 [n, 1, H, W]; they are repeated where there are fewer than five.
    """
    limits = LIMITS.get(file.precision)
    moved = moved_by_rounding(model, images) if isinstance(model, Classifier) and file.precision == "int8" else math.inf
    found: list[Parity] = []
    for batch in BATCHES:
        pictures = images[np.arange(batch) % len(images)]
        outputs = session.run(file.input_of(pictures))
        with torch.no_grad():
            raw = model(torch.from_numpy(pictures))
        if isinstance(model, Classifier):
            found += _of_logits(batch, raw, model.probabilities(raw), outputs, limits, moved)
        elif isinstance(model, MapDetector):
            found += _of_maps(batch, dict(zip(file.outputs, model.probability_maps(raw), strict=True)), outputs, limits)
        elif file.form in ("heads", "trt"):
            ranked = model.regions(raw) is not None
            found += _of_heads(batch, model.candidates(raw), outputs, limits, ranked=ranked)
        else:
            found += _of_detections(batch, model.detect(raw), detections_of(outputs, file), file, limits)
    return found


def moved_by_rounding(classifier: Classifier, images: npt.NDArray[np.uint8]) -> float:
    """Returns the largest difference between logits of a classifier in 8 bits and the same in floating point."""
    plain = copy.deepcopy(classifier)
    remove_quantization(plain.net)
    batch = torch.from_numpy(images)
    with torch.no_grad():
        return float((classifier(batch) - plain(batch)).abs().max())


def _of_logits(
    batch: int,
    logits: torch.Tensor,
    probabilities: torch.Tensor,
    outputs: Arrays,
    limits: Limits | None,
    moved: float,
) -> list[Parity]:
    if "probabilities" in outputs:
        expected, name, limit = probabilities, "probabilities", limits.score if limits else None
    else:
        expected, name = logits, "logits"
        scale = float(logits.abs().max())
        limit = None if limits is None else min(limits.logits * scale, max(2 * moved, LIMITS["fp16"].logits * scale))
    return [Parity(batch, name, _apart(expected, outputs[name]), limit, expected.numel())]


def _of_maps(batch: int, expected: Mapping[str, torch.Tensor], outputs: Arrays, limits: Limits | None) -> list[Parity]:
    """Probabilities as they are, and boxes by shares of the map's longer side."""
    found = []
    for name, values in expected.items():
        scale = float(max(values.shape[1:3])) if name == "boxes" else 1.0
        limit = limits.score if limits else None
        found.append(Parity(batch, name, _apart(values, outputs[name]) / scale, limit, values.numel()))
    return found


def _of_heads(
    batch: int, expected: Sequence[torch.Tensor], outputs: Arrays, limits: Limits | None, *, ranked: bool
) -> list[Parity]:
    """Scores, and boxes by the overlap with their counterparts: a pixel means little on a large box.

    The regions of a two-stage network are ``ranked`` by first scores. Equal ones but for rounding may change places,
    and of two that overlap either may be suppressed; so each is compared with the nearest of its picture, and one a
    picture may have none.
    """
    scores, boxes = (part.float().numpy().astype(np.float64) for part in expected)
    other_scores, other_boxes = (outputs[name].astype(np.float64) for name in ("scores", "boxes"))
    corners, others = (each.reshape(*scores.shape[:2], -1, 4) for each in (boxes, other_boxes))
    if not ranked:
        return _of_rows(batch, np.abs(scores - other_scores), _shares(corners, others), limits)
    tolerance = limits or LIMITS["bf16"]
    between = np.abs(scores[:, :, None] - other_scores[:, None]).max(axis=3)  # [B, R, R]
    apart = _shares(corners[:, :, None], others[:, None])
    near = (between <= tolerance.score) & (apart <= 1.0 - tolerance.iou)
    has_one = np.concatenate([near.any(axis=2), near.any(axis=1)])
    limit = max(1.0 - tolerance.matched, 1.0 / scores.shape[1])
    share = float((~has_one).mean())  # the check; of those that have one, what follows tells how near
    return [
        Parity(batch, "unmatched", share, limit if limits else None, has_one.size),
        *_of_rows(batch, between[near], apart[near], limits),
    ]


def _of_rows(batch: int, scores: Doubles, boxes: Doubles, limits: Limits | None) -> list[Parity]:
    """The largest differences of scores, and of boxes in shares of their sides."""
    by_score, by_box = (float(each.max(initial=0.0)) for each in (scores, boxes))
    return [
        Parity(batch, "scores", by_score, limits.score if limits else None, scores.size),
        Parity(batch, "boxes", by_box, 1.0 - limits.iou if limits else None, boxes.size),
    ]


def _shares(corners: Doubles, others: Doubles) -> Doubles:
    """How far boxes [..., n, 4] are apart at most, in shares of their sides, of a pixel at least."""
    sides = np.clip(corners[..., 2:] - corners[..., :2], 1.0, None)
    apart: Doubles = (np.abs(others - corners) / np.concatenate([sides, sides], axis=-1)).max(axis=(-2, -1))
    return apart


def _of_detections(
    batch: int, expected: list[Detections], found: list[Detections], file: ExportedFile, limits: Limits | None
) -> list[Parity]:
    tolerance = limits or LIMITS["bf16"]
    lost = compared = 0
    apart = 0.0
    for ours, theirs in zip(expected, found, strict=True):
        floor = max(_floor(each, file) for each in (ours, theirs)) + tolerance.score
        for these, those in ((ours, theirs), (theirs, ours)):
            counterpart, difference = _counterparts(these, those, tolerance.iou)
            counts = these.scores > floor  # what scores hardly enough may be missing on the other side
            compared += int(counts.sum())
            lost += int((counts & ~counterpart).sum())
            apart = max(apart, float(difference[counts & counterpart].max(initial=0.0)))
    share = lost / compared if compared else 0.0
    return [
        Parity(batch, "unmatched", share, 1.0 - limits.matched if limits else None, compared),
        Parity(batch, "scores", apart, limits.score if limits else None, compared),
    ]


def _counterparts(
    these: Detections, those: Detections, least: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Whether each detection has one of its class that overlaps it enough, and how far their scores are apart."""
    if not len(these) or not len(those):
        return np.zeros(len(these), np.bool_), np.zeros(len(these))
    overlap = box_iou(these.boxes.astype(np.float64), those.boxes.astype(np.float64))
    overlap[these.labels[:, None] != those.labels[None]] = 0.0
    distance = np.abs(these.scores.astype(np.float64)[:, None] - those.scores[None])
    distance[overlap < least] = np.inf
    nearest = distance.min(axis=1)
    return np.isfinite(nearest), nearest


def _floor(found: Detections, file: ExportedFile) -> float:
    """The score that a detection must exceed to be in the list."""
    full = file.top_k is not None and len(found) >= file.top_k
    return float(found.scores[-1]) if full else float(file.confidence or 0.0)


def _apart(expected: torch.Tensor, found: npt.NDArray[Any]) -> float:
    return float(np.abs(expected.float().numpy() - found).max())
