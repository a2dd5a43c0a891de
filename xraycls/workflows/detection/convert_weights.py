"""TAO's weights as a detector of ours, in one file that needs no spec any more, and back."""

from __future__ import annotations

from pathlib import Path

from xraycls.errors import UsageError
from xraycls.models.detection.base import Detector
from xraycls.models.detection.files import load_detector, pruning_of, save_detector
from xraycls.models.detection.keras import detector_of_keras
from xraycls.models.files import PLAIN, find_model
from xraycls.models.keras_file import is_keras_file, write_keras_file
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks import network_of
from xraycls.workflows.detection.spec import config_of_spec

KERAS = ".hdf5"
_SUFFIXES = {"safetensors": PLAIN, "hdf5": KERAS}


def convert_weights(
    source: Path,
    target: Path,
    spec: Path | None = None,
    *,
    to: str = "",
    key: str = "",
    mounts: Mounts | None = None,
) -> list[str]:
    """Write a trained or pruned model of TAO 5 as one safetensors file, or a detector of ours as TAO 5's ``.hdf5``.

    Args:
        source: TAO's ``.hdf5``, or a detector of ours.
        target: the file to write, ``.safetensors`` or ``.hdf5``.
        spec: that a model of TAO was trained with: it has the names of the classes, the means and the thresholds.
        to: "safetensors" or "hdf5"; "" for what the target's suffix says.
        key: of an encrypted detector of ours.
        mounts: where folders of TAO's container lie here.

    Returns:
        Sentences that say what came of the layers.

    Raises:
        UsageError: the names of both files don't fit each other or the direction, the target exists, or a spec lacks.
        SpecError: the spec can't be read.
        WeightsError: the file is of another network, damaged, or holds what is refused.
        RunError: the source is no detector of ours.
    """
    suffix = _SUFFIXES.get(to, target.suffix)
    if suffix not in _SUFFIXES.values() or target.suffix not in ("", suffix):
        wanted = suffix if suffix in _SUFFIXES.values() else PLAIN
        raise UsageError(f"{target} would hold {wanted.removeprefix('.')}", f"Name it {target.stem}{wanted}")
    target = target.with_suffix(suffix)
    if target.exists():
        raise UsageError(f"{target} exists", "Name another file, or remove it first")
    if suffix == KERAS:
        return _to_keras(source, target, key)
    return _from_keras(source, target, spec, mounts)


def _from_keras(source: Path, target: Path, spec: Path | None, mounts: Mounts | None) -> list[str]:
    if not source.is_file():
        raise UsageError(f"There is no file {source}", "Give the .hdf5 that TAO 5 wrote")
    if not is_keras_file(source):
        raise UsageError(
            f"{source} is no HDF5 file",
            "Encrypted .tlt files are decoded once with NVIDIA's TAO 5: "
            "tao model NETWORK prune -m MODEL.tlt -k KEY -o MODEL.hdf5 -pth 0",
        )
    if spec is None:
        raise UsageError(
            f"{source} has no names of classes and no means in it", "Give the spec that it was trained with: -e SPEC"
        )
    detector, lines = detector_of_keras(source, config_of_spec(spec, mounts=mounts))
    save_detector(detector, target)
    return [*lines, f"{target}: {_summary(detector)}, classes {', '.join(detector.config.classes)}."]


def _to_keras(source: Path, target: Path, key: str) -> list[str]:
    source = find_model(source, key)
    if is_keras_file(source):
        raise UsageError(f"{source} is HDF5 already", "Give a detector of xraycls, .safetensors")
    detector, _ = load_detector(source, key=key)
    config = detector.config
    network = network_of(config.network)
    if network.keras is None:
        raise UsageError(f"How TAO saves a {network.title} isn't known here", "Keep the .safetensors")
    model = network.keras(detector)
    write_keras_file(target, model)
    lines = []
    if config.arithmetic != "tao":
        lines.append(
            f"The backbone computes as {config.arithmetic}'s: TAO does so where it builds the network from this file, "
            "but not where it takes weights from it by name into a network of its own."
        )
    lines.append(f"{target}: {_summary(detector)}, {len(model.layers)} layers as Keras has them.")
    lines.append("Classes, means and thresholds stand in the spec that TAO reads with it, not in this file.")
    return lines


def _summary(detector: Detector) -> str:
    config = detector.config
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    pruned = ", pruned" if pruning_of(detector).layers else ""
    return f"{config.network} on {config.backbone}, {config.width} x {config.height}{pruned}, {parameters:,} parameters"
