"""The U-Net of the first pipelines for RSNA's challenge: its layers, what it learns from, and its files."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xraycls.errors import UsageError, WeightsError
from xraycls.models.detection.base import DetectorConfig, Raw, Suppression
from xraycls.models.detection.map_boxes import BoxRule
from xraycls.models.detection.map_detector import MapDetector
from xraycls.models.detection.unet_loss import merged
from xraycls.models.weight_files import read_checkpoint
from xraycls.types import Objects

logger = logging.getLogger(__name__)

SUFFIX = ".pth.tar"
"""What the names of its files end with."""

_DOWN = ((1, 64), (64, 128), (128, 256), (256, 512), (512, 512))
# Of each step up, from the coarsest: channels below, of the transposed convolution and of the two blocks.
_UP = (
    (512, 256, (512, 512)),
    (512, 256, (512, 512)),
    (512, 128, (256, 256)),
    (256, 64, (128, 128)),
    (128, 32, (64, 1)),
)
_MULTIPLE = 32  # what the sides of the input are divided by
_SEARCHED = tuple(round(0.01 * step, 2) for step in range(1, 60))
_RADIUS = 4.0  # standard deviations that a Gaussian kernel reaches


@dataclass(frozen=True, kw_only=True)
class OriginalUNetConfig(DetectorConfig):
    """A U-Net of 30,971,235 parameters that gives one probability a pixel.

    Attributes:
        bn_momentum: share of the last batch in running statistics, 0–1.
        bn_eps: of batch normalisation.
        slope: of LeakyReLU below zero.
        warp: strength of the elastic warp of training films, in sides; 0 for none.
        smoothness: standard deviation of the warp's field, in sides.
        search: whether the thresholds of masks and scores are chosen on validation when a training ends.
        boxes: how maps become boxes.
    """

    network: str = "unet_original"
    backbone: str = "original"
    height: int = 256
    width: int = 256
    mean: tuple[float, ...] = (0.0,)
    suppression: Suppression = field(default=Suppression(confidence=0.0, iou=1.0, top_k=100))
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    slope: float = 0.03
    warp: float = 2.0
    smoothness: float = 0.1
    search: bool = False
    boxes: BoxRule = field(default=BoxRule(threshold=0.2, connectivity=8, tail=0.0, score=0.0))

    @property
    def reported(self) -> float:
        """Without a search every region is reported, whatever its score."""
        return self.boxes.score

    def reported_from(self, score: float) -> Self:
        """Returns the same configuration with another score from which boxes are reported."""
        return replace(self, boxes=replace(self.boxes, score=score))

    @property
    def learns_masks(self) -> bool:
        """Outlines are learnt as they were drawn; where there is none, its box."""
        return True

    def architecture(self) -> dict[str, Any]:
        """What the weights depend on, which reading boxes from maps is no part of."""
        left_out = ("boxes", "search", "warp", "smoothness", "bn_momentum")
        return {name: value for name, value in super().architecture().items() if name not in left_out}

    def candidates(self, objects: int) -> Sequence[Self]:
        """The thresholds 0.01 to 0.59, where a search is asked for."""
        if not self.search:
            return ()
        return tuple(replace(self, boxes=replace(self.boxes, threshold=each)) for each in _SEARCHED)

    @classmethod
    def training_defaults(cls) -> dict[str, Any]:
        """Two epochs of Adam at 0.5, halved after each; films are turned a little and warped."""
        unchanged = {"flip": 0.0, "zoom": 0.0, "shift": 0.0, "gamma": 0.0, "contrast": 0.0, "brightness": 0.0}
        return {
            "recipe": {"kind": "unet", "degrees": 3.0, **unchanged},
            "optimizer": {"name": "adam", "options": {"eps": 1e-8}},
            "rate": {"kind": "schedule", "name": "step", "base": 0.5, "step_epochs": 1, "step_factor": 0.5},
            "loop": {"epochs": 2, "seed": 42, "monitor": "loss"},
        }


class OriginalUNetDetector(MapDetector):
    """The U-Net that many pipelines for RSNA's challenge began with.

    The elastic warp draws a field for every film and moves its mask alike.
    """

    config: OriginalUNetConfig
    net: OriginalUNet

    def __init__(self, config: OriginalUNetConfig) -> None:
        if config.height % _MULTIPLE or config.width % _MULTIPLE:
            raise UsageError(
                f"The original U-Net takes sides of multiples of {_MULTIPLE}, not {config.width} × {config.height}"
            )
        if config.backbone != "original":
            raise UsageError(f"The original U-Net has no backbone {config.backbone}", "Leave out the backbone")
        super().__init__(config)
        self.blocks, self.known_as = {}, {}
        self.net = OriginalUNet(len(config.classes), config.bn_eps, config.bn_momentum, config.slope)

    def forward(self, images: Tensor) -> Raw:
        """Logits [B, classes, H, W] of every pixel."""
        return (self.net(self.normalized(images)),)

    def normalized(self, images: Tensor) -> Tensor:
        """Grey levels of each film from its darkest pixel, 0, to its brightest, 1."""
        grey = images.to(self.mean.dtype)
        low, high = grey.amin(dim=(1, 2, 3), keepdim=True), grey.amax(dim=(1, 2, 3), keepdim=True)
        return (grey - low) / (high - low).clamp_min(1.0)

    def loss(self, images: Tensor, objects: Objects, weights: Tensor) -> dict[str, Tensor]:
        """Binary cross-entropy of every pixel, of films and masks that are warped alike in training."""
        masks = self._masks(objects, images.shape[0])
        grey = images.to(self.mean.dtype)
        if self.training and self.config.warp:
            grid = warp_grid(grey, self.config.warp, self.config.smoothness)
            grey = F.grid_sample(grey, grid, padding_mode="border", align_corners=False)
            masks = F.grid_sample(masks, grid, align_corners=False)
        return _mask_loss(self.net(self.normalized(grey)), masks, weights)

    def criterion(self, raw: Raw, objects: Objects, weights: Tensor) -> dict[str, Tensor]:
        """The loss "mask", a mean over pixels and films."""
        return _mask_loss(raw[0], self._masks(objects, raw[0].shape[0]), weights)

    @property
    def rule(self) -> BoxRule:
        """How the mask becomes boxes: one around every region of pixels above the threshold."""
        return self.config.boxes

    def probability_maps(self, raw: Raw) -> Raw:
        """Probabilities of masks [B, classes, H, W], and the largest of each [B, classes]."""
        mask = raw[0].float().sigmoid()
        return mask, mask.amax(dim=(2, 3))

    @property
    def layer_names(self) -> Mapping[str, str]:
        """The paths of its layers."""
        layers = dict(self.net.named_modules())
        return {path: path for path, layer in layers.items() if next(layer.parameters(recurse=False), None) is not None}

    def _masks(self, objects: Objects, count: int) -> Tensor:
        """Filled boxes with corners on whole pixels, or the masks of objects that have some: [B, classes, H, W]."""
        config = self.config
        shape = torch.Size((count, len(config.classes), config.height, config.width))
        if objects.masks is not None:
            return merged(objects.masks.float() / 255, objects, shape)
        masks = torch.zeros(shape, device=objects.boxes.device)
        corners = objects.boxes.round().long()
        for row, label, (left, top, right, bottom) in zip(
            objects.owners.tolist(), objects.labels.tolist(), corners.tolist(), strict=True
        ):
            masks[row, label, max(top, 0) : bottom, max(left, 0) : right] = 1.0
        return masks


class OriginalUNet(nn.Module):
    """The layers: five steps down, two blocks in the middle, five steps up with what was skipped.

    Args:
        classes: of objects; with one it has 30,971,235 parameters.
        eps: of batch normalisation.
        momentum: of its running statistics.
        slope: of LeakyReLU.
    """

    def __init__(self, classes: int, eps: float, momentum: float, slope: float) -> None:
        super().__init__()
        norm = {"eps": eps, "momentum": momentum, "slope": slope}
        self.backbone = _Encoder(norm)
        for number, (below, across, (first, last)) in zip(range(5, 0, -1), _UP, strict=True):
            skip = _DOWN[number - 1][1]
            name = "middle_t" if number == 5 else f"up_{number + 1}_t"
            self.add_module(name, _Unit(nn.ConvTranspose2d(below, across, 3, 2, 1, output_padding=1), across, **norm))
            outputs = last if number > 1 else classes
            self.add_module(f"up_{number}", _pair(skip + across, first, outputs, norm))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits [B, classes, H, W] of films [B, 1, H, W] of 0–1."""
        maps: list[Tensor] = self.backbone(images)
        *skips, deepest = maps
        features: Tensor = deepest
        for number, skip in zip(range(5, 0, -1), reversed(skips), strict=True):
            raised = self.get_submodule("middle_t" if number == 5 else f"up_{number + 1}_t")(features)
            features = self.get_submodule(f"up_{number}")(torch.cat([skip, raised], dim=1))
        return features


