"""What the quality benchmarks share: seeds, one test each, and a table beside published figures.

Every choice (epoch, threshold) is made on validation; each seed's model is tested once.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import xraycls
from benchmarks.common import show
from xraycls.evaluation.cases import FloatArray, IntArray

Published = Sequence[tuple[str, float, float]]


def run_seeds(name: str, seeds: Sequence[int], output: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train and test once a seed; interrupted trainings go on where they stopped.

    Args:
        name: of the table and of the run folders.
        seeds: of initialisation, order and augmentation.
        output: where the run folders go.
        settings: of every training.

    Returns:
        Each seed's figures, their mean and standard deviation, and those of the mean of all seeds' probabilities.
    """
    started = time.perf_counter()
    figures: dict[str, list[float]] = {key: [] for key in ("auroc", "accuracy", "accuracy_at_threshold")}
    probabilities: list[FloatArray] = []
    rows, labels = [], np.empty(0, np.int64)
    for seed in seeds:
        with xraycls.TrainingProgress() as reporter:
            run = xraycls.train(
                output=output / f"{name}-{seed}", resume="auto", reporter=reporter, seed=seed, **settings
            ).run
        result = xraycls.test(run.path)
        report = result.report
        found = {
            "auroc": report.figures.overall["auroc"].value,
            "accuracy": report.figures.overall["accuracy"].value,
            "accuracy_at_threshold": report.operating.overall["accuracy"].value if report.operating else float("nan"),
        }
        for key, value in found.items():
            figures[key].append(value)
        labels, scores = read_predictions(run.path / "predictions.csv")
        probabilities.append(scores)
        threshold = f"{report.operating.threshold:.3f}" if report.operating else ""
        rows.append((f"seed {seed}", *(f"{found[key]:.4f}" for key in figures), threshold))
    rows.append(("mean ± sd", *(f"{mean_sd(values)}" for values in figures.values()), ""))
    show(f"{name}, official test split", ("", "AUC", "accuracy at 0.5", "at the threshold", "threshold"), rows)
    minutes = (time.perf_counter() - started) / 60
    mean = np.mean(probabilities, axis=0)
    together = xraycls.evaluate(labels, np.column_stack([1 - mean, mean]), ("negative", "positive"))
    estimate = together.figures.overall["auroc"]
    print(f"All seeds' mean probability: AUC {estimate.value:.4f} (95 % {estimate.low:.4f}-{estimate.high:.4f}).")
    print(f"{minutes:.1f} minutes in all.")
    return {
        "settings": {key: str(value) for key, value in settings.items()},
        "seeds": list(seeds),
        "figures": figures,
        "mean": {key: statistics.mean(values) for key, values in figures.items()},
        "sd": {key: statistics.stdev(values) if len(values) > 1 else None for key, values in figures.items()},
        "ensemble_auroc": {"value": estimate.value, "interval": [estimate.low, estimate.high]},
        "minutes": minutes,
    }


def mean_sd(values: Sequence[float]) -> str:
    """``0.962 ± 0.003``."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def read_predictions(path: Path) -> tuple[IntArray, FloatArray]:
    """Labels (1 for the positive class) and positive probabilities of a predictions.csv of two classes."""
    import csv

    with path.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    positive = [name for name in rows[0] if name.startswith("p_")][1]
    labels = np.array([row["label"] == positive.removeprefix("p_") for row in rows], dtype=np.int64)
    return labels, np.array([float(row[positive]) for row in rows])


def show_beside(title: str, ours: Sequence[tuple[str, Mapping[str, Any]]], published: Published) -> None:
    """Our means beside published figures, whose accuracy is that of the more probable class (0.5)."""
    rows = [(name, f"{auc:.3f}", f"{accuracy:.3f}", "") for name, auc, accuracy in published]
    keys = ("auroc", "accuracy", "accuracy_at_threshold")
    rows += [(name, *(mean_sd(result["figures"][key]) for key in keys)) for name, result in ours]
    show(title, ("", "AUC", "accuracy at 0.5", "at the validation threshold"), rows)
