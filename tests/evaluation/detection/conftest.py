"""Random images with boxes, and a literal, slow reading of each rule to hold the fast one against."""

from collections.abc import Callable

import numpy as np
import pytest

from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.types import Detections

Scene = tuple[list[ImageBoxes], list[Detections]]


def draw_scene(
    seed: int, images: int = 12, classes: int = 2, *, difficult: float = 0.0, tied: bool = False, crowded: bool = True
) -> Scene:
    """Some negative images; boxes that overlap; found ones near them, near others and nowhere.

    With ``tied`` scores come in tenths, else no two are equal.
    """
    rng = np.random.default_rng(seed)
    field = 120 if crowded else 600
    truths, detections = [], []
    for _ in range(images):
        n = int(rng.integers(0, 6)) if rng.random() < 0.7 else 0
        corners = rng.uniform(0, field, (n, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(25, 60, (n, 2))], axis=1)
        labels = rng.integers(classes, size=n)
        truths.append(ImageBoxes.of(boxes, labels, rng.random(n) < difficult))
        near = rng.integers(n, size=int(rng.integers(0, 2 * n + 1))) if n else np.array([], int)
        false = rng.uniform(0, field, (int(rng.integers(0, 4)), 2))
        found = np.concatenate(
            [boxes[near] + rng.normal(0, 6, (len(near), 4)), np.concatenate([false, false + 40], axis=1)]
        )
        called = np.concatenate([labels[near], rng.integers(classes, size=len(false))])
        scores = rng.uniform(0.02, 1, len(found))
        detections.append(Detections.of(found, called, np.round(scores, 1) if tied else scores))
    return truths, detections


@pytest.fixture(scope="session")
def scene() -> Callable[..., Scene]:
    return draw_scene
