"""What detectors and segmentation networks take from a classification network: feature maps by stage or stride."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from xraycls.errors import UsageError, unknown


@dataclass(frozen=True, slots=True)
class Stage:
    """A place in a backbone whose output can be taken.

    Attributes:
        name: TAO's, of the block or of the layer: ``block_2``, ``conv_pw_5``.
        path: of the module in the backbone whose output it is.
        stride: pixels of the input to one cell of its map.
        channels: of its map.
        inside: whether it lies within a block, so that it can be chosen by name but not by stride.
        top: whether it is the 1x1 convolution after the last block that widens its map for a classifier.
    """

    name: str
    path: str
    stride: int
    channels: int
    inside: bool = False
    top: bool = False


@runtime_checkable
class Branching(Protocol):
    """A block with a shortcut, which has to be asked for its inner map: a stage inside of it has the block's path."""

    def with_inner(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the output and the inner map."""
        ...


@dataclass(frozen=True)
class Layout:
    """A body as its family builds it: modules in a row, and what they are called.

    Attributes:
        name: ``resnet18``, ``mobilenet_v2``.
        parts: modules by path, in the order of the data.
        stages: places whose output can be taken, in the order of the data.
        blocks: paths of modules by the number that TAO's ``freeze_blocks`` gives their block.
        layers: names of TAO's layers by the path of each module with weights.
        known_as: paths of layers by torchvision's names, where the two have nothing in common.
    """

    name: str
    parts: dict[str, nn.Module] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    blocks: dict[int, tuple[str, ...]] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    known_as: dict[str, str] = field(default_factory=dict)

    def stage(self, name: str) -> Stage:
        """Returns the stage of a name; raises UsageError for another name."""
        by_name = {stage.name: stage for stage in self.stages}
        if name not in by_name:
            raise unknown(f"stage of {self.name}", name, tuple(by_name))
        return by_name[name]

    def until(self, stage: Stage) -> Layout:
        """Returns the body up to a stage."""
        paths = list(self.parts)
        return self._only(paths[: paths.index(stage.path) + 1])

    def after(self, stage: Stage) -> Layout:
        """Returns the rest of the body."""
        paths = list(self.parts)
        return self._only(paths[paths.index(stage.path) + 1 :])

    def _only(self, paths: Sequence[str]) -> Layout:
        kept = tuple(paths)
        within = tuple(f"{path}." for path in kept)
        blocks = {n: tuple(p for p in names if p in kept or p.startswith(within)) for n, names in self.blocks.items()}
        return replace(
            self,
            parts={path: self.parts[path] for path in kept},
            stages=[stage for stage in self.stages if stage.path in kept],
            blocks={number: names for number, names in blocks.items() if names},
            layers={path: name for path, name in self.layers.items() if path in kept or path.startswith(within)},
        )


class Body(nn.Module):
    """The modules of a layout, in containers as their paths say.

    Attributes:
        name: of the network that they are from.
        blocks: paths of modules by their number in TAO's ``freeze_blocks``.
        layer_names: names of TAO's layers by the path of each module with weights.
        known_as: paths of layers by torchvision's names, where the two have nothing in common.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        for path, part in layout.parts.items():
            parent, _, child = path.rpartition(".")
            self._container(parent).add_module(child, part)
        self.name = layout.name
        self.blocks: Mapping[int, tuple[str, ...]] = dict(layout.blocks)
        self.layer_names: Mapping[str, str] = dict(layout.layers)
        self.known_as: Mapping[str, str] = dict(layout.known_as)
        self._steps = tuple(layout.parts)

    def _container(self, path: str) -> nn.Module:
        module: nn.Module = self
        for name in filter(None, path.split(".")):
            if name not in dict(module.named_children()):
                module.add_module(name, nn.Module())
            module = module.get_submodule(name)
        return module


class Backbone(Body):
    """A network without its classifier, up to the last map that is wanted.

    Args:
        layout: as the family builds it.
        names: of the stages whose maps to return, in any order.
        strides: instead of names; of each the last whole block that has it. With neither, the last stage.

    Attributes:
        stages: those that it has, in the order of the data.
        taps: the stages whose maps :meth:`forward` returns, in the same order.

    Raises:
        UsageError: there is no such stage or stride.
    """

    def __init__(self, layout: Layout, names: Sequence[str] = (), strides: Sequence[int] = ()) -> None:
        by_stride = {stage.stride: stage for stage in layout.stages if not stage.inside}
        if lacking := [stride for stride in strides if stride not in by_stride]:
            choices = ", ".join(map(str, sorted(by_stride)))
            raise UsageError(f"{layout.name} has no map of stride {lacking[0]}", f"It has the strides {choices}")
        wanted = [layout.stage(name) for name in names] or [by_stride[stride] for stride in strides]
        taps = tuple(sorted(wanted or layout.stages[-1:], key=layout.stages.index))
        layout = layout.until(taps[-1])
        super().__init__(layout)
        self.stages, self.taps = tuple(layout.stages), taps

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the maps that :meth:`forward` returns."""
        return tuple(stage.channels for stage in self.taps)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the input to a cell of each map that :meth:`forward` returns."""
        return tuple(stage.stride for stage in self.taps)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns the maps of the taps [B, C, H / stride, W / stride] of images [B, channels, H, W]."""
        inner = {stage.path for stage in self.taps if stage.inside}
        outer = {stage.path for stage in self.taps if not stage.inside}
        maps = []
        for path in self._steps:
            part = self.get_submodule(path)
            if path in inner and isinstance(part, Branching):
                images, within = part.with_inner(images)
                maps.append(within)
            else:
                images = part(images)
                if path in inner:
                    maps.append(images)
            if path in outer:
                maps.append(images)
        return maps


def take_one_channel(body: nn.Module) -> None:
    """Let a backbone take grey pictures: its first convolution sees the sum of what it saw of three channels."""
    name, first = next((n, m) for n, m in body.named_modules() if isinstance(m, nn.Conv2d))
    grey: nn.Conv2d = copy.deepcopy(first)
    grey.in_channels = 1
    grey.weight = nn.Parameter(first.weight.detach().sum(dim=1, keepdim=True))
    parent, _, child = name.rpartition(".")
    setattr(body.get_submodule(parent), child, grey)


def numbered(names: Iterable[str], first: int = 0) -> dict[int, tuple[str, ...]]:
    """Returns blocks of one module each, numbered in a row."""
    return {number: (name,) for number, name in enumerate(names, first)}


def letter(index: int) -> str:
    """Returns what TAO calls the blocks of a stage: a, b, c."""
    return "abcdefghijklmnopqrstuvwxyz"[index]
