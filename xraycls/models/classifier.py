"""The classifier: a network that takes grey levels, knows its classes, and is saved as one file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from xraycls.errors import RunError, UsageError
from xraycls.models.build import Undrawn, build_net, head_name
from xraycls.models.encryption import is_encrypted
from xraycls.models.files import (
    METADATA_KEY,
    ModelFile,
    explained_damage,
    foreign_format,
    kind_of,
    read_metadata,
    read_model,
    write_model,
)
from xraycls.models.freeze import freeze as freeze_part
from xraycls.models.pruning_plan import PrunePlan, apply_plan, plan_between
from xraycls.models.quantization import plan_of
from xraycls.models.weights import WeightsReport, load_weights
from xraycls.models.zoo import Architecture, Channels, find

logger = logging.getLogger(__name__)

_FOR_DETECTORS = "Detectors are for xraycls detector evaluate, detector detect and detector prune"


class Classifier(nn.Module):
    """A network from images of grey levels to one logit a class.

    Attributes:
        net: the network; its weights have the names that torchvision or timm give them, so they load elsewhere.
        architecture: what it was built from.
        classes: class names, in the order of the logits.
        size: side of the square input in pixels.
        head: module path of the last layer in ``net``.
        plan: how much narrower ``net`` is than its architecture; None unless it was pruned.
        multi_label: whether ``classes`` are findings of which an image may show several, each with a sigmoid.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        net: nn.Module,
        architecture: Architecture,
        classes: Sequence[str],
        size: int | None = None,
        plan: PrunePlan | None = None,
        *,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        self.architecture = architecture
        self.classes = tuple(classes)
        self.size = architecture.input_size if size is None else size
        self.head = head_name(net, architecture)
        self.plan = plan
        self.multi_label = multi_label
        mean, std = _channels(architecture.mean), _channels(architecture.std)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """What the network itself takes: ``(images / 255 - mean) / std``, float [B, 3, S, S], or [B, 1, S, S] if grey.

        Args:
            images: uint8 [B, 1, S, S] of grey levels, which become as many equal channels as the network takes, or
                [B, 3, S, S] of RGB for a network of three.
        """
        channels = sorted({1, self.architecture.channels})
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in channels:
            wanted = " or ".join(f"[B, {count}, S, S]" for count in channels)
            raise ValueError(f"images must be uint8 {wanted}, not {images.dtype} {list(images.shape)}")
        return self.normalized(images)

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """:meth:`prepare` without its checks, of grey levels 0–255 of any number format."""
        return torch.addcmul(self.shift, images.to(self.scale.dtype), self.scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, C] of uint8 images, as :meth:`prepare` takes them."""
        return self.logits_and_auxiliary(images)[0]

    def logits_and_auxiliary(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Logits [B, C] and, in training mode, those of the auxiliary heads that are trained, [B, C] each.

        The loss is that of the logits plus ``architecture.auxiliary_weight`` times that of each auxiliary head.
        """
        output = self.net(self.prepare(images))
        if isinstance(output, torch.Tensor):
            return output, ()
        logits, *auxiliary = output
        return logits, tuple(a for a in auxiliary if a is not None and a.requires_grad)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """What logits [B, C] mean: 0–1 [B, C], summing to 1 a row unless ``multi_label``."""
        return logits.sigmoid() if self.multi_label else logits.softmax(1)

    @property
    def auxiliary_weight(self) -> float:
        """Factor of each auxiliary head's loss: 0.3 for GoogLeNet, 0.4 for Inception, 0 where there is none."""
        return self.architecture.auxiliary_weight

    def train(self, mode: bool = True) -> Classifier:
        """Set training mode, except for batch normalisation with frozen weights, which keeps its statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
                module.eval()
        return self


def build_classifier(
    name: str,
    classes: Sequence[str],
    *,
    weights: str | Path = "imagenet",
    freeze: str | int = "none",
    size: int | None = None,
    dropout: float | None = None,
    multi_label: bool = False,
    normalize: str | None = None,
) -> tuple[Classifier, WeightsReport]:
    """A classifier with a new head, in training mode, and the report of what it started from.

    Args:
        name: an architecture, as :func:`xraycls.models.zoo.find` knows it.
        classes: class names, two or more; or findings, one or more.
        weights: "imagenet", "none", a published name such as "xrv:densenet121-res224-nih", a repository of the hub as
            "hf-hub:OWNER/NAME", a file or a folder; see :func:`xraycls.models.weights.load_weights`.
            With those of a pruned classifier the network is as narrow.
        freeze: "none", "backbone" or a number of stages; see :func:`xraycls.models.freeze.freeze`.
        size: side of the square input in pixels; None for the architecture's own.
        dropout: probability of dropping a feature in front of the head; None leaves what the network has.
        multi_label: whether an image may show several of ``classes``.
        normalize: mean and deviation of pixels in 0–1 as "0.5307/0.2583"; None for the architecture's own.

    Raises:
        UsageError: unknown name, an impossible size, dropout, freeze, normalisation or list of classes.
        WeightsError: the weights can't be fetched or read, or don't fit.

    Example:
        >>> import torch, xraycls
        >>> classifier, report = xraycls.build_classifier("resnet18", ["NORMAL", "PNEUMONIA"], weights="none", size=64)
        >>> classifier(torch.zeros(3, 1, 64, 64, dtype=torch.uint8)).shape
        torch.Size([3, 2])
    """
    if len(classes) < (1 if multi_label else 2) or len(set(classes)) < len(classes):
        raise UsageError(f"A classifier needs two or more different classes, not {list(classes)}")
    architecture = find(name).fed(normalize)
    net = build_net(architecture, len(classes), size=size, dropout=dropout)
    report = load_weights(net, architecture, weights, classes=classes, multi_label=multi_label, size=size)
    classifier = Classifier(net, architecture, classes, size, report.plan, multi_label=multi_label)
    freeze_part(classifier, freeze)
    if classifier.size < architecture.auxiliary_size:
        logger.warning(
            "%s trains without its auxiliary head, which needs images of %d pixels.",
            architecture.name,
            architecture.auxiliary_size,
        )
    return classifier, report


def narrow_like(classifier: Classifier, state: Mapping[str, torch.Tensor]) -> None:
    """Make a freshly built classifier as narrow as another was, which may have been pruned.

    Args:
        classifier: changed in place.
        state: the other's state dict.
    """
    plan = plan_between(classifier.net, {name.removeprefix("net."): tensor for name, tensor in state.items()})
    if plan.layers:
        apply_plan(classifier.net, plan)
        classifier.plan = plan


def save_classifier(classifier: Classifier, path: Path, *, extra: Mapping[str, str] | None = None) -> None:
    """Write a classifier as one safetensors file, atomically; see :mod:`xraycls.models.files`.

    The tensors have torchvision's or timm's names. The description holds the input size, mean, std and CAM layer.

    Args:
        classifier: to write.
        path: the file.
        extra: more text to travel with the weights, such as the recipe and the operating threshold.
    """
    architecture = classifier.architecture
    model = ModelFile(
        kind="classifier",
        network=architecture.name,
        classes=classifier.classes,
        config={
            "input_size": classifier.size,
            "mean": architecture.mean,
            "std": architecture.std,
            "cam_layer": architecture.cam_layer,
            **({"multi_label": True} if classifier.multi_label else {}),
        },
        plan=classifier.plan or PrunePlan({}),
        tensors=classifier.net.state_dict(),
        extra=extra or {},
        quantization=plan_of(classifier.net),
    )
    write_model(model, path)


def load_classifier(path: Path) -> tuple[Classifier, dict[str, Any]]:
    """Read what :func:`save_classifier` wrote; nothing is fetched.

    Returns:
        The classifier on the CPU, in evaluation mode, and the metadata: the description's entries and ``extra``.

    Raises:
        RunError: there is no such file, it is damaged, or it isn't a classifier of ours.

    Example:
        >>> import xraycls
        >>> from pathlib import Path
        >>> classifier, metadata = xraycls.load_classifier(Path("runs/first/checkpoints/best.safetensors"))
        >>> classifier.classes, classifier.training, metadata["augment"]
        (('NORMAL', 'PNEUMONIA'), False, 'radiograph')
    """
    _check_is_classifier(path)
    model = read_model(path, "classifier")
    with explained_damage(path):
        classifier = _rebuilt(model)
    description = {"architecture": model.network, "classes": list(model.classes), **model.config}
    return classifier, {**model.extra, **description}


def _check_is_classifier(path: Path) -> None:
    """Raise RunError for what is something else, with the way out."""
    if not path.is_file():
        raise RunError(f"There is no checkpoint at {path}")
    metadata = read_metadata(path)
    if metadata is None:
        with path.open("rb") as file:
            start = file.read(8)
        if is_encrypted(start):
            raise RunError(f"{path} is a detector under a key and no classifier", _FOR_DETECTORS)
        if foreign := foreign_format(path, start):
            raise RunError(f"{path} is {foreign}, and can't be read", "Train a classifier anew with xraycls train")
        raise RunError(f"{path} is damaged or isn't a safetensors file")
    if METADATA_KEY not in metadata:
        raise RunError(
            f"{path} is not a classifier of xraycls",
            "To start training from the weights of another program, give the file to --weights",
        )
    if kind_of(metadata) == "detector":
        raise RunError(f"{path} is a detector and no classifier", _FOR_DETECTORS)


def _rebuilt(model: ModelFile) -> Classifier:
    config = model.config
    # What the weights were trained with counts, also where a later version of the table differs.
    architecture = replace(find(model.network), mean=tuple(config["mean"]), std=tuple(config["std"]))
    with Undrawn():
        net = build_net(architecture, len(model.classes), size=config["input_size"])
    model.fill(net)
    return Classifier(
        net,
        architecture,
        model.classes,
        config["input_size"],
        model.plan if model.plan.layers else None,
        multi_label=config.get("multi_label", False),
    ).eval()


def _channels(values: Channels) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
