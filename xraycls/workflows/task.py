"""Which task a table of samples is for, one label or several findings an image, and what is said of its classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from xraycls.data.depth import depth_of
from xraycls.data.findings import counts_of_findings
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.evaluation.findings import finding_scores
from xraycls.evaluation.metrics import scores
from xraycls.evaluation.thresholds import choose_threshold
from xraycls.training.config import TrainConfig
from xraycls.training.findings import (
    MultiLabel,
    check_uncertain,
    counted_targets,
    positive_weights,
    uncertain_values,
)
from xraycls.training.task import Classification, Floats, Labels, balanced_class_weights
from xraycls.workflows.prevalence import trained_prevalence


def build_task(
    config: TrainConfig, engine: str, table: SampleTable, train_table: SampleTable, device: torch.device
) -> Classification:
    """The task that the table is for."""
    balanced = config.class_weights == "balanced"
    if table.findings:
        return MultiLabel(
            partial(finding_scores, names=table.findings),
            _chooser_of_findings(config, engine, table),
            config.label_smoothing,
            positive_weights(train_table.targets).to(device) if balanced else None,
            uncertain=torch.tensor(uncertain_values(config.uncertain, table.findings), device=device),
            loss="bce" if config.loss == "auto" else config.loss,
        )
    weights = balanced_class_weights(train_table.labels, len(table.classes)).to(device) if balanced else None
    return Classification(scores, _chooser(config, engine, table), config.label_smoothing, weights)


def _chooser(config: TrainConfig, engine: str, table: SampleTable) -> Callable[[Labels, Floats], dict[str, str]]:
    """What travels with the weights: the operating threshold of two classes, and what the pictures looked like."""

    def choose(labels: Labels, probabilities: Floats) -> dict[str, str]:
        settings = _travelling(config, engine, table)
        if probabilities.shape[1] == 2 and len(np.unique(labels)) == 2:
            settings["threshold"] = repr(choose_threshold(labels, probabilities[:, 1], config.threshold))
        return settings

    return choose


def _chooser_of_findings(
    config: TrainConfig, engine: str, table: SampleTable
) -> Callable[[Floats, Floats], dict[str, str]]:
    """What travels with the weights: a threshold for each finding that validation has with and without."""

    def choose(targets: Floats, probabilities: Floats) -> dict[str, str]:
        thresholds = {}
        for name, told, scored in zip(table.findings, targets.T, probabilities.T, strict=True):
            known = np.where((told == 0) | (told == 1), told, -1).astype(np.int64)
            if {0, 1} <= set(known.tolist()):
                thresholds[name] = choose_threshold(known, scored, config.threshold)
        return _travelling(config, engine, table) | {"thresholds": json.dumps(thresholds)}

    return choose


def _travelling(config: TrainConfig, engine: str, table: SampleTable) -> dict[str, str]:
    settings = {"augment": config.augment, "engine": engine, "threshold_method": config.threshold}
    if shares := trained_prevalence(config, table.split("train")):
        settings["prevalence"] = json.dumps(shares)
    if bits := depth_of(table):
        settings["bits"] = str(bits)
    return settings


def split_counts(table: SampleTable) -> dict[str, int]:
    """Returns the images of each class, or those that show each finding."""
    if table.findings:
        return {name: each.present for name, each in counts_of_findings(table).items()}
    return table.counts()


def absent_classes(table: SampleTable, monitor: str, uncertain: str = "ignore") -> list[str]:
    """Returns a sentence for each class that the training or the validation split has no image of.

    Args:
        table: with its splits.
        monitor: the metric that chooses the weights.
        uncertain: what uncertain labels of findings count as in the loss.
    """
    if table.findings:
        return _absent_findings(table, uncertain)
    lines = []
    for split in ("train", "val"):
        part = table.split(split)
        absent = ", ".join(name for name, count in part.counts().items() if not count)
        if not absent or not len(part):
            continue
        if split == "train":
            lines.append(f"No training image is of class {absent}: it can't be learned.")
        else:
            lines.append(
                f"No validation image is of class {absent}, so figures such as AUROC are no numbers there"
                + (f" and --monitor {monitor} may be none." if monitor != "loss" else ".")
            )
    return lines


def _absent_findings(table: SampleTable, uncertain: str) -> list[str]:
    """Returns a sentence for findings that a split has no image with, or none without."""
    outcomes = {
        "training": "what never differs can't be learned, and --labels names the findings to train",
        "validation": "figures leave it out, and it is called from a probability of 0.5",
    }
    lines = []
    training = counted_targets(table.split("train").targets, uncertain, table.findings)
    for split, targets in (("training", training), ("validation", table.split("val").targets)):
        for kind, told in (("with", targets > 0.5), ("without", targets < 0.5)):
            absent = np.asarray(~told.any(axis=0))
            names = ", ".join(name for name, is_absent in zip(table.findings, absent, strict=True) if is_absent)
            if names:
                lines.append(f"No {split} image is known to be {kind} {names}: {outcomes[split]}.")
    return lines


def told_task(table: SampleTable) -> list[str]:
    """Returns a sentence for a table of several findings an image, which says how to take one label instead."""
    if not table.findings:
        return []
    counts = counts_of_findings(table.split("train"))
    named = ", ".join(f"{each.present:,} {name}" for name, each in counts.items())
    return [f"Several findings an image (--task single takes one label): of the training images {named}."]


def check_task(config: TrainConfig, table: SampleTable) -> None:
    """Raise UsageError for settings of the other task, and DataError for findings of which nothing can be learned."""
    if table.findings:
        targets = table.split("train").targets
        counted = counted_targets(targets, config.uncertain, table.findings)
        check_uncertain(config.uncertain, targets)
        _require_something_to_learn(table, counted)
        return
    for name, default in (("loss", "auto"), ("uncertain", "ignore")):
        if (given := getattr(config, name)) != default:
            raise UsageError(
                f"--{name} {given} is of several findings an image, and the data tell one label", "Leave it out"
            )


def _require_something_to_learn(table: SampleTable, counted: Floats) -> None:
    """Raise DataError where no finding differs from one training image to another."""
    known = ~np.isnan(counted)
    highest, lowest = np.where(known, counted, -np.inf).max(axis=0), np.where(known, counted, np.inf).min(axis=0)
    if not (highest > lowest).any():
        raise DataError(
            f"There is nothing to learn from the training images of {table.root}: each of {', '.join(table.findings)} "
            "is known to be present in all of them, in none, or isn't known",
            table.root,
            "Name other columns with --labels, or what uncertain labels count as with --uncertain",
        )