class _Encoder(nn.Module):
    def __init__(self, norm: Mapping[str, float]) -> None:
        super().__init__()
        for number, (inputs, outputs) in enumerate(_DOWN, start=1):
            self.add_module(f"down_{number}", _pair(inputs, outputs, outputs, norm))
        self.middle = _pair(512, 512, 512, norm)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for number in range(1, len(_DOWN) + 1):
            images = self.get_submodule(f"down_{number}")(images)
            maps.append(images)
            images = F.max_pool2d(images, 2)
        return [*maps, self.middle(images)]


class _Unit(nn.Module):
    """Convolution or transposed convolution, batch normalisation, LeakyReLU."""

    def __init__(
        self, layer: nn.Conv2d | nn.ConvTranspose2d, channels: int, eps: float, momentum: float, slope: float
    ) -> None:
        super().__init__()
        self.add_module("conv" if isinstance(layer, nn.Conv2d) else "conv_t", layer)
        self.bn = nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
        self.slope = slope

    def forward(self, images: Tensor) -> Tensor:
        layer = next(self.children())
        return F.leaky_relu(self.bn(layer(images)), self.slope)


def _pair(inputs: int, first: int, last: int, norm: Mapping[str, float]) -> nn.Sequential:
    return nn.Sequential(
        _Unit(nn.Conv2d(inputs, first, 3, padding=1), first, **norm),
        _Unit(nn.Conv2d(first, last, 3, padding=1), last, **norm),
    )


