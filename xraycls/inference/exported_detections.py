"""Detections of the outputs of exported files, whatever their form; imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from xraycls.errors import RunError
from xraycls.evaluation.detection.overlap import box_iou
from xraycls.inference.exported import ExportedFile
from xraycls.inference.runtimes import Arrays
from xraycls.models.detection.map_boxes import boxes_of_maps
from xraycls.types import Detections

Floats = npt.NDArray[np.float32]


def detections_of(outputs: Arrays, file: ExportedFile) -> list[Detections]:
    """Returns the detections of each picture of a batch, in pixels of the input.

    Args:
        outputs: by name, the batch first.
        file: the description of what gave them.

    Raises:
        RunError: they are not of a form of detections.
    """
    if file.form not in _READERS:
        raise RunError(f"{file.file} has the form {file.form}, which holds no detections")
    return _READERS[file.form](outputs, file)


def suppressed(scores: Floats, boxes: Floats, *, confidence: float, iou: float, top_k: int) -> Detections:
    """Returns what non-maximum suppression leaves of a picture, by the rules of the detector's own.

    Args:
        scores: float32 [A, C].
        boxes: float32 [A, 4], or [A, C, 4], one for each class.
        confidence: boxes must score more, 0–1.
        iou: above which the lower-scored of two boxes of a class goes, 0–1.
        top_k: most detections.
    """
    kept_boxes, kept_labels, kept_scores = [], [], []
    for label in range(scores.shape[1]):
        marks, own = scores[:, label], boxes[:, label] if boxes.ndim == 3 else boxes
        order = np.flatnonzero(marks > np.float32(confidence))
        order = order[np.argsort(-marks[order], kind="stable")]
        chosen: list[int] = []
        while len(order) and len(chosen) < top_k:
            first, order = order[0], order[1:]
            chosen.append(int(first))
            overlap = box_iou(own[order].astype(np.float64), own[first][None].astype(np.float64))[:, 0]
            order = order[overlap <= np.float32(iou)]
        kept_boxes.append(own[chosen])
        kept_labels.append(np.full(len(chosen), label))
        kept_scores.append(marks[chosen])
    found = Detections.of(np.concatenate(kept_boxes), np.concatenate(kept_labels), np.concatenate(kept_scores))
    return Detections(found.boxes[:top_k], found.labels[:top_k], found.scores[:top_k])


def _suppressing(file: ExportedFile) -> Callable[[Floats, Floats], Detections]:
    assert file.confidence is not None
    assert file.iou is not None
    assert file.top_k is not None
    return partial(suppressed, confidence=file.confidence, iou=file.iou, top_k=file.top_k)


def _of_heads(outputs: Arrays, file: ExportedFile) -> list[Detections]:
    found = list(map(_suppressing(file), outputs["scores"], outputs["boxes"]))
    limits = np.array([file.width, file.height] * 2, np.float32)
    if not file.cuts_boxes:
        return found
    return [Detections(each.boxes.clip(0, limits), each.labels, each.scores) for each in found]


def _rows(numbers: npt.NDArray[np.int32], boxes: Floats, scores: Floats, labels: Floats) -> list[Detections]:
    return [
        Detections(boxes[row, :n], labels[row, :n].astype(np.int64), scores[row, :n])
        for row, n in enumerate(numbers.reshape(-1).tolist())
    ]


def _of_nms(outputs: Arrays, file: ExportedFile) -> list[Detections]:
    names = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
    return _rows(*(outputs[name] for name in names))


def _of_trt(outputs: Arrays, file: ExportedFile) -> list[Detections]:
    return _rows(*(outputs[name] for name in ("num_dets", "det_boxes", "det_scores", "det_classes")))


def _of_tao(outputs: Arrays, file: ExportedFile) -> list[Detections]:
    name = next(iter(file.outputs))
    size = np.array([file.width, file.height] * 2, np.float32)
    if len(file.outputs) == 4:
        return _rows(outputs[name], outputs[f"{name}_1"] * size, outputs[f"{name}_2"], outputs[f"{name}_3"])
    rows = outputs[name][:, 0]
    first = 1 if file.background == "first" else 0
    return _rows(outputs[f"{name}_1"], rows[..., 3:] * size, rows[..., 2], rows[..., 1] - first)


def _of_maps(outputs: Arrays, file: ExportedFile) -> list[Detections]:
    if file.boxes is None:
        raise RunError(f"{file.file} was exported before its maps could be read", "Export the model again")
    mask, pictures, *rest = (outputs[name] for name in file.outputs)
    heat, sides = rest or (None, None)
    size = (file.width, file.height)
    return boxes_of_maps(mask, pictures, heat, sides, rule=file.boxes, size=size, suppress=_suppressing(file))


_READERS: Mapping[str, Callable[[Arrays, ExportedFile], list[Detections]]] = {
    "nms": _of_nms,
    "heads": _of_heads,
    "trt": _of_trt,
    "tao": _of_tao,
    "maps": _of_maps,
}
