"""At the end of a training: what tells pictures that are unlike its data, kept with the weights."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from xraycls.data.table import SampleTable
from xraycls.inference.load import load_classifier_model
from xraycls.inference.ood import Featured, FeaturedModel
from xraycls.inference.predictor import Predictor
from xraycls.models.files import read_metadata, read_model, write_model
from xraycls.models.ood import OOD_KEY, Floats, feature_layers, fit_check
from xraycls.training.config import TrainConfig
from xraycls.training.reporter import Reporter
from xraycls.training.run_folder import RunFolder
from xraycls.training.runtime import Runtime

_MOST = 2000
"""Pictures of a split that are looked at."""

_FEWEST = 20
"""Pictures of a split that it takes to tell what is ordinary."""


def add_ood_check(
    run: RunFolder, config: TrainConfig, table: SampleTable, engine: str, runtime: Runtime, reporter: Reporter
) -> None:
    """Look at training and validation pictures once more, and write the check into the best weights.

    Nothing happens where the weights hold one, as those of a finished training that was started again do, and where
    there are too few pictures to tell what is ordinary.

    Args:
        run: a finished training.
        config: its settings.
        table: its samples.
        engine: that feeds it.
        runtime: the device and the number format.
        reporter: is told how many pictures were looked at, and how long it took.
    """
    splits = [_some(table.split("train")), _some(table.split("val"))]
    if OOD_KEY in (read_metadata(run.best) or {OOD_KEY: ""}) or min(map(len, splits)) < _FEWEST:
        return
    started = time.perf_counter()
    trained = load_classifier_model(run.path, runtime.device)
    model = FeaturedModel(trained, feature_layers(trained.classifier))
    predictor = Predictor(
        model=model, batch_size=config.batch_size, precision=runtime.precision, loader=engine, threads=config.threads
    )
    training, validation = (_features(predictor, each) for each in splits)
    if min(len(training[0]), len(validation[0])) < _FEWEST:  # most of the pictures can't be read
        return
    check = fit_check(model.layers, training, validation)
    file = read_model(run.best, "classifier")
    write_model(replace(file, extra={**file.extra, OOD_KEY: check.to_text()}), run.best)
    reporter.message(
        f"Pictures unlike the training data will be marked by predict: {len(training[0]):,} training and "
        f"{len(validation[0]):,} validation images were looked at once more in {time.perf_counter() - started:.1f} s."
    )


def _some(table: SampleTable) -> SampleTable:
    """The table, or as many of its samples as are looked at, drawn alike every time."""
    if len(table) <= _MOST:
        return table
    drawn = np.random.default_rng(0).choice(len(table), _MOST, replace=False)
    return table.with_samples(table[int(row)] for row in np.sort(drawn))


def _features(predictor: Predictor[Featured], table: SampleTable) -> list[Floats]:
    """The features [n, D] of each layer, of the pictures that can be read."""
    found = [result.output.features for result in predictor.over(table) if result.output is not None]
    return [np.stack(each) for each in zip(*found, strict=True)] or [np.zeros((0, 1))]
