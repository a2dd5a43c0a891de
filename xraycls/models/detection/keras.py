"""Detectors from the Keras files of TAO 5: a trained or pruned model, or a classifier's backbone of NGC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from xraycls.errors import WeightsError
from xraycls.models.detection.base import Detector, DetectorConfig
from xraycls.models.detection.registry import DETECTORS, build_detector
from xraycls.models.keras_file import KerasFile, read_keras_file
from xraycls.models.keras_transfer import load_keras, tensors_of
from xraycls.models.pruning_plan import plan_between


def detector_of_keras(path: Path, config: DetectorConfig) -> tuple[Detector, list[str]]:
    """Returns the detector that a Keras file of TAO holds, and sentences for the log.

    Such a file has neither the names of the classes nor the means that are subtracted, nor the thresholds; they come
    from the spec that the model was trained with.

    Args:
        path: the ``.hdf5``.
        config: of the spec. Widths of a pruned model come from the file.

    Raises:
        WeightsError: the file is of another network, lacks layers, or is damaged.
        MissingExtra: h5py isn't installed.
    """
    file = read_keras_file(path)
    if (made_for := _network_of(file, config.network)) not in ("", config.network):
        raise WeightsError(
            f"{path} is a model of {made_for}, and not of {config.network}",
            "Give the spec that the model was trained with, and its network's own command",
        )
    detector = build_detector(config)
    lines, lacking = _filled(detector, file)
    if lacking:
        raise WeightsError(
            f"{path} lacks {len(lacking)} layers of the {config.network} asked for, the first being {lacking[0]}",
            "Give the spec that the model was trained with; a backbone alone is for the start of a training",
        )
    return detector.eval(), lines


@dataclass(frozen=True, slots=True)
class KerasDescription:
    """What a Keras file of TAO holds.

    Attributes:
        network: name of the detector whose layers it has; "" for a classifier, or a network that isn't known here.
        pruned: whether its layers are narrower than those of a whole detector.
        quantized: whether it was trained for quantisation.
    """

    network: str
    pruned: bool
    quantized: bool


def describe_keras(path: Path, config: DetectorConfig) -> KerasDescription:
    """Returns what a Keras file of TAO holds beside a configuration.

    Args:
        path: the ``.hdf5``.
        config: of the detector that it is for.

    Raises:
        WeightsError: the file is damaged.
    """
    file = read_keras_file(path)
    if (made_for := _network_of(file, config.network)) != config.network:
        return KerasDescription(made_for, pruned=False, quantized=file.is_quantized)
    with torch.device("meta"):  # shapes alone
        detector = build_detector(config)
    places = {name: place for place, name in detector.layer_names.items()}
    plan = plan_between(detector.net, tensors_of(detector.net, file, places))
    return KerasDescription(config.network, bool(plan.layers), file.is_quantized)


def start_from_keras(detector: Detector, path: Path) -> list[str]:
    """Copy what a Keras file of TAO has of a detector's layers, in place; gives sentences for the log.

    Args:
        detector: new; a pruned model in the file makes it narrower.
        path: a detector of TAO, or a classifier whose backbone is taken.

    Raises:
        WeightsError: nothing of the file fits, or it is damaged.
        MissingExtra: h5py isn't installed.
    """
    return _filled(detector, read_keras_file(path))[0]


def _network_of(file: KerasFile, wanted: str) -> str:
    """Name of the detector that a file is of; ``wanted`` where it may be of several, "" for none that is known."""
    names = [name for name, each in DETECTORS.items() if each.detector_class().tao_layer in file.layers]
    return wanted if wanted in names else next(iter(names), "")


def _filled(detector: Detector, file: KerasFile) -> tuple[list[str], tuple[str, ...]]:
    config = detector.config
    channels = len(config.mean)
    if file.input_shape and file.input_shape[0] != channels:
        raise WeightsError(
            f"{file.path} takes pictures of {file.input_shape[0]} channels, and the spec asks for {channels}",
            "Set output_channel in the spec to the number that the model was trained with",
        )
    names = {name: path for path, name in detector.layer_names.items()}
    report = load_keras(detector.net, file, names, torch.zeros(1, channels, config.height, config.width))
    return report.lines(file), report.lacking
