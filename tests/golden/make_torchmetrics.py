"""Writes torchmetrics.json: what torchmetrics makes of predictions in whole hundredths, ties, unknown and rare labels.

Run in an environment with torchmetrics: ``python tests/golden/make_torchmetrics.py``.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torchmetrics
from torchmetrics.functional import classification as tm

UNKNOWN = -1
THRESHOLD = 0.305  # between two hundredths: torchmetrics calls what is above, we what is at it, too


def binary(labels: list[int], percent: list[int]) -> dict[str, float]:
    probabilities, target = torch.tensor(percent, dtype=torch.float64) / 100, torch.tensor(labels)
    at = {"threshold": THRESHOLD, "ignore_index": UNKNOWN}
    found = {
        "auroc": tm.binary_auroc(probabilities, target, ignore_index=UNKNOWN),
        "average_precision": tm.binary_average_precision(probabilities, target, ignore_index=UNKNOWN),
        "accuracy": tm.binary_accuracy(probabilities, target, **at),
        "sensitivity": tm.binary_recall(probabilities, target, **at),
        "specificity": tm.binary_specificity(probabilities, target, **at),
        "precision": tm.binary_precision(probabilities, target, **at),
        "f1": tm.binary_f1_score(probabilities, target, **at),
    }
    return {name: value.item() for name, value in found.items()}


def classes(labels: list[int], percent: list[list[int]]) -> dict[str, float]:
    probabilities, target = torch.tensor(percent, dtype=torch.float64) / 100, torch.tensor(labels)
    number = probabilities.shape[1]
    found = {
        "auroc": tm.multiclass_auroc(probabilities, target, number, average="macro"),
        "average_precision": tm.multiclass_average_precision(probabilities, target, number, average="macro"),
        "accuracy": tm.multiclass_accuracy(probabilities, target, number, average="micro"),
        "balanced_accuracy": tm.multiclass_accuracy(probabilities, target, number, average="macro"),
        "sensitivity": tm.multiclass_recall(probabilities, target, number, average="macro"),
        "specificity": tm.multiclass_specificity(probabilities, target, number, average="macro"),
        "f1": tm.multiclass_f1_score(probabilities, target, number, average="macro"),
    }
    return {name: value.item() for name, value in found.items()}


def main() -> None:
    rng = np.random.default_rng(0)
    golden = {
        "made_with": f"torchmetrics {torchmetrics.__version__}",
        "threshold": THRESHOLD,
        "binary": [],
        "classes": [],
    }
    for count, prevalence, unknown in ((200, 0.5, 0.0), (200, 0.1, 0.3), (60, 0.03, 0.0), (8, 0.5, 0.2)):
        labels = (rng.random(count) < prevalence).astype(int)
        labels[:2] = 0, 1
        percent = np.clip(rng.normal(30 + 30 * labels, 20), 0, 100).astype(int)
        labels[2:][rng.random(count - 2) < unknown] = UNKNOWN
        case = {"labels": labels.tolist(), "percent": percent.tolist()}
        golden["binary"].append(case | {"figures": binary(**case)})
    for count, number in ((120, 3), (40, 5)):
        labels = np.concatenate([np.arange(number), rng.integers(0, number, count - number)])
        raw = rng.dirichlet(np.ones(number), count) + 0.4 * np.eye(number)[labels]
        percent = np.floor(100 * raw / raw.sum(axis=1, keepdims=True)).astype(int)
        percent[:, -1] += 100 - percent.sum(axis=1)
        case = {"labels": labels.tolist(), "percent": percent.tolist()}
        golden["classes"].append(case | {"figures": classes(**case)})
    Path(__file__).with_name("torchmetrics.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
