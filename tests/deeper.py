"""Networks in which there is nothing of another kind than in a smaller one of their family."""

from collections.abc import Iterable

import pytest

DEEPER = {
    *("resnet34", "resnet50", "resnet101", "vgg19", "darknet53", "cspdarknet53"),
    *(f"efficientnet_b{number}" for number in range(1, 8)),
}


def deeper_are_exhaustive(names: Iterable[str]) -> list:
    """The names as parameters of a test; those of deeper networks are for ``make exhaustive``."""
    return [pytest.param(name, marks=[pytest.mark.exhaustive] if name in DEEPER else []) for name in names]
