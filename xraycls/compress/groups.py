"""Which channels of a network belong together, from Torch-Pruning's dependency graph."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from xraycls.errors import MissingExtra, UsageError
from xraycls.models.pruning_plan import can_narrow

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tie:
    """Channels of a layer that go when channels of a group go.

    Attributes:
        layer: module path.
        outputs: whether they are output channels; of a depthwise convolution and of a batch normalisation always.
        channels: int64 [k], of the layer.
        of: int64 [k], the channel of the group that each one goes with.
    """

    layer: str
    outputs: bool
    channels: Indices
    of: Indices


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that can only be kept or removed together.

    Attributes:
        width: their number.
        producers: convolutions and linear layers that compute them; with several, sums, products or depthwise
            convolutions tie them.
        ties: every layer that is touched, the producers included.
        fixed: why they can't be removed; empty when they can.
    """

    width: int
    producers: tuple[str, ...]
    ties: tuple[Tie, ...]
    fixed: str


def channel_groups(model: nn.Module, example: Tensor) -> list[ChannelGroup]:
    """The groups of a network; every layer that can be narrowed and that its forward pass reaches is in one or more.

    The network is run once, in evaluation mode but for itself, so that auxiliary heads answer while batch
    normalisation keeps its statistics. Nothing of it is changed.

    Args:
        model: the network.
        example: what its forward pass takes.

    Raises:
        MissingExtra: Torch-Pruning isn't installed.
        UsageError: Torch-Pruning can't follow the network.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingExtra("Torch-Pruning", "detection") from error
    graph = torch_pruning.DependencyGraph()
    try:
        with _traceable(model), warnings.catch_warnings(action="ignore"):
            graph.build_dependency(model, example, forward_fn=_forward, verbose=False)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(
            f"{type(model).__name__} can't be pruned: Torch-Pruning can't follow its layers ({first_line(error)})",
            "Most networks of convolutions and batch normalisation can be pruned, as all that xraycls models lists",
        ) from error
    names = {module: name for name, module in model.named_modules()}
    limit = max(max(parameter.shape, default=1) for parameter in model.parameters())
    groups: list[ChannelGroup] = []
    seen: set[str] = set()
    for module in graph.module2node:
        if isinstance(module, nn.Conv2d | nn.Linear) and can_narrow(module) and names[module] not in seen:
            groups.append(_group(graph, module, names, limit))
            seen.update(groups[-1].producers)
    return _settled(groups)


def first_line(error: Exception) -> str:
    """What an error of a library says, in short."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _traceable(model: nn.Module) -> Iterator[None]:
    """Gradients everywhere, since the graph is read from autograd's; modes and flags are as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    frozen = [parameter.requires_grad_() for parameter in model.parameters() if not parameter.requires_grad]
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module, mode in modes:  # from the outside in; some modules change more than the flag
            module.train(mode)


def _forward(model: nn.Module, example: Tensor) -> Any:
    model.training = True  # of the network's own forward pass only: that is where auxiliary heads are asked for
    return model(example)


class _Channel(NamedTuple):
    """A channel on its way through the graph, with the names that Torch-Pruning's index mappings read."""

    idx: int
    root_idx: int


_Target = tuple[Any, Any]
"""A node of the graph and the side of it, in or out, that loses channels."""


def _group(graph: Any, root: nn.Module, names: dict[nn.Module, str], limit: int) -> ChannelGroup:
    """What the output channels of a layer are tied to."""
    start = graph.module2node[root], graph.get_pruner_of_module(root).prune_out_channels
    width = _width(root)
    followed = _follow(start, width, limit)
    places = _reach(start) if followed is None else followed
    ties, producers, even = [], [], followed is not None
    for (node, handler), found in places.items():
        if can_narrow(node.module):
            outputs = graph.is_out_channel_pruning_fn(handler)
            tie = Tie(names[node.module], outputs, *(np.array([*c], np.int64) for c in (found, found.values())))
            ties.append(tie)
            if outputs and isinstance(node.module, nn.Conv2d | nn.Linear):
                producers.append(tie.layer)
                even = even and _width(node.module) == len(tie.of) == width and np.array_equal(tie.channels, tie.of)
    obstacles = (_obstacle(node, graph.is_out_channel_pruning_fn(handler)) for node, handler in places)
    fixed = next(filter(None, obstacles), "" if even else "its channels are tied unevenly")
    return ChannelGroup(width, tuple(producers), tuple(ties), fixed)


def _follow(start: _Target, width: int, limit: int) -> dict[_Target, dict[int, int]] | None:
    """Where the channels of a layer go: at each target its channel → the one that it goes with.

    None where one channel goes with two, which Torch-Pruning's own walk takes for ever more channels.
    """
    reached: dict[_Target, dict[int, int]] = {}
    waiting: list[tuple[_Target, list[Any]]] = [(start, [_Channel(index, index) for index in range(width)])]
    while waiting:
        target, arriving = waiting.pop()
        known = reached.setdefault(target, {})
        new = [channel for channel in arriving if known.get(channel.idx) != channel.root_idx]
        if any(channel.idx in known or not 0 <= channel.idx < limit for channel in new):
            return None
        known.update(new)
        for dependency in _onward(target) if new else ():
            going: list[Any] = new
            for mapping in dependency.index_mapping:
                going = mapping(going) if mapping else going
            if going:
                waiting.append(((dependency.target, dependency.handler), going))
    return reached


def _reach(start: _Target) -> dict[_Target, dict[int, int]]:
    """Every target that a layer's channels could go to, without saying which."""
    reached: dict[_Target, dict[int, int]] = {}
    waiting = [start]
    while waiting:
        target = waiting.pop()
        if target not in reached:
            reached[target] = {}
            waiting += [(dependency.target, dependency.handler) for dependency in _onward(target)]
    return reached


def _onward(target: _Target) -> Iterator[Any]:
    node, handler = target
    return (dependency for dependency in node.dependencies if dependency.is_triggered_by(handler))


def _width(layer: Any) -> int:
    return len(layer.weight)


def _obstacle(node: Any, outputs: bool) -> str:
    """Why no channel can be removed from a group that this node of the graph is in; empty when one can."""
    kind = node.type.name
    if kind == "OUTPUT" or (outputs and not node.outputs):
        return "an output of the network"
    if kind in ("CONCAT", "ELEMENTWISE") or can_narrow(node.module):
        return ""
    if kind == "RESHAPE" and len(getattr(node.grad_fn, "_saved_self_sym_sizes", ())) in (2, 4):
        return ""  # maps that are flattened for a linear layer, or a row of values that becomes a map
    if isinstance(node.module, nn.Conv2d):
        return "it meets a convolution of groups"
    return f"it meets {type(node.module).__name__.strip('_').removesuffix('Op')}"


def _settled(groups: list[ChannelGroup]) -> list[ChannelGroup]:
    """The same groups, those fixed as well that share a producer with a fixed one."""
    while True:
        fixed = {layer: group.fixed for group in groups if group.fixed for layer in group.producers}
        reasons = [g.fixed or next((fixed[layer] for layer in g.producers if layer in fixed), "") for g in groups]
        if reasons == [group.fixed for group in groups]:
            return groups
        groups = [replace(group, fixed=reason) for group, reason in zip(groups, reasons, strict=True)]
