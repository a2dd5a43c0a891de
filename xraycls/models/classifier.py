"""The classifier: a network that takes grey levels, knows its classes, and is saved as one file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from xraycls.data.files import atomic_write
from xraycls.errors import RunError, UsageError
from xraycls.models.build import build_net, head_name
from xraycls.models.encryption import is_encrypted
from xraycls.models.freeze import freeze as freeze_part
from xraycls.models.pruning_plan import PrunePlan, apply_plan, plan_between
from xraycls.models.weight_files import METADATA_KEY, foreign_format
from xraycls.models.weights import WeightsReport, load_weights
from xraycls.models.zoo import RGB, Architecture, find

logger = logging.getLogger(__name__)

FORMAT = 2
_UNPRUNED = 1  # the format of a file without a plan, which earlier versions read as well
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
    ) -> None:
        super().__init__()
        self.net = net
        self.architecture = architecture
        self.classes = tuple(classes)
        self.size = architecture.input_size if size is None else size
        self.head = head_name(net, architecture)
        self.plan = plan
        mean, std = _channels(architecture.mean), _channels(architecture.std)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """What the network itself takes: ``(images / 255 - mean) / std``, float [B, 3, S, S].

        Args:
            images: uint8 [B, 1, S, S] of grey levels, which become three equal channels, or [B, 3, S, S] of RGB.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"images must be uint8 [B, 1, S, S] or [B, 3, S, S], not {images.dtype} {list(images.shape)}"
            )
        return torch.addcmul(self.shift, images.to(self.scale.dtype), self.scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, C] of uint8 images [B, 1, S, S] or [B, 3, S, S]."""
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
) -> tuple[Classifier, WeightsReport]:
    """A classifier with a new head, in training mode, and the report of what it started from.

    Args:
        name: an architecture, as :func:`xraycls.models.zoo.find` knows it.
        classes: class names, two or more.
        weights: "imagenet", "none", a file or a run folder; see :func:`xraycls.models.weights.load_weights`. With
            those of a pruned classifier the network is as narrow.
        freeze: "none", "backbone" or a number of stages; see :func:`xraycls.models.freeze.freeze`.
        size: side of the square input in pixels; None for the architecture's own.
        dropout: probability of dropping a feature in front of the head; None leaves what the network has.

    Raises:
        UsageError: unknown name, an impossible size, dropout, freeze or list of classes.
        WeightsError: the weights can't be fetched or read, or don't fit.

    Example:
        >>> import torch, xraycls
        >>> classifier, report = xraycls.build_classifier("resnet18", ["NORMAL", "PNEUMONIA"], weights="none", size=64)
        >>> classifier(torch.zeros(3, 1, 64, 64, dtype=torch.uint8)).shape
        torch.Size([3, 2])
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise UsageError(f"A classifier needs two or more different classes, not {list(classes)}")
    architecture = find(name)
    net = build_net(architecture, len(classes), size=size, dropout=dropout)
    report = load_weights(net, architecture, weights, classes=classes, size=size)
    classifier = Classifier(net, architecture, classes, size, report.plan)
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
    """Write a classifier as one safetensors file, atomically.

    The tensors have torchvision's or timm's names. The metadata holds, under "xraycls", JSON with the format's
    version, architecture, classes, input size, mean, std and CAM layer, and of a pruned network its plan.

    Args:
        extra: more text to travel with the weights, such as the recipe and the operating threshold.
    """
    architecture = classifier.architecture
    description: dict[str, Any] = {
        "format": FORMAT if classifier.plan else _UNPRUNED,
        "architecture": architecture.name,
        "classes": classifier.classes,
        "input_size": classifier.size,
        "mean": architecture.mean,
        "std": architecture.std,
        "cam_layer": architecture.cam_layer,
    }
    if classifier.plan:
        description["pruned"] = dict(classifier.plan.layers)
    # Copies, because safetensors takes no tensors that share memory, as those of some networks of timm do.
    tensors = {name: t.clone(memory_format=torch.contiguous_format) for name, t in classifier.net.state_dict().items()}
    metadata = {**(extra or {}), METADATA_KEY: json.dumps(description, ensure_ascii=False)}
    with atomic_write(path) as temporary:
        # Serialised first, so that a full disk is an OSError of the write, which atomic_write explains.
        temporary.write_bytes(save(tensors, metadata))


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
    if not path.is_file():
        raise RunError(f"There is no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise _unreadable(path, error) from error
    if METADATA_KEY not in metadata:
        raise RunError(
            f"{path} is not a classifier of xraycls",
            "To start training from the weights of another program, give the file to --weights",
        )
    try:
        description = json.loads(metadata.pop(METADATA_KEY))
        if description.get("kind") == "detector":
            raise RunError(f"{path} is a detector and no classifier", _FOR_DETECTORS)
        if description["format"] > FORMAT:
            raise RunError(f"{path} was written by a newer xraycls", "Take the checkout of a newer version")
        classifier = _rebuild(description, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, UsageError) as error:
        raise RunError(f"{path} is damaged: its description and its tensors don't fit together ({error})") from error
    return classifier, {**metadata, **description}


def _unreadable(path: Path, error: SafetensorError) -> RunError:
    with path.open("rb") as file:
        start = file.read(8)
    if is_encrypted(start):
        return RunError(f"{path} is a detector under a key and no classifier", _FOR_DETECTORS)
    if foreign := foreign_format(path, start):
        return RunError(f"{path} is {foreign}, and can't be read", "Train a classifier anew with xraycls train")
    return RunError(f"{path} is damaged or isn't a safetensors file ({error})")


def _rebuild(description: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Classifier:
    # What the weights were trained with counts, also where a later version of the table differs.
    architecture = replace(
        find(description["architecture"]), mean=tuple(description["mean"]), std=tuple(description["std"])
    )
    net = build_net(architecture, len(description["classes"]), size=description["input_size"])
    plan = PrunePlan.parse(description["pruned"]) if "pruned" in description else None
    if plan:
        apply_plan(net, plan)
    state = net.state_dict()  # with the version numbers that some networks look for
    wrong = [n for n in state if n not in tensors or tensors[n].shape != state[n].shape] + list(tensors.keys() - state)
    if wrong:
        raise ValueError(f"{len(wrong)} tensors differ, the first is {wrong[0]}")
    state.update(tensors)
    net.load_state_dict(state)
    return Classifier(net, architecture, description["classes"], description["input_size"], plan).eval()


def _channels(values: RGB) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
