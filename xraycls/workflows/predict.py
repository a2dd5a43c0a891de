"""Predict the class of image files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xraycls.data.files import atomic_write
from xraycls.data.source import list_images
from xraycls.data.table import SampleTable
from xraycls.evaluation.write import write_predictions as write_csv
from xraycls.training.precision import choose_device
from xraycls.types import Prediction
from xraycls.workflows.inference import as_predictions, probabilities_of
from xraycls.workflows.locate import load_model


def predict(
    model: str | Path,
    paths: Sequence[str | Path],
    *,
    device: str = "auto",
    batch_size: int = 64,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Prediction], tuple[str, ...]]:
    """Predictions for files and folders, in order, and the names of the classes.

    A file that can't be read becomes a prediction with an ``error``; the others are done all the same.

    Raises:
        RunError: no such model.
        DataError: the paths hold no images at all.
    """
    trained = load_model(model, choose_device(device))
    samples = list_images([Path(p) for p in paths])
    table = SampleTable(tuple(samples), trained.classifier.classes, Path.cwd(), "files")
    probabilities, failures = probabilities_of(
        trained,
        table,
        batch_size=batch_size,
        precision=precision,
        loader=loader,
        threads=threads,
        progress=progress,
    )
    return as_predictions(trained, table, probabilities, failures), trained.classifier.classes


def prediction_rows(predictions: Sequence[Prediction], classes: Sequence[str]) -> list[dict[str, Any]]:
    """One mapping a prediction, for JSON."""
    return [
        {
            "name": p.name,
            "predicted": None if p.predicted is None else classes[p.predicted],
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
