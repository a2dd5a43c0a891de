"""What the quality benchmarks share: seeds, one test each, and a table beside published figures.

Every choice (epoch, threshold) is made on validation; each seed's model is tested once.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xraycls
from benchmarks.common import show

Published = Sequence[tuple[str, float, float]]

KEYS = ("auroc", "accuracy", "accuracy_at_threshold")
HEADER = ("", "AUC", "accuracy at 0.5", "at the validation threshold")


def run_seeds(name: str, seeds: Sequence[int], output: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train and test once a seed; interrupted trainings go on where they stopped, and no model is tested twice.

    Args:
        name: of the table and of the run folders.
        seeds: of initialisation, order and augmentation.
        output: where the run folders go.
        settings: of every training.

    Returns:
        Each seed's figures with their 95 % bootstrap intervals (patients resampled), mean and standard deviation of
        the figures over the seeds, and the minutes that this call took (None when some of it was done before).
    """
    started, fresh = time.perf_counter(), True
    found: list[dict[str, dict[str, Any]]] = []
    for seed in seeds:
        folder = output / f"{name}-{seed}"
        fresh &= not folder.exists()
        if not (folder / "test.json").is_file():
            with xraycls.TrainingProgress() as reporter:
                xraycls.train(output=folder, resume="auto", reporter=reporter, seed=seed, **settings)
            xraycls.test(folder)
        found.append(_estimates(folder))
    figures = {key: [seed[key]["value"] for seed in found] for key in KEYS}
    rows = [
        (f"seed {seed}", *(with_interval(estimates[key]) for key in KEYS))
        for seed, estimates in zip(seeds, found, strict=True)
    ]
    show(f"{name}, official test split", HEADER, [*rows, ("mean ± sd", *map(mean_sd, figures.values()))])
    return {
        "settings": {key: Path(value).name if key in ("data", "weights") else value for key, value in settings.items()},
        "seeds": list(seeds),
        "estimates": found,
        "figures": figures,
        "mean": {key: statistics.mean(values) for key, values in figures.items()},
        "sd": {key: statistics.stdev(values) if len(values) > 1 else None for key, values in figures.items()},
        "minutes": (time.perf_counter() - started) / 60 if fresh else None,
    }


def run_parts(
    parts: Mapping[str, tuple[str, Mapping[str, Any]]], chosen: Sequence[str], seeds: Sequence[int], output: Path
) -> dict[str, dict[str, Any]]:
    """The figures of each part by its title: of each seed, and of several as one model, which sees mirror images, too.

    Args:
        parts: title and settings of the trainings by name.
        chosen: names of those to run.
        seeds: of each.
        output: where the run folders go.
    """
    results = {}
    for part in chosen:
        title, settings = parts[part]
        results[title] = run_seeds(part, seeds, output, settings)
        if len(seeds) > 1:
            together = [output / f"{part}-{seed}" for seed in seeds]
            results[title]["together"] = test_together(together, output / f"{part}-together", tta="flip")
    return results


def test_together(runs: Sequence[Path], folder: Path, *, tta: str) -> dict[str, dict[str, Any]]:
    """The figures of the mean of several runs over some views of each picture, tested once; written to ``folder``."""
    if not (folder / "test.json").is_file():
        xraycls.test(runs, output=folder, tta=tta)
    found = _estimates(folder)
    rows = [(f"{len(runs)} runs as one, {tta}", *(with_interval(found[key]) for key in KEYS))]
    show(f"{folder.name}, official test split", HEADER, rows)
    return found


def _estimates(folder: Path) -> dict[str, dict[str, Any]]:
    """The figures of a test that stand in the tables, with their intervals."""
    report = json.loads((folder / "test.json").read_text())
    at = report["at_threshold"]
    return {"auroc": report["auroc"], "accuracy": report["accuracy"], "accuracy_at_threshold": at["accuracy"]}


def with_interval(estimate: Mapping[str, Any]) -> str:
    """``0.962 (0.948-0.975)``."""
    low, high = estimate["interval"]
    return f"{estimate['value']:.3f} ({low:.3f}-{high:.3f})"


def mean_sd(values: Sequence[float]) -> str:
    """``0.962 ± 0.003``."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def show_beside(title: str, ours: Sequence[tuple[str, Mapping[str, Any]]], published: Published) -> None:
    """Our means beside published figures, whose accuracy is that of the more probable class (0.5)."""
    rows = [(name, f"{auc:.3f}", f"{accuracy:.3f}", "") for name, auc, accuracy in published]
    rows += [(name, *(mean_sd(result["figures"][key]) for key in KEYS)) for name, result in ours]
    show(title, HEADER, rows)
