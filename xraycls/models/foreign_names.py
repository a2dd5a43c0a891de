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
_PATCHES = "embeddings.patch_embeddings.projection.weight"  # what transformers calls a vision transformer's first layer
_BLOCK = r"encoder\.layer\.(\d+)\."
# The layers of ViT and DINOv2 in transformers, and what timm calls them; the first that fits counts.
_OF_TRANSFORMERS = tuple(
    (re.compile(theirs), ours)
    for theirs, ours in (
        (r"embeddings\.cls_token$", "cls_token"),
        (r"embeddings\.position_embeddings$", "pos_embed"),
        (r"embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (_BLOCK + r"attention\.(?:attention\.query|q_proj)\.", r"blocks.\1.attn.query."),
        (_BLOCK + r"attention\.(?:attention\.key|k_proj)\.", r"blocks.\1.attn.key."),
        (_BLOCK + r"attention\.(?:attention\.value|v_proj)\.", r"blocks.\1.attn.value."),
        (_BLOCK + r"attention\.(?:output\.dense|o_proj)\.", r"blocks.\1.attn.proj."),
        (_BLOCK + r"(?:norm1|layernorm_before)\.", r"blocks.\1.norm1."),
        (_BLOCK + r"(?:norm2|layernorm_after)\.", r"blocks.\1.norm2."),
        (_BLOCK + r"layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
        (_BLOCK + r"(?:mlp\.fc1|intermediate\.dense)\.", r"blocks.\1.mlp.fc1."),
        (_BLOCK + r"(?:mlp\.fc2|output\.dense)\.", r"blocks.\1.mlp.fc2."),
        (r"layernorm\.", "norm."),
    )
)
_FAMILIES = (
    (re.compile(r"encoder_q\."), "of momentum contrast, such as MoCo-CXR's"),
    (re.compile(r"densenet121\.features\."), "of a wrapped DenseNet121, such as CheXNet's"),
    (re.compile(r"^backbone\.\d+\."), "layers by their number, such as RadImageNet's"),
    (re.compile(r"^vision_model\.model\."), "of what MedCLIP sees with"),
    (re.compile(r"^visual\.trunk\."), "of what a CLIP of open_clip sees with, such as BiomedCLIP's"),
    (re.compile(re.escape(_PATCHES)), "of a vision transformer of transformers, such as RAD-DINO's"),
)
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
    found = without_prefix(named, own)
    for children in _children_by_number(net):
        numbered = without_prefix(named, {_numbered(name, children): name for name in own})
        renamed = {_named(name, children): tensor for name, tensor in numbered.items()}
        if _fitting(renamed, own) > _fitting(found, own):
            found = renamed
    found = _heads_in_sequences(found, own)
    return {name: _of_channels(tensor, own[name]) if name in own else tensor for name, tensor in found.items()}


def _fitting(names: Iterable[str], own: Mapping[str, object]) -> int:
    return sum(name in own for name in names)


def naming_of(names: Iterable[str]) -> str:
    """Whose way of naming layers the names of a file show, in words; empty for ways that are not known."""
    listed = list(names)
    return next((said for pattern, said in _FAMILIES if any(pattern.search(name) for name in listed)), "")


def from_transformers(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """A ViT or DINOv2 of transformers under the names of timm, with query, key and value in one; others as they are."""
    first = next((name for name in tensors if name.endswith(_PATCHES)), None)
    if first is None:
        return dict(tensors)
    prefix = first.removesuffix(_PATCHES)
    named = {_as_in_timm(name.removeprefix(prefix)): tensor for name, tensor in tensors.items()}
    for name in [name for name in named if ".attn.query." in name]:
        parts = [named.pop(name.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
        named[name.replace(".query.", ".qkv.")] = torch.cat(parts)
    return named


def _as_in_timm(name: str) -> str:
    for theirs, ours in _OF_TRANSFORMERS:
        if matched := theirs.match(name):
            return matched.expand(ours) + name[matched.end() :]
    return name


def without_prefix(tensors: Tensors, own: Mapping[str, object]) -> Tensors:
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


def _children_by_number(net: nn.Module) -> list[list[str]]:
    """Names of a network's children, unless they are numbers themselves; with auxiliary heads and without them."""
    names = [name for name, _ in net.named_children()]
    if any(name.isdigit() for name in names):
        return []
    without = [name for name in names if not name.lower().startswith("aux")]
    return [names] if names == without else [names, without]


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
