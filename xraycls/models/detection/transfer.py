"""Starting a detector from weights that are there: of another detector, or of a classifier."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from xraycls.models.detection.detector import Detector
from xraycls.models.weight_files import METADATA_KEY, read_weights

logger = logging.getLogger(__name__)

# What torchvision and timm call the parts of a network, and what a backbone here calls them.
_NAMES = (("features.", "network."), ("stages.", "stages_"), ("blocks.", "blocks_"))


def is_classifier(path: Path) -> bool:
    """Whether a file holds weights that are no detector's: torch's own files, and safetensors of other programs."""
    if path.suffix in (".pth", ".pt", ".bin"):
        return True
    try:
        with safe_open(path, framework="pt") as file:
            return '"kind": "detector"' not in (file.metadata() or {}).get(METADATA_KEY, "")
    except SafetensorError:  # encrypted, or a file of TAO: what opens models says so
        return False


def transfer_classifier(detector: Detector, path: Path) -> list[str]:
    """Copy the weights of a classifier, such as torchvision's of ImageNet, into the backbone, by name.

    The first convolution of a backbone for grey pictures takes the sum over colours. Projections that only TAO's
    residual networks have start as the identity where they can, so that the network computes what it has learnt.

    Args:
        detector: to change.
        path: a file of weights.

    Returns:
        Sentences for the log.

    Raises:
        WeightsError: the file can't be read.
    """
    backbone = detector.net.backbone
    own = backbone.state_dict()
    source = {_renamed(name, own): tensor for name, tensor in read_weights(path).tensors.items()}
    copied = {}
    for name, tensor in source.items():
        if name in own and tensor.ndim == 4 and own[name].shape[1] == 1 and tensor.shape[1] == 3:
            tensor = tensor.sum(dim=1, keepdim=True)
        if name in own and own[name].shape == tensor.shape:
            copied[name] = tensor
    backbone.load_state_dict(copied, strict=False)
    with torch.no_grad():
        made = sum(_as_identity(module) for name, module in _new_projections(backbone, copied))
    lacking = [name for name in own if name not in copied and "num_batches" not in name]
    lines = [f"{len(copied)} of {len(own)} tensors of the backbone come from {path}."]
    if made:
        lines.append(f"{made} projections that {path.name} doesn't have start as the identity.")
    elif lacking:
        lines.append(f"{len(lacking)} tensors of the backbone stay random, the first being {lacking[0]}.")
    return lines


def transfer_detector(detector: Detector, other: Detector) -> list[str]:
    """Copy what another detector has of the same name and shape; gives sentences for the log."""
    own, source = detector.net.state_dict(), other.net.state_dict()
    fitting = {name: tensor for name, tensor in source.items() if name in own and own[name].shape == tensor.shape}
    detector.net.load_state_dict(fitting, strict=False)
    lines = [f"{len(fitting)} of {len(own)} tensors come from the model given."]
    if rest := [name for name in own if name not in fitting]:
        lines.append(f"{len(rest)} stay random, the first being {rest[0]}.")
    return lines


def _renamed(name: str, own: Mapping[str, Tensor]) -> str:
    for theirs, ours in _NAMES:
        if name not in own and name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _new_projections(backbone: nn.Module, copied: Mapping[str, Tensor]) -> list[tuple[str, nn.Sequential]]:
    return [
        (name, module)
        for name, module in backbone.named_modules()
        if name.endswith("downsample") and isinstance(module, nn.Sequential) and f"{name}.0.weight" not in copied
    ]


def _as_identity(projection: nn.Sequential) -> bool:
    convolution, normalisation = projection[0], projection[1]
    if not (isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)):
        return False
    if convolution.in_channels != convolution.out_channels or convolution.stride != (1, 1):
        return False
    nn.init.dirac_(convolution.weight)
    # What a normalisation with statistics of 0 and 1 divides by.
    nn.init.constant_(normalisation.weight, (1.0 + normalisation.eps) ** 0.5)
    nn.init.zeros_(normalisation.bias)
    return True
