"""Random cases for the tests of evaluation."""

from collections.abc import Callable

import numpy as np
import pytest

Cases = tuple[np.ndarray, np.ndarray]


def draw_cases(n: int, classes: int, seed: int = 0, decimals: int = 2) -> Cases:
    """Labels [n] that hold every class, and probabilities [n, C] in coarse steps, so that many are tied."""
    rng = np.random.default_rng(seed)
    labels = np.append(np.arange(classes), rng.integers(classes, size=n - classes))
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = np.round(probabilities, decimals)
    probabilities[:, 0] = 1 - probabilities[:, 1:].sum(axis=1)
    return labels, np.clip(probabilities, 0, 1)


@pytest.fixture(scope="session")
def cases() -> Callable[..., Cases]:
    return draw_cases
