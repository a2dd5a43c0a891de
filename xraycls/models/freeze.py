"""Keeping the first part of a network as its weights came."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import nn

from xraycls.errors import UsageError, unknown
from xraycls.models.build import under
from xraycls.models.zoo import Stages

if TYPE_CHECKING:
    from xraycls.models.classifier import Classifier

_EXPANDED = (
    "features",
    "stages",
    "encoder",
    "layers",
    "blocks",
    "trunk_output",
)  # containers whose children are stages


def freeze(classifier: Classifier, what: str | int) -> None:
    """Freeze a part of the network; the head is trained always, and parts frozen before are thawed first.

    Batch normalisation of a frozen part keeps its statistics, also in training mode (:meth:`Classifier.train`).

    Stages are counted from the input: for a ResNet the stem (conv1, bn1) and layer1 to layer4; for AlexNet and the
    VGGs the convolutions (of a VGG a block each) and the two hidden linear layers; for GoogLeNet and Inception the
    groups that their papers number; for a network of timm its own groups; for others the top-level modules.

    Args:
        what: "none"; "backbone" for everything but the head, auxiliary heads included; or the number of stages.

    Raises:
        UsageError: it is none of these, or there are not that many stages.
    """
    names: tuple[str, ...]
    if what == "none":
        names = ()
    elif what == "backbone":
        names = tuple(name for name, _ in classifier.net.named_parameters())
    elif isinstance(what, int) or re.fullmatch(r"-?\d+", what):
        names = _first_stages(classifier, int(what))
    else:
        raise unknown("part to freeze", what, ("backbone", "none", "N (a number of stages)"), "--freeze")
    for name, parameter in classifier.net.named_parameters():
        parameter.requires_grad_(not under(name, names) or under(name, (classifier.head,)))
    classifier.train(classifier.training)


def stages(classifier: Classifier) -> Stages:
    """The stages that :func:`freeze` counts: module paths or names of parameters, from the input to the head."""
    net, architecture = classifier.net, classifier.architecture
    if architecture.stages:
        return architecture.stages
    heads = (classifier.head, *architecture.auxiliary)
    groups = _timm_groups(net) if hasattr(net, "group_matcher") else _children(net, classifier.head)
    kept = (tuple(name for name in group if not under(name, heads)) for group in groups)
    return tuple(group for group in kept if group)


def _first_stages(classifier: Classifier, count: int) -> tuple[str, ...]:
    every = stages(classifier)
    if not 0 <= count <= len(every):
        listed = ", ".join(f"{number} {group[0]}" for number, group in enumerate(every, 1))
        raise UsageError(
            f"--freeze {count} is not a number of stages of {classifier.architecture.name}",
            f"It has {len(every)}, named here by their first module: {listed}",
        )
    return tuple(name for group in every[:count] for name in group)


def _timm_groups(net: Any) -> Stages:
    from timm.models import group_parameters

    return tuple(tuple(names) for names in group_parameters(net, net.group_matcher(coarse=True)).values())


def _children(net: nn.Module, head: str, parent: str = "") -> Stages:
    """Top-level modules that hold parameters; of plain containers, and of what holds the head, those inside."""
    found: list[tuple[str, ...]] = []
    for name, child in net.named_children():
        path = parent + name
        if name in _EXPANDED or head.startswith(f"{path}."):
            found += _children(child, head, f"{path}.")
        elif any(True for _ in child.parameters()):
            found.append((path,))
    return tuple(found)
