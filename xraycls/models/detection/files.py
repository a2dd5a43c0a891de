"""Detectors on disk, in the format of :mod:`xraycls.models.files`, and those in Keras files of TAO."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from xraycls.errors import RunError
from xraycls.models.detection.base import Detector, DetectorConfig
from xraycls.models.detection.keras import detector_of_keras
from xraycls.models.detection.registry import build_detector, stored_detector_config
from xraycls.models.detection.unet_original import SUFFIX, read_original
from xraycls.models.files import ModelFile, explained_damage, find_model, read_model, write_model
from xraycls.models.keras_file import is_keras_file
from xraycls.models.pruning_plan import PrunePlan, plan_between
from xraycls.models.quantization import plan_of

logger = logging.getLogger(__name__)


def pruning_of(detector: Detector) -> PrunePlan:
    """How much narrower pruning made a network than its configuration says; an empty plan when it isn't pruned."""
    with torch.device("meta"):  # shapes alone
        whole = build_detector(detector.config).net
    return plan_between(whole, detector.net.state_dict())


def save_detector(detector: Detector, path: Path, *, key: str = "", extra: Mapping[str, str] | None = None) -> None:
    """Write a detector as one safetensors file, atomically; with a key, encrypted.

    Args:
        detector: to write.
        path: the file, whatever its suffix.
        key: what only opens it again; "" for none.
        extra: more text to travel with the weights.

    Raises:
        XrayclsError: the file can't be written; an old one is untouched.
        MissingExtra: there is a key, and the package cryptography isn't installed.
    """
    config = detector.config
    model = ModelFile(
        kind="detector",
        network=config.network,
        classes=config.classes,
        config=config.described(),
        plan=pruning_of(detector),
        tensors=detector.net.state_dict(),
        extra=extra or {},
        quantization=plan_of(detector.net),
    )
    write_model(model, path, key=key)


def load_detector(
    path: Path, *, key: str = "", config: Callable[[], DetectorConfig] | None = None
) -> tuple[Detector, dict[str, str]]:
    """Read what :func:`save_detector` wrote, a trained model in a Keras file of TAO 5, or a U-Net's ``.pth.tar``.

    Args:
        path: the file, as :func:`~xraycls.models.files.find_model` takes it.
        key: that it was saved with; not needed without one.
        config: gives what a Keras file doesn't say: the spec's configuration. None refuses such files.

    Returns:
        The detector on the CPU, in evaluation mode, as narrow as it was pruned, and ``extra``.

    Raises:
        RunError: there is no such file, it is damaged, or it isn't a detector of ours.
        UsageError: the key is missing or wrong.
        MissingExtra: it is encrypted, and the package cryptography isn't installed.
    """
    path = find_model(path, key)
    if is_keras_file(path):
        if config is None:
            raise RunError(
                f"{path} is a Keras file of TAO, which has no names of classes and no means in it",
                "Give the spec that it was trained with, or convert it: xraycls convert-weights",
            )
        detector, lines = detector_of_keras(path, config())
        for line in lines:
            logger.info("%s", line)
        return detector, {}
    if path.name.endswith(SUFFIX):
        return read_original(path), {}
    model = read_model(path, "detector", key=key)
    with explained_damage(path):
        detector = build_detector(stored_detector_config(model.config))
        model.fill(detector.net)
    return detector.eval(), dict(model.extra)
