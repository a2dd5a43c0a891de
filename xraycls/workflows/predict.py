"""Predict the class of image files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraycls.data.files import atomic_write
from xraycls.evaluation.write import write_predictions as write_csv
from xraycls.inference.choose import open_classifier, predictor_of_classifier
from xraycls.inference.inputs import samples_of
from xraycls.types import Prediction

if TYPE_CHECKING:
    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.exported_predictor import ExportedModel
    from xraycls.inference.inputs import Picture


def predict(
    model: str | Path,
    paths: Picture | Iterable[Picture],
    *,
    device: str = "auto",
    batch_size: int = 64,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    runtime: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Prediction], tuple[str, ...]]:
    """Returns predictions for pictures, in order, and the names of the classes.

    A picture that can't be read becomes a prediction with an ``error``; the others are done all the same.

    Args:
        model: a run folder, a model's name, an exported folder or a weights file.
        paths: a path of a file or folder, the bytes of a file, a NumPy array [H, W] or [H, W, 3], a pydicom dataset, or
            a sequence of these.
        device: as in training.
        batch_size: pictures at a time.
        precision: as in training.
        loader: likewise.
        threads: likewise.
        runtime: "auto", "torch", "onnxruntime" or "openvino"; exported folders need no torch.
        progress: told how many pictures are done, of how many.

    Raises:
        RunError: no such model.
        DataError: the paths hold no images at all.
        UsageError: something that is no picture.

    Example:
        >>> import xraycls
        >>> predictions, classes = xraycls.predict("runs/first", "film.jpeg")
        >>> classes
        ('NORMAL', 'PNEUMONIA')
        >>> predictions[0].name, len(predictions[0].probabilities)
        ('film.jpeg', 2)
    """
    trained = open_classifier(model, runtime=runtime, device=device, precision=precision)
    predictions = predict_with(
        trained,
        paths,
        batch_size=batch_size,
        precision=precision,
        loader=loader,
        threads=threads,
        progress=progress,
    )
    return predictions, trained.classes


def predict_with(
    trained: TrainedModel | ExportedModel,
    paths: Picture | Iterable[Picture],
    *,
    batch_size: int = 64,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Returns predictions of a model that is loaded; arguments are those of :func:`predict`."""
    predictor = predictor_of_classifier(
        trained, batch_size=batch_size, precision=precision, loader=loader, threads=threads
    )
    samples = samples_of(paths)
    predictions = []
    for prediction in trained.predictions(predictor(samples)):
        predictions.append(prediction)
        if progress:
            progress(len(predictions), len(samples))
    return predictions


def prediction_rows(predictions: Sequence[Prediction], classes: Sequence[str]) -> list[dict[str, Any]]:
    """One mapping a prediction, for JSON."""
    return [
        {
            "name": p.name,
            "predicted": p.decided(classes),
            **{f"p_{name}": p.probabilities[i] if p.probabilities else None for i, name in enumerate(classes)},
            "error": p.error,
        }
        for p in predictions
    ]


def write_predictions(predictions: Sequence[Prediction], classes: Sequence[str], folder: Path) -> list[Path]:
    """Write ``predictions.csv`` and ``predictions.json`` into a folder."""
    table = write_csv(predictions, classes, folder / "predictions.csv")
    listing = folder / "predictions.json"
    with atomic_write(listing) as temporary:
        temporary.write_text(json.dumps(prediction_rows(predictions, classes), indent=2) + "\n", encoding="utf-8")
    return [table, listing]
