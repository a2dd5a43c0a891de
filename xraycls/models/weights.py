"""Weights into a network, with a strict report of what fitted and what didn't."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from xraycls.data.class_names import plain_class
from xraycls.errors import WeightsError
from xraycls.models.build import head_name, under
from xraycls.models.foreign_names import aligned, from_transformers, naming_of, without_prefix
from xraycls.models.hub import hub_file, hub_model
from xraycls.models.pretrained import fetch_imagenet, is_cached
from xraycls.models.pruning_plan import PrunePlan, apply_plan
from xraycls.models.published import PREFIX, local_file, of_file, published
from xraycls.models.quantization import is_range
from xraycls.models.weight_files import WeightFile, read_weights
from xraycls.models.zoo import Architecture

Shape = tuple[int, ...]

_OF_XRV = "op_threshs"  # torchxrayvision's networks alone have a buffer of that name
_COUNTER = "num_batches_tracked"  # absent from files older than torch 0.4.1; training alone counts it


@dataclass(frozen=True)
class WeightsReport:
    """What became of every tensor of the source and of the network.

    Attributes:
        source: "none", or the name of the file or repository.
        loaded: tensors that were copied into the network.
        missing: tensors of the network that the source lacks; they keep their random start.
        unexpected: tensors of the source that the network has no place for.
        mismatched: tensors of another shape in the source (name, its shape, the network's shape); not loaded.
        head: how the head started, in a clause of a sentence.
        plan: how narrow the network became, because the source is a pruned one; None when it isn't.
        naming: whose way of naming layers the source shows, in words; empty where it isn't known.
        positions: of a vision transformer, embeddings in the source and in the network, where they were resized.
    """

    source: str
    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, Shape, Shape], ...] = ()
    head: str = "the head is new"
    plan: PrunePlan | None = None
    naming: str = ""
    positions: tuple[int, int] | None = None

    def lines(self) -> list[str]:
        """Sentences for the log."""
        if not self.loaded:
            return ["All weights are random."]
        named = f" (names {self.naming})" if self.naming else ""
        lines = [f"{len(self.loaded)} tensors loaded from {self.source}{named}; {self.head}."]
        if self.positions:
            lines.append(f"Its {self.positions[0]} position embeddings were resized to {self.positions[1]}.")
        if self.plan:
            lines.append(f"The network is a pruned one: {len(self.plan.layers)} of its layers are narrower.")
        if self.unexpected:
            lines.append(f"The network has no use for {_listed(self.unexpected)} of {self.source}.")
        return lines


def check_source(architecture: Architecture, source: str | Path, size: int | None = None) -> None:
    """Raise WeightsError where weights can't be had, before anything long is done; what is to be fetched is fetched."""
    if str(source).lower() == "imagenet":
        if not is_cached(architecture):
            fetch_imagenet(architecture, size or architecture.input_size)
    elif str(source).lower() != "none":
        _read(source, architecture)


def load_weights(
    net: nn.Module,
    architecture: Architecture,
    source: str | Path = "imagenet",
    *,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    size: int | None = None,
) -> WeightsReport:
    """Copy weights into a network.

    The head may differ, because the classes do: it is then left as it is, as it is when the source is a checkpoint
    of ours for other classes. So is everything from the head's section on when the source holds features only.
    Any other tensor must be there in the right shape. Of a pruned checkpoint of ours the network takes the widths too.
    Where the source and the network tell findings, the head keeps what it knows of those of the same name.

    Args:
        net: the network as built for ``architecture``; changed in place.
        source: "imagenet", "none", a published name such as "xrv:densenet121-res224-nih", a file (torchvision's, timm's
            or ours), a run folder, a folder in the layout of the Hugging Face hub, or "hf-hub:OWNER/NAME".
        classes: class names, to compare with those of the source where it has names; None doesn't compare.
        multi_label: whether the classes are findings of which an image may show several.
        size: side of the input in pixels; None for the architecture's own.

    Raises:
        WeightsError: the source can't be fetched or read, or doesn't fit the network, whose weights are then unchanged.
    """
    if str(source).lower() == "none":
        return WeightsReport("none")
    if str(source).lower() == "imagenet":
        tensors = fetch_imagenet(architecture, size or architecture.input_size)
        return _fit(net, architecture, str(architecture.weights), tensors)
    file = _read(source, architecture)
    plan = _narrow(net, architecture, file)
    report = _fit_file(net, architecture, file, classes, multi_label)
    return replace(report, plan=plan, naming=naming_of(file.tensors), positions=_resized(file.tensors, net))


def _fit_file(
    net: nn.Module, architecture: Architecture, file: WeightFile, classes: Sequence[str] | None, multi_label: bool
) -> WeightsReport:
    """Copy what fits of a file; of its head what tells the same classes."""
    tensors = _native(file, net)
    names = file.classes or file.outputs
    if not names or classes is None or names == tuple(classes):
        return _fit(net, architecture, str(file.path), tensors)
    head = f"the head is new (there the classes are {', '.join(name for name in names if name)})"
    dropped = _heads(net, architecture)
    if multi_label and (rows := _shared_rows(file.outputs, classes)):
        tensors, head = _head_by_name(net, architecture, tensors, rows), _told_rows(rows, classes)
        dropped = architecture.auxiliary
    tensors = {name: tensor for name, tensor in tensors.items() if not under(name, dropped)}
    return replace(_fit(net, architecture, str(file.path), tensors), head=head)


def _read(source: str | Path, architecture: Architecture) -> WeightFile:
    """The file that a name means, if its network takes pictures as the architecture feeds them."""
    known = published(source)
    if known and known.base_model != architecture.name:
        raise WeightsError(
            f"{known.name} are weights of {known.base_model}, and the base model is {architecture.name}",
            f"Give --base-model {known.base_model}, or leave it out",
        )
    path = local_file(known) if known else hub_file(source) if hub_model(source) else Path(source)
    file = read_weights(path)
    of_xrv = _OF_XRV in file.tensors or file.origin.startswith("torchxrayvision.") or of_file(file.path)
    if of_xrv and not architecture.name.startswith(PREFIX):
        raise WeightsError(
            f"{file.path} is of torchxrayvision, whose networks take grey levels from -1024 to 1024, and "
            f"{architecture.name} doesn't",
            f"Give --base-model {PREFIX}densenet121 or {PREFIX}resnet50, as the file is",
        )
    return file


def _shared_rows(theirs: Sequence[str], ours: Sequence[str]) -> dict[int, int]:
    """Which output of ours tells the same finding as which of theirs."""
    rows = {plain_class(name): row for row, name in enumerate(theirs) if name}
    return {row: rows[plain_class(name)] for row, name in enumerate(ours) if plain_class(name) in rows}


def _head_by_name(
    net: nn.Module, architecture: Architecture, tensors: Mapping[str, torch.Tensor], rows: Mapping[int, int]
) -> dict[str, torch.Tensor]:
    """The tensors of a file with its head in our order, whose other outputs start as the network's own did."""
    head, own, aligned_tensors = head_name(net, architecture), net.state_dict(), aligned(tensors, net)
    for name in (f"{head}.weight", f"{head}.bias"):
        if name in own and name in aligned_tensors and own[name].shape[1:] == aligned_tensors[name].shape[1:]:
            mixed = own[name].clone()
            mixed[list(rows)] = aligned_tensors[name][list(rows.values())].to(mixed.dtype)
            aligned_tensors[name] = mixed
    return aligned_tensors


def _told_rows(rows: Mapping[int, int], classes: Sequence[str]) -> str:
    new = [name for row, name in enumerate(classes) if row not in rows]
    kept = f"of the head {', '.join(classes[row] for row in rows)} came along by name"
    return f"{kept}, and {', '.join(new)} {'is' if len(new) == 1 else 'are'} new" if new else kept


def _narrow(net: nn.Module, architecture: Architecture, file: WeightFile) -> PrunePlan | None:
    if file.plan is None:
        return None
    own = dict(net.named_modules())
    plan = file.plan.without(tuple(name for name in architecture.auxiliary if name not in own))
    try:
        apply_plan(net, plan)
    except ValueError as error:
        raise WeightsError(
            f"{file.path} is pruned and doesn't fit {architecture.name}: {error}", "Is it the file of another network?"
        ) from error
    return plan


def _fit(net: nn.Module, architecture: Architecture, source: str, tensors: Mapping[str, torch.Tensor]) -> WeightsReport:
    own = net.state_dict()
    theirs, tensors = tensors, aligned(tensors, net)
    shared = [name for name in own if name in tensors]
    report = WeightsReport(
        source,
        loaded=tuple(name for name in shared if tensors[name].shape == own[name].shape),
        missing=tuple(name for name in own if name not in tensors and not name.endswith(_COUNTER)),
        unexpected=tuple(name for name in tensors if name not in own and not name.endswith(_COUNTER)),
        mismatched=tuple(
            (name, tuple(tensors[name].shape), tuple(own[name].shape))
            for name in shared
            if tensors[name].shape != own[name].shape
        ),
        head=_head_clause(own, tensors, f"{head_name(net, architecture)}.weight"),
    )
    heads = _heads(net, architecture)
    section = heads[0].partition(".")[0]
    features_only = not any(under(name, (section,)) for name in tensors)
    _check_fit(architecture.name, report, own, theirs, (*heads, section) if features_only else heads)
    _check_finite(source, {name: tensors[name] for name in report.loaded})
    own.update((name, tensors[name]) for name in report.loaded)
    net.load_state_dict(own)
    return report


def _check_fit(
    name: str,
    report: WeightsReport,
    own: Mapping[str, torch.Tensor],
    theirs: Mapping[str, torch.Tensor],
    excused: tuple[str, ...],
) -> None:
    """Tensors of the backbone that are missing, or left over in a part that the network has, mean another network."""
    parts = {key.partition(".")[0] for key in own}
    missing = [key for key in report.missing if not under(key, excused)]
    mismatched = [key for key, _, _ in report.mismatched if not under(key, excused)]
    left_over = [key for key in report.unexpected if key.partition(".")[0] in parts and not under(key, excused)]
    faults = [
        f"{_listed(keys)} {what}"
        for keys, what in (
            (missing, "of the network are missing"),
            (mismatched, "have another shape"),
            (left_over, "have no place in it"),
        )
        if keys
    ]
    if faults:
        raise WeightsError(
            f"{report.source} doesn't fit {name}: {', '.join(faults)}",
            f"Is it the file of another network? It has {_examples(theirs)}; {name} has {_examples(own)}",
        )


def _examples(names: Iterable[str]) -> str:
    """A few names, of the first layers and the last."""
    listed = [name for name in names if not name.endswith(_COUNTER)]
    some = listed if len(listed) <= 4 else [*listed[:2], "…", *listed[-2:]]
    return ", ".join(some)


def _check_finite(source: str, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{source} holds values that are not finite, the first in {name}")


def _head_clause(own: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], weight: str) -> str:
    if weight not in tensors:
        return "the head is new (the source has none)"
    here, there = own[weight].shape, tensors[weight].shape
    if here == there:
        return "the head came along"
    if here[0] == there[0]:
        return "the head is new (there it takes other features)"
    return f"the head is new ({there[0]} classes there, {here[0]} here)"


def _native(file: WeightFile, net: nn.Module) -> dict[str, torch.Tensor]:
    """Names and shapes as the network has them: timm keeps the conversion beside each network."""
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    tensors = {name: tensor for name, tensor in file.tensors.items() if not is_range(name)}
    if convert is None:
        return tensors
    tensors = from_transformers(tensors)
    try:
        return dict(convert(without_prefix(tensors, net.state_dict()), net))
    except (KeyError, RuntimeError):  # the file of another network; what doesn't fit is told from the file as it is
        return tensors


def _resized(theirs: Mapping[str, torch.Tensor], net: nn.Module) -> tuple[int, int] | None:
    """How many position embeddings a file has and how many the network, where these differ."""
    own = net.state_dict().get("pos_embed")
    there = next((t for name, t in theirs.items() if name.endswith(("pos_embed", "position_embeddings"))), None)
    if own is None or there is None or own.ndim != 3 or there.ndim != 3 or own.shape[1] == there.shape[1]:
        return None
    return there.shape[1], own.shape[1]


def _heads(net: nn.Module, architecture: Architecture) -> tuple[str, ...]:
    """The head and the auxiliary heads, whose shapes depend on the classes."""
    return (head_name(net, architecture), *architecture.auxiliary)


def _listed(names: Sequence[str]) -> str:
    """How many, and the first of them."""
    first = ", ".join(names[:2])
    return f"{len(names)} tensor{'s' * (len(names) > 1)} ({first}{', …' * (len(names) > 2)})"
