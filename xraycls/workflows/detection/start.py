"""Whether the model that a spec starts from is of the kind that the field says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xraycls.models.detection.files import load_detector, pruning_of
from xraycls.models.detection.transfer import is_classifier
from xraycls.models.files import find_model
from xraycls.models.keras_file import is_keras_file
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.spec import Spec, value_at


def check_start(network: TaoNetwork, spec: Spec[Any], weights: Path | None, key: str) -> None:
    """Raise SpecError for a field that names a model of another kind: a pruned one to pretrain with, or a classifier
    to retrain.

    Args:
        network: that the spec is for.
        spec: as it was opened.
        weights: what it starts from, as its job says; None for nothing.
        key: of an encrypted model.

    Raises:
        XrayclsError: there is no such model, it can't be read, or the key is wrong.
    """
    given = [field for field in (network.pretrained, network.pruned) if field and value_at(spec.config, field)]
    if weights is None or not given:
        return
    field, path = given[0], find_model(weights, key)
    if is_keras_file(path):  # of TAO; its layers say what it is when they are loaded
        return
    if is_classifier(path):
        if field == network.pruned:
            raise spec.mistake(field, f"names weights of a classifier, {path}", f"Name them in {network.pretrained}")
    elif field == network.pretrained and pruning_of(load_detector(path, key=key)[0]).layers:
        raise spec.mistake(field, f"names a pruned model, {path}", f"To retrain it, name it in {network.pruned}")
