"""Find objects in pictures, from Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xraycls.errors import UsageError
from xraycls.inference.choose import open_detector, predictor_of_detector
from xraycls.inference.results import Result
from xraycls.types import Detections

if TYPE_CHECKING:
    from xraycls.inference.inputs import Picture

_REPORTED = 0.3
"""Score from which detections are reported of networks that keep none."""


def detect(
    model: str | Path,
    images: Picture | Iterable[Picture],
    *,
    threshold: float | None = None,
    key: str = "",
    device: str = "auto",
    batch_size: int = 8,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    runtime: str = "auto",
) -> tuple[list[Result[Detections]], tuple[str, ...]]:
    """Returns what a detector finds in pictures, in order, and the names of its classes.

    Boxes are in pixels of the picture itself. A picture that can't be read becomes a result with an ``error`` and
    without an ``output``; the others are done all the same.

    Args:
        model: a detector's run folder or file.
        images: a path of a file or folder, the bytes of a file, a NumPy array [H, W] or [H, W, 3], a pydicom dataset,
            or a sequence of these.
        threshold: what an object must score, 0–1; None for what was chosen on validation, else 0.3.
        key: that the model was saved with.
        device: as in training.
        batch_size: pictures at a time.
        precision: as in training.
        loader: likewise.
        threads: likewise.
        runtime: "auto", "torch", "onnxruntime", "openvino" or "tensorrt"; exported folders need no torch.

    Raises:
        RunError: no such model.
        DataError: no picture at all.
        UsageError: something that is no picture, or a threshold out of range.

    Example:
        >>> import xraycls
        >>> results, classes = xraycls.detect("runs/detector/checkpoints/best.safetensors", "film.jpeg", threshold=0.99)
        >>> classes, results[0].sample.name, results[0].output.boxes.shape[1]
        (('opacity',), 'film.jpeg', 4)
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"--threshold must lie between 0 and 1, not be {threshold:g}")
    trained = open_detector(model, key=key, runtime=runtime, device=device, precision=precision)
    reported = trained.reported if threshold is None else threshold
    least = _REPORTED if reported is None else reported
    predictor = predictor_of_detector(
        trained, batch_size=batch_size, precision=precision, loader=loader, threads=threads
    )
    detections = [
        result if result.output is None else replace(result, output=result.output.above(least))
        for result in predictor(images)
    ]
    return detections, trained.classes
