"""Starting a detector from weights that are there: of another detector, or of a classifier."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from xraycls.errors import WeightsError
from xraycls.models.build import under
from xraycls.models.detection.base import Detector
from xraycls.models.files import kind_of, read_metadata
from xraycls.models.weight_files import read_weights

logger = logging.getLogger(__name__)

_Normalization = tuple[tuple[float, ...], tuple[float, ...]]

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of red, green and blue, by which classifiers are fed whose file says nothing else."""

# What torchvision and timm call the parts of a network, and what a backbone here calls them.
_NAMES = (("features.", "network."), ("stages.", "stages_"), ("blocks.", "blocks_"))


def is_classifier(path: Path) -> bool:
    """Whether a file holds weights that are no detector's: torch's own files, and safetensors of other programs."""
    if path.suffix in (".pth", ".pt", ".bin"):
        return True
    metadata = read_metadata(path)  # None: encrypted, or a file of TAO; what opens models says so
    return metadata is not None and kind_of(metadata) != "detector"


def transfer_classifier(detector: Detector, path: Path) -> list[str]:
    """Copy the weights of a classifier, such as torchvision's of ImageNet, into the backbone, by name.

    Of Faster R-CNN the layers that look at regions count as the backbone's, too.

    The first convolution of a backbone for grey pictures takes the sum over colours, that of another one the colours in
    its own order. The first statistics, or the first kernels where there are none, are brought from what the classifier
    sees to what the detector does: grey levels of 0–255 less a mean of each colour, unless it divides them. Projections
    that only TAO's residual networks have start as the identity where they can. So the network computes what it has
    learnt, with frozen statistics (``freeze_bn``), too.

    Args:
        detector: to change.
        path: a file of weights.

    Returns:
        Sentences for the log.

    Raises:
        WeightsError: the file can't be read, or nothing of it fits.
    """
    parts = detector.extractors
    own = {name: tensor for part in parts for name, tensor in part.state_dict().items()}
    file = read_weights(path)
    source = {_renamed(name, own, detector.known_as): tensor for name, tensor in file.tensors.items()}
    _fit_first_layer(detector, source, file.normalization or _IMAGENET)
    copied = {name: tensor for name, tensor in source.items() if name in own and own[name].shape == tensor.shape}
    if not copied:
        raise WeightsError(
            f"Nothing in {path} has the name and the shape of a tensor of the backbone {detector.config.backbone}",
            "Give torchvision's or timm's weights of the same network, or begin without weights",
        )
    for part in parts:
        part.load_state_dict(copied, strict=False)
    with torch.no_grad():
        projections = [found for part in parts for found in _new_projections(part, copied)]
        made = tuple(name for name, module in projections if _as_identity(module))
    lacking = [n for n in own if n not in copied and "num_batches" not in n and not under(n, made)]
    lines = [f"{len(copied)} of {len(own)} tensors of the backbone come from {path}."]
    if made:
        lines.append(f"{len(made)} projections that {path.name} doesn't have start as the identity.")
    if lacking:
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


def _renamed(name: str, own: Mapping[str, Tensor], known_as: Mapping[str, str]) -> str:
    layer, _, tensor = name.rpartition(".")
    if layer in known_as:
        return f"{known_as[layer]}.{tensor}"
    for theirs, ours in _NAMES:
        if name not in own and name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _fit_first_layer(detector: Detector, source: dict[str, Tensor], normalization: _Normalization) -> None:
    """Let the first convolution give for the detector's input what it gave for the classifier's.

    It gives the classifier's values times one factor, less what the difference of the means makes, and the first
    normalisation, whose statistics are changed alike, takes both off. Without one, kernels and bias take them in.

    Args:
        detector: to be changed later.
        source: the classifier's tensors by the backbone's names; some are replaced.
        normalization: mean and deviation of what the classifier sees, of pixels in 0–1, red, green and blue or grey.
    """
    modules = dict(detector.extractors[0].named_modules())
    first = next(name for name, module in modules.items() if isinstance(module, nn.Conv2d))
    norm = next((name for name, module in modules.items() if isinstance(module, nn.BatchNorm2d)), None)
    kernels = source.get(f"{first}.weight")
    mean, std = (255 * torch.tensor(values).view(1, -1, 1, 1) for values in normalization)
    if kernels is None or kernels.ndim != 4:
        return
    if kernels.shape[1] != mean.shape[1]:
        mean, std = mean.mean(dim=1, keepdim=True), std.mean(dim=1, keepdim=True)
    if detector.channel_order == "bgr":
        kernels, mean, std = kernels.flip(1), mean.flip(1), std.flip(1)
    shift = (kernels * (detector.zero.cpu().float() - mean) / std).sum(dim=(1, 2, 3))
    factor = float(std.mean()) / detector.unit if norm else 1.0
    kernels = kernels * (factor * detector.unit / std)
    source[f"{first}.weight"] = kernels.sum(dim=1, keepdim=True) if detector.mean.shape[1] == 1 else kernels
    changes: dict[str, Callable[[Tensor], Tensor]] = {f"{first}.bias": lambda bias: factor * bias}
    if norm:
        changes[f"{norm}.running_mean"] = lambda middle: factor * (middle - shift)
        changes[f"{norm}.running_var"] = lambda variance: factor**2 * variance
    else:
        changes[f"{first}.bias"] = lambda bias: bias + shift
    for name, changed in changes.items():
        if name in source and source[name].shape == shift.shape:
            source[name] = changed(source[name])


def _new_projections(backbone: nn.Module, copied: Mapping[str, Tensor]) -> list[tuple[str, nn.Module]]:
    """The shortcuts that only TAO's networks have a convolution in."""
    return [
        (name, module)
        for name, module in backbone.named_modules()
        if name.endswith(("downsample", "projection")) and not any(under(tensor, (name,)) for tensor in copied)
    ]


def _as_identity(projection: nn.Module) -> bool:
    """Let a convolution, or one with batch normalisation, change no value; whether that is possible.

    One of stride 2 takes every second pixel: it stands where a classifier pools.
    """
    convolution, *normalisation = projection if isinstance(projection, nn.Sequential) else [projection]
    if not isinstance(convolution, nn.Conv2d) or convolution.in_channels != convolution.out_channels:
        return False
    nn.init.dirac_(convolution.weight)
    for module in normalisation:
        if isinstance(module, nn.BatchNorm2d):  # its weight is what it divides by, with statistics of 0 and 1
            nn.init.constant_(module.weight, (1.0 + module.eps) ** 0.5)
            nn.init.zeros_(module.bias)
    return True
