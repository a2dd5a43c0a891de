"""Whether a picture is like those that a network was trained on: Mahalanobis distances at several depths.

At a depth of the network the channels of its map are averaged over all positions, and a Gaussian is fitted to these
features of the training pictures (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
Adversarial Attacks", NeurIPS 2018, who add up the scores of several depths). Which depth tells most depends on what is
wrong with a picture, so none is left out (Anthony and Kamnitsas, "On the use of Mahalanobis distance for
out-of-distribution detection with neural networks for medical imaging", UNSURE 2023, on chest radiographs). Logarithms
of the distances are added, each standardised on the validation pictures, so that all depths count alike.

The covariance is that of probabilistic PCA (Tipping and Bishop, J. R. Stat. Soc. B 1999): the largest variances as they
are, and their mean for all others. It is sound with fewer pictures than channels, and takes little room.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from xraycls.errors import RunError
from xraycls.models.build import under
from xraycls.models.classifier import Classifier

Floats = npt.NDArray[np.floating[Any]]

OOD_KEY = "ood_check"
"""Under which the check stands in the text of a weights file."""

FALSE_ALARMS = 0.01
"""Share of the validation pictures beyond the threshold."""

_DEPTHS = 4
_COMPONENTS = 32
_NEAREST = 1e-12  # squared distance, whose logarithm is a number
_FARTHEST = 100.0  # whose exponential is one


@dataclass(frozen=True, slots=True)
class Gaussian:
    """The features of the training pictures at one depth.

    Attributes:
        mean: float32 [D].
        axes: float32 [k, D], the directions of the largest variances, orthonormal.
        variances: float32 [k + 1], along the axes, and last that along every other direction.
    """

    mean: Floats
    axes: Floats
    variances: Floats

    @classmethod
    def fit(cls, features: Floats, components: int = _COMPONENTS) -> Gaussian:
        """Returns the Gaussian of features [n, D], of at most so many components."""
        mean = features.mean(axis=0, dtype=np.float64)
        apart = features - mean
        variances, axes = np.linalg.eigh(apart.T @ apart / max(len(features) - 1, 1))  # rising
        kept = min(components, len(mean) - 1, len(features) - 1)
        largest = slice(None, -kept - 1, -1)
        rest = variances[: len(mean) - kept].mean()
        least = max(float(variances[-1]) * 1e-6, 1e-12)  # channels that never change must not divide by zero
        floored = np.maximum(np.append(variances[largest], rest), least)
        return cls(mean.astype(np.float32), axes.T[largest].astype(np.float32), floored.astype(np.float32))

    def log_distances(self, features: Floats) -> Floats:
        """Returns the logarithms of the Mahalanobis distances of features [n, D] from the mean, float64 [n]."""
        apart = features.astype(np.float64) - self.mean
        along = apart @ self.axes.T.astype(np.float64)
        beside = np.maximum((apart**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared: Floats = (along**2 / self.variances[:-1]).sum(axis=1) + beside / self.variances[-1]
        return 0.5 * np.log(np.maximum(squared, _NEAREST))


@dataclass(frozen=True, slots=True)
class OODCheck:
    """What tells pictures that are unlike the training data; it travels with the weights as text.

    Attributes:
        layers: module paths of the network, one a depth.
        gaussians: of the features at each.
        centres: mean of the distances' logarithms over the validation pictures, at each depth.
        spreads: their standard deviation.
        threshold: of the mean over the depths of these logarithms, standardised.
    """

    layers: tuple[str, ...]
    gaussians: tuple[Gaussian, ...]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    threshold: float

    def distances(self, features: Sequence[Floats]) -> Floats:
        """Returns how far pictures are from the training data, float64 [n]; above 1 they are unlike it.

        Args:
            features: [n, D] of each depth.

        Raises:
            RunError: the features are those of another network.
        """
        if [each.shape[1] for each in features] != [len(each.mean) for each in self.gaussians]:
            raise RunError("The check for unlike pictures is that of another network", "Leave it out: --no-ood-check")
        apart = [gaussian.log_distances(each) for gaussian, each in zip(self.gaussians, features, strict=True)]
        beyond: Floats = np.minimum(_together(apart, self.centres, self.spreads) - self.threshold, _FARTHEST)
        return np.exp(beyond)

    def to_text(self) -> str:
        """Returns the check as text, the same for the same check."""
        arrays = {
            f"{depth}.{name}": np.ascontiguousarray(getattr(gaussian, name))  # strides are not written
            for depth, gaussian in enumerate(self.gaussians)
            for name in ("mean", "axes", "variances")
        }
        packed = base64.b64encode(safetensors.numpy.save(arrays)).decode("ascii")
        scale = {"centres": self.centres, "spreads": self.spreads, "threshold": self.threshold}
        return json.dumps({"layers": self.layers, **scale, "arrays": packed})

    @classmethod
    def parse(cls, text: str) -> OODCheck:
        """Returns the check that :meth:`to_text` wrote; raises ValueError, TypeError or LookupError for other text."""
        entries = json.loads(text)
        layers, threshold = tuple(map(str, entries["layers"])), float(entries["threshold"])
        centres, spreads = (tuple(map(float, entries[name])) for name in ("centres", "spreads"))
        try:
            arrays = safetensors.numpy.load(base64.b64decode(entries["arrays"], validate=True))
        except safetensors.SafetensorError as error:
            raise ValueError(str(error)) from error
        gaussians = []
        for depth in range(len(layers)):
            mean, axes, variances = (arrays[f"{depth}.{name}"] for name in ("mean", "axes", "variances"))
            if mean.ndim != 1 or axes.shape[1:] != mean.shape or variances.shape != (len(axes) + 1,):
                raise ValueError(f"the arrays of {layers[depth]} don't fit together")
            if not all(np.isfinite(each).all() for each in (mean, axes, variances)) or variances.min() <= 0:
                raise ValueError(f"the arrays of {layers[depth]} hold no distribution")
            gaussians.append(Gaussian(mean, axes, variances))
        if not layers or not len(layers) == len(centres) == len(spreads) or not all(each > 0 for each in spreads):
            raise ValueError("its layers and numbers don't fit together")
        if not all(map(math.isfinite, (*centres, *spreads, threshold))):
            raise ValueError("its numbers are none")
        return cls(layers, tuple(gaussians), centres, spreads, threshold)


def fit_check(layers: Sequence[str], training: Sequence[Floats], validation: Sequence[Floats]) -> OODCheck:
    """Returns a check that marks about 1 % of pictures like those of validation.

    Args:
        layers: module paths, one a depth.
        training: features [n, D] of the training pictures at each depth.
        validation: likewise of the validation pictures.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> check = fit_check(["layer4"], [random.normal(size=(500, 8))], [random.normal(size=(200, 8))])
        >>> bool(check.distances([np.zeros((1, 8))])[0] < 1 < check.distances([np.full((1, 8), 5.0)])[0])
        True
    """
    gaussians = tuple(Gaussian.fit(each) for each in training)
    apart = [gaussian.log_distances(each) for gaussian, each in zip(gaussians, validation, strict=True)]
    centres = tuple(float(each.mean()) for each in apart)
    spreads = tuple(max(float(each.std()), 1e-3) for each in apart)
    threshold = _threshold(_together(apart, centres, spreads))
    return OODCheck(tuple(layers), gaussians, centres, spreads, threshold)


def _together(apart: Sequence[Floats], centres: Sequence[float], spreads: Sequence[float]) -> Floats:
    """The mean over the depths of logarithms of distances [n], standardised."""
    parts = zip(apart, centres, spreads, strict=True)
    together: Floats = np.mean([(each - centre) / spread for each, centre, spread in parts], axis=0)
    return together


def _threshold(scores: Floats) -> float:
    """What 1 % of pictures like these exceed; of fewer than 99, the largest.

    The order statistic of conformal prediction (Vovk et al. 2005), which allows for the few pictures it is taken from.
    """
    rank = min(math.ceil((len(scores) + 1) * (1 - FALSE_ALARMS)), len(scores))
    return float(np.sort(scores)[rank - 1])


def feature_layers(classifier: Classifier) -> tuple[str, ...]:
    """Returns the layers whose features are looked at: the last one of each resolution, of the deepest four.

    Networks that keep to one resolution, such as transformers, are looked at where their head begins, too.

    Args:
        classifier: in evaluation mode.
    """
    last: dict[int, str] = {}

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
            last.pop(output.shape[2], None)
            last[output.shape[2]] = name

    section = classifier.head.partition(".")[0]
    hooks = [
        module.register_forward_hook(partial(note, name))
        for name, module in classifier.net.named_modules()
        if name and not under(name, (section,))
    ]
    size, device = classifier.size, classifier.scale.device
    with _removed(hooks), torch.inference_mode():
        classifier(torch.zeros(1, 1, size, size, dtype=torch.uint8, device=device))
    head = (classifier.head,) if len(last) < 2 else ()
    return (*tuple(last.values())[-_DEPTHS:], *head)


@contextmanager
def pooled_features(classifier: Classifier, layers: Sequence[str]) -> Iterator[Mapping[str, torch.Tensor]]:
    """Yields what layers gave in the last forward pass inside the block, by name: [B, D], averaged over positions.

    Of the head it is what goes in.
    """
    found: dict[str, torch.Tensor] = {}

    def keep(name: str, features: torch.Tensor) -> None:
        found[name] = features.float().flatten(2).mean(2) if features.ndim > 2 else features.float()

    def output_of(name: str, module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        keep(name, output)

    def input_of(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        keep(classifier.head, inputs[0])

    def hook(name: str) -> RemovableHandle:
        module = classifier.net.get_submodule(name)
        if name == classifier.head:
            return module.register_forward_pre_hook(input_of)
        return module.register_forward_hook(partial(output_of, name))

    with _removed([hook(name) for name in layers]):
        yield found


@contextmanager
def _removed(hooks: Sequence[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end of a block."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
