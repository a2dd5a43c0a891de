"""Whether models are of the network and of the kind that a command or a spec says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xraycls.errors import UsageError
from xraycls.models.detection.base import DetectorConfig
from xraycls.models.detection.files import load_detector, pruning_of
from xraycls.models.detection.keras import describe_keras
from xraycls.models.detection.transfer import is_classifier
from xraycls.models.files import find_model
from xraycls.models.keras_file import is_keras_file
from xraycls.models.quantization import plan_of
from xraycls.tao.networks import NETWORKS
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.spec import Spec, value_at

_QUANTIZED = "training_config.enable_qat"


def check_start(network: TaoNetwork, spec: Spec[Any], weights: Path | None, key: str, config: DetectorConfig) -> None:
    """Raise SpecError for a field that names a model of another kind.

    A classifier, and the model of another network, can't be retrained or gone on from; a pruned model can't be
    pretrained with, and one that was never pruned can't be retrained as pruned; a model that was trained for
    quantisation wants a spec that says so, and one that wasn't can't be gone on with by a spec that says so.

    Args:
        network: that the spec is for.
        spec: as it was opened.
        weights: what it starts from, as its job says; None for nothing.
        key: of an encrypted model.
        config: the detector that the spec describes.

    Raises:
        XrayclsError: there is no such model, it can't be read, or the key is wrong.
    """
    named = (network.resumed, network.pruned, network.pretrained)
    field = next((each for each in named if each and value_at(spec.config, each)), None)
    if weights is None or field is None:
        return
    path = find_model(weights, key)
    of, kind, quantized = _described(path, key, config)
    if of and field != network.pretrained and not _is_of(network, of):
        raise spec.mistake(field, f"names a model of {_title(of)}, {path}", f"Name one of {network.title}")
    if kind == "classifier" and field != network.pretrained:
        raise spec.mistake(field, f"names weights of a classifier, {path}", f"Name them in {network.pretrained}")
    if kind == "pruned" and field == network.pretrained:
        raise spec.mistake(field, f"names a pruned model, {path}", f"To retrain it, name it in {network.pruned}")
    if kind == "whole" and field == network.pruned:
        raise spec.mistake(
            field,
            f"names a model that no filter was pruned from, {path}",
            f"Prune it first, or name it in {network.pretrained} to begin with its weights",
        )
    if quantized and not value_at(spec.config, _QUANTIZED):
        raise spec.mistake(
            field,
            f"names a model that was trained with enable_qat, {path}, and enable_qat is off",
            "Set training_config.enable_qat to true"
            + ("; its weights are used, its scales of quantisation are not" if is_keras_file(path) else ""),
        )
    if field == network.resumed and value_at(spec.config, _QUANTIZED) and not quantized:
        raise spec.mistake(
            field,
            f"names a model that was trained without enable_qat, {path}, and enable_qat is on",
            f"Set training_config.enable_qat to false, or begin with its weights: name it in {network.pretrained}",
        )


def check_goes_on(network: TaoNetwork, weights: Path, key: str, config: DetectorConfig) -> None:
    """Raise UsageError when a training can't go on with a model, as it is of another network, or a classifier's.

    Args:
        network: of the training.
        weights: the model.
        key: of an encrypted one.
        config: the detector that is trained.
    """
    path = find_model(weights, key)
    of, kind, _ = _described(path, key, config)
    if kind == "classifier":
        message = f"{path} holds weights of a classifier, and no training to go on with"
        raise UsageError(message, "Begin with them: leave out --initial-epoch")
    check_network(network, of, path)


def _described(path: Path, key: str, config: DetectorConfig) -> tuple[str, str, bool]:
    """The network of a model ("" of a classifier's weights), its kind, and whether it was trained for quantisation.

    The kind is "classifier", "whole" or "pruned".
    """
    if is_keras_file(path):
        described = describe_keras(path, config)
        kind = "pruned" if described.pruned else "whole" if described.network else "classifier"
        return described.network, kind, described.quantized
    if is_classifier(path):
        return "", "classifier", False
    detector = load_detector(path, key=key)[0]
    return detector.config.network, "pruned" if pruning_of(detector).layers else "whole", bool(plan_of(detector.net))


def check_network(network: TaoNetwork, name: str, model: Path) -> None:
    """Raise UsageError when a model is of another network than a command is for.

    Args:
        network: of the command.
        name: of the model's network.
        model: its file.
    """
    if not _is_of(network, name):
        hint = f"Use xraycls {name}" if name in NETWORKS else ""
        raise UsageError(f"{model} is a model of {_title(name)}, and not of {network.title}", hint)


def _is_of(network: TaoNetwork, name: str) -> bool:
    return name in (network.name, *network.aliases)


def _title(name: str) -> str:
    found = next((each for each in NETWORKS.values() if _is_of(each, name)), None)
    return found.title if found else name
