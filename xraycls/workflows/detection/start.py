"""Whether models are of the network and of the kind that a command or a spec says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xraycls.errors import UsageError
from xraycls.models.detection.base import DetectorConfig
from xraycls.models.detection.files import load_detector, pruning_of
from xraycls.models.detection.transfer import is_classifier
from xraycls.models.files import find_model
from xraycls.models.keras_file import is_keras_file
from xraycls.tao.networks import NETWORKS
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.spec import Spec, value_at


def check_start(network: TaoNetwork, spec: Spec[Any], weights: Path | None, key: str) -> None:
    """Raise SpecError for a field that names a model of another kind: a pruned one to pretrain with, a classifier to
    retrain, or the model of another network to retrain or to go on from.

    Args:
        network: that the spec is for.
        spec: as it was opened.
        weights: what it starts from, as its job says; None for nothing.
        key: of an encrypted model.

    Raises:
        XrayclsError: there is no such model, it can't be read, or the key is wrong.
    """
    named = (network.resumed, network.pruned, network.pretrained)
    given = [field for field in named if field and value_at(spec.config, field)]
    if weights is None or not given:
        return
    field, path = given[0], find_model(weights, key)
    if is_keras_file(path):  # of TAO; its layers say what it is when they are loaded
        return
    if is_classifier(path):
        if field != network.pretrained:
            raise spec.mistake(field, f"names weights of a classifier, {path}", f"Name them in {network.pretrained}")
        return
    detector = load_detector(path, key=key)[0]
    if field != network.pretrained and not _is_of(network, detector.config):
        raise spec.mistake(field, f"names a model of {_title(detector.config)}, {path}")
    if field == network.pretrained and pruning_of(detector).layers:
        raise spec.mistake(field, f"names a pruned model, {path}", f"To retrain it, name it in {network.pruned}")


def check_network(network: TaoNetwork, config: DetectorConfig, model: Path) -> None:
    """Raise UsageError when a model is of another network than a command is for.

    Args:
        network: of the command.
        config: of the model.
        model: its file.
    """
    if not _is_of(network, config):
        hint = f"Use xraycls {config.network}" if config.network in NETWORKS else ""
        raise UsageError(f"{model} is a model of {_title(config)}, and not of {network.title}", hint)


def _is_of(network: TaoNetwork, config: DetectorConfig) -> bool:
    return config.network in (network.name, *network.aliases)


def _title(config: DetectorConfig) -> str:
    found = next((each for each in NETWORKS.values() if _is_of(each, config)), None)
    return found.title if found else config.network
