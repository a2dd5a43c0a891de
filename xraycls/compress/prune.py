"""Structured pruning by the norms of filters, as TAO prunes (after Molchanov et al. 2017, "min weight")."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xraycls.compress.groups import ChannelGroup, Indices, channel_groups, first_line
from xraycls.compress.rule import CRITERIA, NORMALIZERS, Floats, filter_norms, kept_filters, merged
from xraycls.errors import UsageError, unknown
from xraycls.models.build import under
from xraycls.models.pruning_plan import Layer, PrunePlan, can_narrow, keep_channels, plan_between, widths
from xraycls.models.quantization import plan_of

LayerSide = tuple[str, bool]
"""Module path of a layer, and whether it is its outputs (or its inputs) that lose channels."""

_TOLERANCE = 1e-3  # of the largest output; sums in another order differ by less, wrong channels by more


@dataclass(frozen=True, slots=True)
class LayerReport:
    """What became of a convolution or a linear layer.

    Attributes:
        name: module path.
        before: output channels before.
        after: output channels left.
        note: why all were kept whatever the rule says; empty where the rule decided.
    """

    name: str
    before: int
    after: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class PruneReport:
    """A pruned network.

    Attributes:
        model: the pruned copy, in the mode, on the device and with the frozen parameters of the original.
        plan: what makes a freshly built network as narrow as the one that was given.
        layers: every convolution and linear layer, in the order of the network's modules.
        before: parameters before, those of batch normalisation included as :func:`count_parameters` has them.
        after: parameters after.
    """

    model: nn.Module
    plan: PrunePlan
    layers: tuple[LayerReport, ...]
    before: int
    after: int

    @property
    def ratio(self) -> float:
        """Parameters after by parameters before, 0–1."""
        return self.after / self.before


def prune(
    model: nn.Module,
    example_inputs: Tensor,
    *,
    criterion: str = "union",
    normalizer: str = "max",
    threshold: float = 0.1,
    granularity: int = 8,
    min_filters: int = 16,
    excluded: Collection[str] = (),
) -> PruneReport:
    """Remove the filters whose norms are small, and everything that took their output.

    A filter's statistic is the L2 norm of its kernel, divided by the largest of its layer. Layers that sums, products
    or a depthwise convolution tie together have one statistic and keep the same channels. Outputs of the network are
    never pruned, nor are channels that convolutions of groups, splits or other normalisations than that of batches
    take, nor layers that are tied to an excluded one.

    Args:
        model: any network of convolutions, linear layers and batch normalisation; it is left as it is.
        example_inputs: float [b, c, h, w] that the network can take, on its device.
        criterion: how statistics are merged: union, intersection, arithmetic_mean or geometric_mean.
        normalizer: "max"; "L2" (by the norm of the layer's statistics, times their number); or "off".
        threshold: what the statistic of a filter must exceed to be kept, 0 or more.
        granularity: the number kept is rounded up to a multiple of it, and is at most the number there was.
        min_filters: at least so many are kept.
        excluded: module paths; layers at or below one are kept whole.

    Raises:
        MissingExtra: Torch-Pruning isn't installed.
        UsageError: a value is out of range, an excluded name unknown, or the network of a kind that can't be pruned.
    """
    _check_settings(criterion, normalizer, threshold, granularity, min_filters)
    _check_names(model, excluded)
    if plan_of(model):
        raise UsageError(
            "A model that was trained for 8 bits (QAT) can't be pruned", "Prune it first, then train it so"
        )
    pruned = copy.deepcopy(model)
    layers: dict[str, Any] = dict(pruned.named_modules())
    notes: dict[str, str] = {}
    lost: dict[LayerSide, list[Indices]] = {}
    for group in channel_groups(pruned, example_inputs):
        if group.fixed or _is_excluded(group, excluded):
            notes |= dict.fromkeys(group.producers, group.fixed or "excluded, or tied to a layer that is")
            continue
        stat = merged([_stat(name, layers[name], normalizer) for name in group.producers], criterion)
        kept = kept_filters(stat, threshold=threshold, granularity=granularity, min_filters=min_filters)
        for tie in group.ties:
            lost.setdefault((tie.layer, tie.outputs), []).append(tie.channels[~np.isin(tie.of, kept)])
    removed = {side: channels for side, parts in lost.items() if len(channels := np.concatenate(parts))}
    for (name, outputs), channels in removed.items():
        _remove(layers[name], outputs, channels)
    check_same(model, pruned, removed, example_inputs)
    return PruneReport(
        model=pruned,
        plan=plan_between(model, pruned.state_dict()),
        layers=tuple(_compared(model, layers, notes)),
        before=count_parameters(model),
        after=count_parameters(pruned),
    )


def count_parameters(model: nn.Module) -> int:
    """Parameters, and the running means and variances of batch normalisation, which Keras counts as such too."""
    statistics = (
        tensor.numel()
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        for tensor in (module.running_mean, module.running_var)
        if tensor is not None
    )
    return sum(parameter.numel() for parameter in model.parameters()) + sum(statistics)


def _check_settings(criterion: str, normalizer: str, threshold: float, granularity: int, min_filters: int) -> None:
    if criterion not in CRITERIA:
        raise unknown("equalisation criterion", criterion, CRITERIA, "-eq")
    if normalizer not in NORMALIZERS:
        raise unknown("normaliser", normalizer, NORMALIZERS, "-n")
    if not threshold >= 0:
        raise UsageError(f"The pruning threshold -pth must be 0 or more, not {threshold}")
    for flag, value in (("granularity -pg", granularity), ("minimum number of filters -nf", min_filters)):
        if value < 1:
            raise UsageError(f"The {flag} must be 1 or more, not {value}")


def _check_names(model: nn.Module, excluded: Collection[str]) -> None:
    names = [name for name, _ in model.named_modules()]
    for name in excluded:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            raise unknown("layer", name, near or [child for child, _ in model.named_children()], "-el")


def _is_excluded(group: ChannelGroup, excluded: Collection[str]) -> bool:
    return any(tie.outputs and under(tie.layer, tuple(excluded)) for tie in group.ties)


def _stat(name: str, layer: Any, normalizer: str) -> Floats:
    norms = filter_norms(layer.weight.detach().float().cpu().numpy())
    if not np.isfinite(norms).all():
        raise UsageError(f"The weights of {name} are not finite, so the network can't be pruned")
    return NORMALIZERS[normalizer](norms)


def _remove(layer: Layer, outputs: bool, channels: Indices) -> None:
    width = widths(layer)[0 if outputs else 1] or 0
    kept = torch.from_numpy(np.setdiff1d(np.arange(width), channels))
    keep_channels(layer, outputs=kept) if outputs else keep_channels(layer, inputs=kept)


def _compared(model: nn.Module, pruned: Mapping[str, Any], notes: Mapping[str, str]) -> Iterator[LayerReport]:
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            note = notes.get(name, "" if can_narrow(layer) else "a convolution of groups")
            yield LayerReport(name, len(layer.weight), len(pruned[name].weight), note)


def check_same(model: nn.Module, pruned: nn.Module, removed: Mapping[LayerSide, Indices], example: Tensor) -> None:
    """Compare a pruned network with the original whose removed channels give zeros, on a picture of noise.

    Args:
        model: the original.
        pruned: what is left of it.
        removed: the channels that were taken out, on each side.
        example: gives the shape of the picture.

    Raises:
        UsageError: they differ, or the pruned network can't run: its channels are tied in a way that wasn't seen.
    """
    silenced = copy.deepcopy(model)
    for (name, outputs), channels in removed.items():
        layer = silenced.get_submodule(name)
        for tensor in (layer.weight, layer.bias, getattr(layer, "running_mean", None)) if outputs else ():
            if isinstance(tensor, Tensor):
                tensor.data[torch.from_numpy(channels)] = 0
    noise = torch.rand(example.shape, generator=torch.Generator().manual_seed(0))
    expected = _outputs(silenced, noise)
    try:
        found = _outputs(copy.deepcopy(pruned), noise)
        same = all(_near(f, e) for f, e in zip(found, expected, strict=True))
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise _refused(model, first_line(error)) from error
    if not same:
        raise _refused(model, "what is left computes something else")


def _outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return list(_tensors(model.cpu().float().eval()(images)))


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from _tensors(tuple(output.values()))
    else:
        for part in output:
            yield from _tensors(part)


def _near(found: Tensor, expected: Tensor) -> bool:
    largest = float(expected.abs().max())
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=0, atol=_TOLERANCE * largest)


def _refused(model: nn.Module, reason: str) -> UsageError:
    return UsageError(
        f"{type(model).__name__} can't be pruned with its channels as they are tied ({reason})",
        "Exclude the layers that tie them with -el, or train another network",
    )
