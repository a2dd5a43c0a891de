"""Tensors of other programs under the names and in the shapes that a network has them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import nn

Tensors = dict[str, torch.Tensor]

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # torchvision's files kept the names of 2017
_NUMBERED = re.compile(r"(.+)\.\d+\.(weight|bias)")
# Of a network that a file holds twice, the copy that lags behind.
_LAGGING = re.compile(r"encoder_k|momentum|target_|_m\.")


def aligned(tensors: Mapping[str, torch.Tensor], net: nn.Module) -> Tensors:
    """The tensors of a file as a network names and shapes them, as far as that can be told.

    Whatever wrapper added a prefix (``module.``, ``model.``, ``backbone.``, ``encoder_q.`` and so on), the one under
    which most of the network's names stand is taken off. Children by their number, as ``nn.Sequential`` names them, get
    their names; a head within a sequence (``classifier.0``) becomes the head. A first layer for grey pictures is spread
    over three equal channels, with the same outcome, and one for three is summed.

    Args:
        tensors: of a file, by name.
        net: the network.

    Returns:
        All of them; those that fit nowhere keep their names.
    """
    named = {_OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in tensors.items()}
    own = net.state_dict()
    found = _without_prefix(named, own)
    if children := _children_by_number(net):
        numbered = _without_prefix(named, {_numbered(name, children): name for name in own})
        renamed = {_named(name, children): tensor for name, tensor in numbered.items()}
        if _fitting(renamed, own) > _fitting(found, own):
            found = renamed
    found = _heads_in_sequences(found, own)
    return {name: _of_channels(tensor, own[name]) if name in own else tensor for name, tensor in found.items()}


def _fitting(names: Iterable[str], own: Mapping[str, object]) -> int:
    return sum(name in own for name in names)


def _without_prefix(tensors: Tensors, own: Mapping[str, object]) -> Tensors:
    """The tensors without the prefix under which most of a network's names stand."""
    prefixes: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for at in range(1, len(parts)):
            if ".".join(parts[at:]) in own:
                prefixes[".".join(parts[:at]) + "."] += 1
    plain = _fitting(tensors, own)
    ordered = sorted(prefixes, key=lambda prefix: (-prefixes[prefix], bool(_LAGGING.search(prefix)), len(prefix)))
    if not ordered or prefixes[ordered[0]] <= plain:
        return tensors
    prefix = ordered[0]
    stripped = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)} | stripped


def _children_by_number(net: nn.Module) -> list[str]:
    """Names of a network's children, unless they are numbers themselves."""
    names = [name for name, _ in net.named_children()]
    return [] if any(name.isdigit() for name in names) else names


def _numbered(name: str, children: list[str]) -> str:
    first, dot, rest = name.partition(".")
    return f"{children.index(first)}{dot}{rest}" if first in children else name


def _named(name: str, children: list[str]) -> str:
    first, dot, rest = name.partition(".")
    return f"{children[int(first)]}{dot}{rest}" if first.isdigit() and int(first) < len(children) else name


def _heads_in_sequences(tensors: Tensors, own: Mapping[str, object]) -> Tensors:
    """``classifier.0.weight`` as ``classifier.weight``, where the network has that and the file has it once."""
    becomes = {name: f"{match[1]}.{match[2]}" for name in tensors if (match := _NUMBERED.fullmatch(name))}
    counts = Counter(becomes.values())
    return {
        becomes[name]
        if name in becomes and name not in own and becomes[name] in own and counts[becomes[name]] == 1
        else name: tensor
        for name, tensor in tensors.items()
    }


def _of_channels(tensor: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """A convolution's kernel for as many input channels as the network feeds, all of them equal."""
    if tensor.ndim != 4 or own.ndim != 4 or tensor.shape == own.shape:
        return tensor
    same = (tensor.shape[0], *tensor.shape[2:]) == (own.shape[0], *own.shape[2:])
    if same and (tensor.shape[1], own.shape[1]) == (1, 3):
        return (tensor / 3).expand(own.shape).contiguous()
    if same and (tensor.shape[1], own.shape[1]) == (3, 1):
        return tensor.sum(1, keepdim=True)
    return tensor
