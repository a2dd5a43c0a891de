"""Predict the class of image files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraycls.data.files import atomic_write
from xraycls.errors import UsageError
from xraycls.evaluation.predictions import uncertainty_names, uncertainty_of
from xraycls.evaluation.predictions import write_predictions as write_csv
from xraycls.inference.choose import open_classifiers, predictor_of_classifier
from xraycls.inference.ensemble import Ensemble
from xraycls.inference.exported_predictor import ExportedModel
from xraycls.inference.inputs import samples_of
from xraycls.inference.tta import moves_of
from xraycls.types import Prediction, Sample
from xraycls.workflows.prevalence import with_prevalence

if TYPE_CHECKING:
    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.inputs import Picture
    from xraycls.models.ood import OODCheck

logger = logging.getLogger(__name__)

_BEGINNINGS: Mapping[str, bytes] = {
    "predictions.csv": b"name,label,predicted,",
    "predictions.json": b'[\n  {\n    "name":',
}
"""What the files that predict writes begin with."""

_TEST = "test.json"
"""The file of a test, beside its own predictions.csv."""


def predict(
    model: str | Path | Sequence[str | Path],
    paths: Picture | Iterable[Picture],
    *,
    device: str = "auto",
    batch_size: int = 64,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    runtime: str = "auto",
    tta: str | None = None,
    ood_check: bool = True,
    prevalence: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Prediction], tuple[str, ...]]:
    """Returns predictions for pictures, in order, and the names of the classes.

    A picture that can't be read becomes a prediction with an ``error``; the others are done all the same. Where the
    weights hold a check for it, a prediction tells how far its picture is from the training data.

    Args:
        model: a run folder, a model's name, an exported folder or a weights file; of several, the mean of their
            probabilities is taken.
        paths: a path of a file or folder, the bytes of a file, a NumPy array [H, W] or [H, W, 3], a pydicom dataset, or
            a sequence of these.
        device: as in training.
        batch_size: pictures at a time.
        precision: as in training.
        loader: likewise.
        threads: likewise.
        runtime: "auto", "torch", "onnxruntime", "openvino" or "tensorrt"; exported folders need no torch.
        tta: views whose probabilities are averaged, such as "flip" or "flip,rotate,shift,scale"; None for one view.
        ood_check: mark pictures that are unlike the training data (:attr:`~xraycls.types.Prediction.unlike`).
        prevalence: correct probabilities for another prevalence than that of the training, such as "0.05" or
            "Edema=0.05,Mass=0.01" (Saerens et al. 2002); the same images are called.
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
    models = [model] if isinstance(model, str | Path) else model
    samples = samples_of(paths)
    opened = open_classifiers(models, runtime=runtime, device=device, precision=precision, pictures=len(samples))
    trained = with_prevalence(opened, prevalence)
    predictions = predict_with(
        trained,
        samples,
        batch_size=batch_size,
        precision=precision,
        loader=loader,
        threads=threads,
        tta=tta,
        ood_check=ood_check,
        progress=progress,
    )
    return predictions, trained.classes


def predict_with(
    trained: TrainedModel | ExportedModel | Ensemble,
    paths: Picture | Iterable[Picture],
    *,
    batch_size: int = 64,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    tta: str | None = None,
    ood_check: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Returns predictions of a model that is loaded; arguments are those of :func:`predict`."""
    samples = samples_of(paths)
    options: Any = {"batch_size": batch_size, "precision": precision, "loader": loader, "threads": threads}
    predictions = []
    for prediction in _predictions(trained, samples, tta, ood_check, options):
        predictions.append(prediction)
        if progress:
            progress(len(predictions), len(samples))
    return predictions


def _predictions(
    trained: TrainedModel | ExportedModel | Ensemble,
    samples: Sequence[Sample],
    tta: str | None,
    ood_check: bool,
    options: Any,
) -> Iterator[Prediction]:
    check = check_of(trained) if ood_check else None
    if ood_check and check is None:
        logger.info("Pictures unlike the training data are not marked: %s.", _no_check(trained))
    plain = trained.predictions(predictor_of_classifier(trained, tta=tta, **options)(samples))
    if check is None:
        return plain
    from xraycls.inference.ood import FeaturedModel, checked_predictions
    from xraycls.inference.predictor import Predictor

    classifier: Any = trained  # neither exported models nor several have a check
    model = FeaturedModel(classifier, check.layers)
    checked = checked_predictions(classifier, check, Predictor(model=model, **options)(samples))
    if len(moves_of(tta)) == 1:
        return checked
    return (replace(mean, distance=one.distance) for mean, one in zip(plain, checked, strict=True))


def check_of(trained: TrainedModel | ExportedModel | Ensemble) -> OODCheck | None:
    """Returns what tells pictures that are unlike the training data of a model; None where it has no such check."""
    return None if isinstance(trained, ExportedModel | Ensemble) else trained.ood_check


def _no_check(trained: TrainedModel | ExportedModel | Ensemble) -> str:
    if isinstance(trained, Ensemble):
        return "several models together have no check for it, each run alone does"
    if isinstance(trained, ExportedModel):
        return "exported models have no check for it, the runs that they were made from do"
    return (
        f"{trained.weights} holds no check for it, which a training with 20 validation images or more adds at its end"
    )


def adjustments_said(trained: TrainedModel | ExportedModel | Ensemble) -> str:
    """What was done to the probabilities of a model after its training, for tables; "" for nothing."""
    return "; ".join(dict.fromkeys(each.said for each in trained.adjustments))


def prediction_rows(
    predictions: Sequence[Prediction], classes: Sequence[str], adjusted: str = ""
) -> list[dict[str, Any]]:
    """One mapping a prediction, for JSON; ``adjusted`` says what was done to the probabilities."""
    uncertainties = uncertainty_names(predictions, classes)
    return [
        {
            "name": p.name,
            "predicted": p.decided(classes),
            **{f"p_{name}": p.probabilities[i] if p.probabilities else None for i, name in enumerate(classes)},
            **(dict(zip(uncertainties, uncertainty_of(p), strict=True)) if p.uncertainty else {}),
            "unlike_training_data": p.unlike,
            "distance": p.distance,
            **({"adjusted": adjusted} if adjusted else {}),
            "error": p.error,
        }
        for p in predictions
    ]


def require_replaceable(folder: Path) -> bool:
    """Find out whether a folder holds predictions of before, which new ones replace.

    Raises:
        UsageError: files of the same names are something else, such as those of a test, and would be lost.
    """
    there = [folder / name for name in _BEGINNINGS if (folder / name).exists()]
    for path in there:
        with path.open("rb") as file:
            ours = file.read(64).lstrip(b"\xef\xbb\xbf").startswith(_BEGINNINGS[path.name])
        if (folder / _TEST).exists() or not ours:
            what = "belongs to a test" if ours else "was not written by predict"
            raise UsageError(f"{path} {what} and would be lost", "Choose another folder with -o")
    return bool(there)


def write_predictions(
    predictions: Sequence[Prediction], classes: Sequence[str], folder: Path, adjusted: str = ""
) -> list[Path]:
    """Write ``predictions.csv`` and ``predictions.json`` into a folder; arguments as of :func:`prediction_rows`."""
    table = write_csv(predictions, classes, folder / "predictions.csv", adjusted)
    listing = folder / "predictions.json"
    with atomic_write(listing) as temporary:
        temporary.write_text(
            json.dumps(prediction_rows(predictions, classes, adjusted), indent=2) + "\n", encoding="utf-8"
        )
    return [table, listing]