def warp_grid(images: Tensor, strength: float, smoothness: float) -> Tensor:
    """Returns where every pixel of a warped film comes from: a smooth random field a film (Simard et al. 2003).

    Args:
        images: [B, 1, H, W].
        strength: factor of the smoothed field, in sides.
        smoothness: standard deviation of the Gaussian that smooths it, in sides.

    Returns:
        [B, H, W, 2], as :func:`torch.nn.functional.grid_sample` takes it; drawn from torch's generator.
    """
    count, _, height, width = images.shape
    field = torch.rand(count, 2, height, width, device=images.device) * 2 - 1
    for dimension, side in ((2, height), (3, width)):
        sigma = smoothness * side
        reach = min(int(_RADIUS * sigma + 0.5), side - 1)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / sigma) ** 2)
        shape = [2, 1, 1, 1]
        shape[dimension] = -1
        padding = (0, 0, reach, reach) if dimension == 2 else (reach, reach, 0, 0)
        weight = (kernel / kernel.sum()).view([1 if s == 2 else s for s in shape]).expand(2, -1, -1, -1)
        field = F.conv2d(F.pad(field, padding, mode="reflect"), weight, groups=2)
    base = F.affine_grid(torch.eye(2, 3, device=images.device).expand(count, 2, 3), [count, 1, height, width], False)
    sides = torch.tensor([width, height], device=images.device)
    return base + field.permute(0, 2, 3, 1) * strength * sides / (sides / 2)


def _mask_loss(logits: Tensor, masks: Tensor, weights: Tensor) -> dict[str, Tensor]:
    each = F.binary_cross_entropy_with_logits(logits.float(), masks, reduction="none").mean(dim=(1, 2, 3))
    return {"mask": (each * weights).sum() / weights.sum().clamp_min(1.0)}


def read_original(path: Path) -> OriginalUNetDetector:
    """Returns the network of a checkpoint of the original pipeline, in evaluation mode.

    The file says nothing of the slope and the epsilon that it was trained with: those are the defaults.

    Raises:
        WeightsError: it can't be read without running code, or holds another network.
    """
    content = read_checkpoint(path)
    tensors = content.get("state_dict", {}) if isinstance(content, Mapping) else {}
    threshold = content.get("best_threshold") if isinstance(content, Mapping) else None
    config = OriginalUNetConfig(classes=("Lung Opacity",))
    if threshold is not None and math.isfinite(float(threshold)):
        config = replace(config, boxes=replace(config.boxes, threshold=float(threshold)))
    detector = OriginalUNetDetector(config)
    ours = {_named(name): tensor for name, tensor in tensors.items()}
    try:
        detector.net.load_state_dict(ours)
    except RuntimeError as error:
        raise WeightsError(f"{path} holds no U-Net of the original pipeline", "Give its final.pth.tar") from error
    return detector.eval()


def write_original(detector: OriginalUNetDetector, path: Path) -> None:
    """Write a checkpoint as the original pipeline reads it: ``best_threshold`` and ``state_dict``."""
    tensors = {name.removeprefix("backbone."): tensor.cpu() for name, tensor in detector.net.state_dict().items()}
    torch.save({"best_threshold": detector.config.boxes.threshold, "state_dict": tensors}, path)


def _named(name: str) -> str:
    name = name.removeprefix("module.")
    return f"backbone.{name}" if name.startswith(("down_", "middle.")) else name
