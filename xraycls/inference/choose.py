"""A model by any name, and what runs it over pictures; torch is imported for models in torch alone."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xraycls.errors import UsageError, unknown
from xraycls.inference.adjust import with_calibration
from xraycls.inference.ensemble import AveragedPredictor, Ensemble, ProbabilityPredictor, called_from, ensemble_of
from xraycls.inference.ensemble_file import is_ensemble, read_ensemble
from xraycls.inference.exported import is_exported
from xraycls.inference.exported_predictor import (
    ExportedModel,
    ExportedPredictor,
    load_exported,
    read_detections,
)
from xraycls.inference.runtimes import RUNTIME_NAMES
from xraycls.inference.tta import Move, moved_recipe, moves_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xraycls.evaluation.cases import FloatArray
    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.detection import TrainedDetector
    from xraycls.inference.predictor import Predictor
    from xraycls.types import Detections

logger = logging.getLogger(__name__)


def open_classifier(
    model: str | Path,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    pictures: int | None = None,
    calibrated: bool = True,
) -> TrainedModel | ExportedModel:
    """Returns a classifier, with the calibration beside its weights where there is one.

    Args:
        model: an exported folder or file; or as :func:`xraycls.inference.load.load_classifier_model` takes it.
        runtime: "auto", "torch", "onnxruntime", "openvino" or "tensorrt".
        device: as in training.
        precision: that an exported model computes in.
        pictures: how many an exported model is to compute; None for many.
        calibrated: whether that calibration is used.

    Raises:
        RunError: there is no such model, it is a detector, or its calibration is damaged.
        UsageError: the runtime can't compute it, or not so.
        MissingExtra: the runtime isn't installed.
    """
    if is_exported(model):
        exported = load_exported(
            model, "classifier", runtime=runtime, precision=precision, device=device, pictures=pictures
        )
        return with_calibration(exported) if calibrated else exported
    check_runtime(model, runtime)
    from xraycls.inference.load import load_classifier_model
    from xraycls.training.precision import choose_device

    trained = load_classifier_model(model, choose_device(device))
    return with_calibration(trained) if calibrated else trained


def open_classifiers(
    models: Sequence[str | Path],
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    pictures: int | None = None,
) -> TrainedModel | ExportedModel | Ensemble:
    """Returns one classifier, or several as one; arguments and errors as of :func:`open_classifier`.

    A folder of ``xraycls ensemble`` or ``xraycls train --folds`` alone stands for its members, with its weights.

    Raises:
        UsageError: several that tell other classes apart, or such a folder beside others.
    """
    one = partial(open_classifier, runtime=runtime, device=device, precision=precision, pictures=pictures)
    if len(models) == 1 and is_ensemble(models[0]):
        file = read_ensemble(Path(models[0]))
        together = ensemble_of(map(one, file.members), file.shares)
        if together.adjustments:
            logger.warning("Members of %s are calibrated, so the mean of their thresholds is taken.", models[0])
            return together
        return called_from(together, file.threshold, file.thresholds or {})
    for each in models:
        if is_ensemble(each):
            raise UsageError(f"{each} is several models as one already", "Name it alone, or its members beside others")
    opened = [one(each) for each in models]
    return opened[0] if len(opened) == 1 else ensemble_of(opened)


def leading_models(names: Sequence[Path]) -> list[Path]:
    """The first of some paths that are models and no pictures: run folders, exported ones and files of weights."""
    found = []
    for path in names:
        is_run = (path / "checkpoints").is_dir() or path.suffix == ".safetensors"
        if not (is_run or is_exported(path) or is_ensemble(path)):
            break
        found.append(path)
    return found


def open_detector(
    model: str | Path, *, key: str = "", runtime: str = "auto", device: str = "auto", precision: str = "auto"
) -> TrainedDetector | ExportedModel:
    """Returns a detector; as :func:`open_classifier`, and ``key`` opens an encrypted one."""
    if is_exported(model):
        return load_exported(model, "detector", runtime=runtime, precision=precision, device=device)
    check_runtime(model, runtime)
    from xraycls.inference.load import load_detector_model
    from xraycls.training.precision import choose_device

    return load_detector_model(model, choose_device(device), key=key)


def predictor_of_classifier(
    model: TrainedModel | ExportedModel | Ensemble,
    *,
    batch_size: int = 64,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    strict: bool = False,
    tta: str | None = None,
) -> ProbabilityPredictor:
    """Returns what gives the probabilities of pictures.

    Args:
        model: one classifier or several.
        batch_size: as of the predictors, and so are the others.
        precision: likewise.
        loader: likewise.
        threads: likewise.
        strict: likewise.
        tta: names of :data:`xraycls.inference.tta.MOVES`, whose views are averaged; None for one view.

    Raises:
        UsageError: no such name, or a loader that a model doesn't have.
    """
    moves = moves_of(tta)
    one = partial(
        _predictor_of_view, batch_size=batch_size, precision=precision, loader=loader, threads=threads, strict=strict
    )

    def member(each: TrainedModel | ExportedModel) -> ProbabilityPredictor:
        views = tuple(one(each, move) for move in moves)
        return views[0] if len(views) == 1 else AveragedPredictor(views, (1 / len(views),) * len(views))

    if not isinstance(model, Ensemble):
        return member(model)
    return AveragedPredictor(tuple(map(member, model.members)), model.shares, model.orders)


def _predictor_of_view(
    model: TrainedModel | ExportedModel,
    move: Move,
    *,
    batch_size: int,
    precision: str,
    loader: str,
    threads: int | None,
    strict: bool,
) -> Predictor[FloatArray] | ExportedPredictor[FloatArray]:
    if isinstance(model, ExportedModel):
        check_loader(loader)
        recipe = None if move == Move() else moved_recipe(model.file.recipe, move)
        return ExportedPredictor(
            model=model,
            read=model.probabilities,
            batch_size=batch_size,
            threads=threads,
            strict=strict,
            recipe=recipe,
        )
    from xraycls.inference.predictor import Predictor

    seen = model if move == Move() else replace(model, recipe=moved_recipe(model.recipe, move))
    return Predictor(
        model=seen, batch_size=batch_size, precision=precision, loader=loader, threads=threads, strict=strict
    )


def predictor_of_detector(
    model: TrainedDetector | ExportedModel,
    *,
    batch_size: int = 8,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
) -> Predictor[Detections] | ExportedPredictor[Detections]:
    """Returns what finds the objects of pictures, in pixels of their files."""
    if isinstance(model, ExportedModel):
        check_loader(loader)
        read = read_detections(model.file)
        return ExportedPredictor(model=model, read=read, batch_size=batch_size, threads=threads)
    from xraycls.inference.predictor import Predictor

    return Predictor(model=model, batch_size=batch_size, precision=precision, loader=loader, threads=threads)


def check_loader(loader: str) -> None:
    """Raise UsageError for a loading engine that an exported model doesn't have."""
    if loader != "auto":
        raise UsageError(f"An exported model reads pictures by itself, not by --loader {loader}", "Leave it out")


def check_runtime(model: str | Path, runtime: str) -> None:
    """Raise UsageError for a runtime that there isn't, or that a model in torch doesn't have."""
    if runtime not in RUNTIME_NAMES:
        raise unknown("runtime", runtime, RUNTIME_NAMES, "--runtime")
    if runtime not in ("auto", "torch"):
        raise UsageError(
            f"{model} is no exported folder, so --runtime {runtime} can't compute it",
            f"Export it first with: xraycls export {model} -o exported",
        )
