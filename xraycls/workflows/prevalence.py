"""Probabilities for another prevalence than that of the training (Saerens, Latinne and Decaestecker 2002)."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from xraycls.data.class_names import plain_class
from xraycls.errors import RunError, UsageError, unknown
from xraycls.evaluation.recalibration import SAME, LogitMap, ProbabilityMap
from xraycls.inference.adjust import Adjustment, adjusted
from xraycls.inference.ensemble import Ensemble, ensemble_of

if TYPE_CHECKING:
    from xraycls.data.table import SampleTable
    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.exported_predictor import ExportedModel
    from xraycls.training.config import TrainConfig

logger = logging.getLogger(__name__)


def trained_prevalence(config: TrainConfig, train: SampleTable) -> dict[str, float]:
    """How often each output is present in what a training shows its loss, 0–1.

    Sampling and weights of classes count. Empty where the loss is of a kind whose probabilities follow no prevalence.
    """
    balanced = config.class_weights == "balanced"
    if not train.findings:
        counts = np.array(list(train.counts().values()), np.float64)
        if config.balance:
            counts = (counts > 0).astype(np.float64)
        if balanced:
            known = np.array(list(train.counts().values()), np.float64)
            counts = np.divide(counts, known, out=np.zeros_like(counts), where=known > 0)
        return dict(zip(train.classes, (counts / max(counts.sum(), 1e-300)).tolist(), strict=True))
    if config.loss in ("focal", "asymmetric"):
        return {}
    from xraycls.loaders.sampler import weights_of_findings  # a prediction needs no sampler

    targets = train.targets
    drawn = weights_of_findings(targets) if config.balance else np.ones(len(targets))
    found = {}
    for name, told in zip(train.findings, targets.T, strict=True):
        present, absent = float(drawn[told == 1].sum()), float(drawn[told == 0].sum())
        if balanced:
            present *= (told == 0).sum() / max((told == 1).sum(), 1)
        if present and absent:
            found[name] = present / (present + absent)
    return found


def with_prevalence(
    model: TrainedModel | ExportedModel | Ensemble, text: str | None
) -> TrainedModel | ExportedModel | Ensemble:
    """The model with its probabilities, and its thresholds with them, for another prevalence.

    The odds of each output are multiplied by the odds of the new prevalence and divided by those of what the
    probabilities stand for: the training, or the site that the model was calibrated on. Likelihoods of images with and
    without a finding are taken to be the same, so sensitivity and specificity at the thresholds stay what they were.
    Of several models each is corrected, and their thresholds are averaged.

    Args:
        model: a classifier.
        text: "0.05", of the positive one of two classes or of every finding; or "Edema=0.05,Mass=0.01". Of three
            classes or more those that aren't named share the rest as before. None changes nothing.

    Raises:
        UsageError: no share between 0 and 1, or no such class or finding.
        RunError: what the model's probabilities stand for isn't known.
    """
    if text is None:
        return model
    if isinstance(model, Ensemble):
        members = tuple(cast("TrainedModel | ExportedModel", with_prevalence(each, text)) for each in model.members)
        return ensemble_of(members, model.shares)
    wanted = _parsed(text, model.classes, multi_label=model.multi_label)
    before = _prevalence_of(model)
    lacking = [name for name in (wanted if model.multi_label else model.classes) if not before.get(name)]
    if lacking:
        raise RunError(
            f"{model.weights} doesn't tell the prevalence of {', '.join(lacking)} that its probabilities stand for",
            "Weights of earlier versions and of focal and asymmetric losses don't; xraycls calibrate --method platt "
            "on labelled images sets it",
        )
    maps = _maps(model.classes, wanted, before, multi_label=model.multi_label)
    told = ", ".join(f"{name}={share:g}" for name, share in wanted.items())
    described = {"prevalence": wanted, "prevalence_before": {name: before[name] for name in wanted}}
    logger.info(
        "Probabilities of %s are for a prevalence of %s instead of %s; thresholds move with them, so the same images "
        "are called.",
        model.weights,
        told,
        ", ".join(f"{name}={before[name]:.3g}" for name in wanted),
    )
    one: Any = model  # of either kind
    changed: TrainedModel | ExportedModel = adjusted(one, Adjustment(maps, f"for a prevalence of {told}", described))
    return changed


def _prevalence_of(model: TrainedModel | ExportedModel) -> dict[str, float]:
    """What the probabilities stand for: of a site whose maps have an offset, else of the training."""
    for each in reversed(model.adjustments):
        if each.prevalence is not None:
            pairs = zip(model.classes, each.prevalence, strict=True)
            return {name: share for name, share in pairs if share is not None}
    return dict(model.prevalence or {})


def _parsed(text: str, classes: tuple[str, ...], *, multi_label: bool) -> dict[str, float]:
    known = {plain_class(name): name for name in classes}
    found: dict[str, float] = {}
    for entry in (part.strip() for part in text.split(",")):
        name, equals, number = entry.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not 0 < share < 1:
            raise UsageError(
                f"--prevalence {entry!r} is no share between 0 and 1", 'Write --prevalence 0.05, or "Edema=0.05"'
            )
        if equals and plain_class(name) not in known:
            raise unknown("finding" if multi_label else "class", name, classes, "--prevalence")
        if not equals and len(classes) > 2 and not multi_label:
            raise UsageError(f"--prevalence {entry} names no class", f"Write {classes[-1]}={entry}")
        named = [known[plain_class(name)]] if equals else list(classes if multi_label else classes[1:])
        found.update(dict.fromkeys(named, share))
    if not multi_label and sum(found.values()) >= 1:
        raise UsageError(f"The shares of --prevalence {text} sum to 1 or more", "What is left is of the other classes")
    return found


def _maps(
    classes: tuple[str, ...], wanted: Mapping[str, float], before: Mapping[str, float], *, multi_label: bool
) -> tuple[ProbabilityMap, ...]:
    def odds(share: float) -> float:
        return math.log(share) - math.log1p(-share)

    if multi_label:
        return tuple(
            LogitMap(1.0, odds(wanted[name]) - odds(before[name])) if name in wanted else SAME for name in classes
        )
    rest = sum(before[name] for name in classes if name not in wanted)
    scale = (1 - sum(wanted.values())) / rest if rest else 0.0
    after = {name: wanted.get(name, before[name] * scale) for name in classes}
    if len(classes) == 2:
        return SAME, LogitMap(1.0, odds(after[classes[1]]) - odds(before[classes[1]]))
    return tuple(LogitMap(1.0, math.log(after[name]) - math.log(before[name])) for name in classes)
