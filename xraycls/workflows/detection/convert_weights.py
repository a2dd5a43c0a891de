"""TAO's weights as a detector of ours, in one file that needs no spec any more."""

from __future__ import annotations

from pathlib import Path

from xraycls.errors import UsageError
from xraycls.models.detection.files import pruning_of, save_detector
from xraycls.models.detection.keras import detector_of_keras
from xraycls.models.files import PLAIN
from xraycls.models.keras_file import is_keras_file
from xraycls.tao.mounts import Mounts
from xraycls.workflows.detection.spec import config_of_spec


def convert_weights(source: Path, target: Path, spec: Path, *, mounts: Mounts | None = None) -> list[str]:
    """Write a trained or pruned model of TAO 5 as one safetensors file.

    Args:
        source: TAO's ``.hdf5``.
        target: the file to write, ``.safetensors``.
        spec: that the model was trained with: it has the names of the classes, the means and the thresholds.
        mounts: where folders of TAO's container lie here.

    Returns:
        Sentences that say what came of the layers.

    Raises:
        UsageError: the target isn't named .safetensors or exists, or the source isn't HDF5.
        SpecError: the spec can't be read.
        WeightsError: the file is of another network, damaged, or holds what is refused.
    """
    if target.suffix != PLAIN:
        raise UsageError(f"{target} would hold safetensors", f"Name it {target.with_suffix(PLAIN).name}")
    if target.exists():
        raise UsageError(f"{target} exists", "Name another file, or remove it first")
    if not source.is_file():
        raise UsageError(f"There is no file {source}", "Give the .hdf5 that TAO 5 wrote")
    if not is_keras_file(source):
        raise UsageError(
            f"{source} is no HDF5 file",
            "Encrypted .tlt files are decoded once with NVIDIA's TAO 5: "
            "tao model NETWORK prune -m MODEL.tlt -k KEY -o MODEL.hdf5 -pth 0",
        )
    detector, lines = detector_of_keras(source, config_of_spec(spec, mounts=mounts))
    save_detector(detector, target)
    config = detector.config
    parameters = sum(parameter.numel() for parameter in detector.net.parameters())
    pruned = ", pruned" if pruning_of(detector).layers else ""
    network = f"{config.network} on {config.backbone}, {config.width} x {config.height}{pruned}"
    return [*lines, f"{target}: {network}, {parameters:,} parameters, classes {', '.join(config.classes)}."]
