"""The proof of a pruning: a network without some channels computes what it computed with them silenced."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xraycls.compress.groups import Indices, first_line
from xraycls.errors import UsageError

Place = tuple[str, bool]
"""Module path of a layer, and whether it is its outputs (or its inputs) that lose channels."""

_TOLERANCE = 1e-3  # of the largest output; sums in another order differ by less, wrong channels by more


def check_same(model: nn.Module, pruned: nn.Module, removed: Mapping[Place, Indices], example: Tensor) -> None:
    """Compare a pruned network with the original whose removed channels give zeros, on a picture of noise.

    Args:
        model: the original.
        pruned: what is left of it.
        removed: the channels that were taken out, at each place.
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
