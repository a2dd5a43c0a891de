"""Prune a trained classifier: a weights file → a smaller one, to be trained again."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from xraycls.compress.prune import PruneReport
from xraycls.compress.prune import prune as prune_network
from xraycls.errors import UsageError
from xraycls.inference.load import weights_of
from xraycls.models.classifier import Classifier, load_classifier, save_classifier
from xraycls.models.files import METADATA_KEY, read_metadata
from xraycls.models.ood import OOD_KEY
from xraycls.models.pruning_plan import PrunePlan

logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class PruneResult:
    """A pruned classifier on disk.

    Attributes:
        path: its weights file.
        architecture: the name of the network that it was.
        report: the layers and parameters, before and after.
    """

    path: Path
    architecture: str
    report: PruneReport


def prune(
    model: str | Path,
    output: Path,
    *,
    criterion: str = "union",
    normalizer: str = "max",
    threshold: float = 0.1,
    granularity: int = 8,
    min_filters: int = 16,
    excluded: Collection[str] = (),
) -> PruneResult:
    """Prune a trained classifier and write what is left, with the settings that travelled with it.

    Args:
        model: a run folder, a model's name or a weights file, as :func:`xraycls.inference.load.load_model`.
        output: the file to write; ``.safetensors`` is added unless it ends so.
        criterion: as in :func:`xraycls.compress.prune.prune`, which has the other settings too.
        normalizer: likewise.
        threshold: likewise.
        granularity: likewise.
        min_filters: likewise.
        excluded: module paths of layers to keep whole.

    Raises:
        RunError: no such run or file.
        UsageError: the output exists, a setting is impossible, or the network can't be pruned.
        MissingExtra: Torch-Pruning isn't installed.
    """
    path = output if output.suffix == _SUFFIX else output.with_name(output.name + _SUFFIX)
    if path.exists():
        raise UsageError(f"{path} exists already", "Remove it, or choose another name with -o")
    weights, _ = weights_of(str(model))
    classifier, _ = load_classifier(weights)
    report = prune_network(
        classifier.net,
        torch.zeros(1, classifier.architecture.channels, classifier.size, classifier.size),
        criterion=criterion,
        normalizer=normalizer,
        threshold=threshold,
        granularity=granularity,
        min_filters=min_filters,
        excluded=excluded,
    )
    if report.after == report.before:
        logger.warning("Nothing was removed: no channel is both weak enough and free to go. Try a larger -pth.")
    plan = (classifier.plan or PrunePlan({})).then(report.plan)
    pruned = Classifier(
        report.model,
        classifier.architecture,
        classifier.classes,
        classifier.size,
        plan,
        multi_label=classifier.multi_label,
    )
    extra = {key: text for key, text in (read_metadata(weights) or {}).items() if key != METADATA_KEY}
    if extra.pop(OOD_KEY, None):
        logger.warning("The check for pictures unlike the training data goes with the filters; training adds it again.")
    save_classifier(pruned, path, extra=extra)
    return PruneResult(path, classifier.architecture.name, report)
