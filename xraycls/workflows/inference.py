"""Run a trained classifier over a table of samples."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from xraycls.data.table import SampleTable
from xraycls.errors import RunError
from xraycls.evaluation.cases import FloatArray, predicted_classes
from xraycls.loaders.choose import build_loader, choose_engine, notice
from xraycls.training.memory import explained_out_of_memory
from xraycls.training.precision import autocast, choose_precision
from xraycls.types import Prediction
from xraycls.workflows.locate import TrainedModel

logger = logging.getLogger(__name__)


def probabilities_of(
    model: TrainedModel,
    table: SampleTable,
    *,
    batch_size: int = 64,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FloatArray, dict[str, str]]:
    """Class probabilities, float64 [n, C], a row of NaN where the file could not be read, and why each could not.

    Raises:
        DataError: with ``strict``, for the first file that can't be read.
        TrainingError: out of memory.
    """
    classifier = model.classifier
    device = next(classifier.parameters()).device
    form = choose_precision(precision, device)
    engine = choose_engine(loader, table, device)
    if said := notice(engine, device):
        logger.info(said)
    if model.engine not in (None, engine):
        logger.info(
            "The model was trained with pictures of the %s engine and now sees those of %s, which agree to about a grey"
            " level; xraycls bench parity measures it on your data.",
            model.engine,
            engine,
        )
    found = np.full((len(table), len(classifier.classes)), np.nan)
    classifier.eval()
    done = 0
    with explained_out_of_memory(f"Try --batch-size {max(batch_size // 2, 1)}", batch_size):
        batches = build_loader(
            table,
            model.recipe,
            batch_size=batch_size,
            training=False,
            device=device,
            engine=engine,
            threads=threads,
            strict=strict,
        )
        for batch in batches:
            on_device = batch.to(device)
            with torch.inference_mode(), autocast(device, form):
                logits = classifier(on_device.images)
            readable = batch.weights.numpy() > 0
            rows = batch.indices.numpy()[readable]
            found[rows] = logits.cpu().double().softmax(1).numpy()[readable]
            done += len(batch.indices)
            if progress:
                progress(done, len(table))
    return found, batches.failures


def as_predictions(
    model: TrainedModel, table: SampleTable, probabilities: FloatArray, failures: dict[str, str]
) -> list[Prediction]:
    """One :class:`Prediction` a sample; of two classes the operating threshold decides, where there is one."""
    called = predicted_classes(probabilities, 0.5 if model.threshold is None else model.threshold)
    found = []
    for sample, row, predicted in zip(table, probabilities, called, strict=True):
        error = failures.get(sample.name)
        if error is None and np.isnan(row).any():
            error = f"{sample.name}: the model gives no number; try --precision fp32"
        if error is None:
            found.append(Prediction(sample.name, tuple(map(float, row)), int(predicted), sample.label))
        else:
            found.append(Prediction(sample.name, (), None, sample.label, error))
    return found


def with_classes(table: SampleTable, classes: tuple[str, ...]) -> SampleTable:
    """The table with its labels as indices into a model's classes, matched by name whatever the case.

    Raises:
        RunError: the table has a class that the model doesn't know.
    """
    known = {name.lower(): index for index, name in enumerate(classes)}
    strangers = [name for name in table.classes if name.lower() not in known]
    if strangers:
        raise RunError(
            f"{table.root} holds the classes {', '.join(table.classes)}, but the model knows {', '.join(classes)}",
            "Rename the class folders or labels, or test a model that was trained on these classes",
        )
    renumbered = (s if s.label is None else replace(s, label=known[table.classes[s.label].lower()]) for s in table)
    return replace(table, samples=tuple(renumbered), classes=classes)
