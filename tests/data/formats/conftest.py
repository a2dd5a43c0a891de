"""A small data set with boxes, as a table of pictures that lie in a folder."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.data.formats.format import CLASSES
from xraycls.data.table import SampleTable
from xraycls.types import Box, Sample

OPACITY, NODULE = "opacity", "nodule"


@pytest.fixture
def draw() -> Callable[..., Path]:
    """Writes a picture of noise."""

    def draw(path: Path, width: int = 60, height: int = 40) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (height, width), dtype=np.uint8))
        return path

    return draw


@pytest.fixture
def pictures(tmp_path: Path, draw: Callable[..., Path]) -> SampleTable:
    """Four pictures in three splits: two boxes, a difficult one, none, and one whose corners aren't whole."""
    root = tmp_path / "source"
    boxes = {
        "train/a.png": (Box(OPACITY, 3, 4, 20, 31), Box(NODULE, 30, 0, 60, 40)),
        "train/b.jpg": (Box(NODULE, 1, 2, 3, 4, difficult=True),),
        "val/c.png": (),
        "test/d.png": (Box(OPACITY, 10.25, 11.5, 20.125, 30.0625),),
    }
    samples = [
        Sample(draw(root / name), label=int(bool(found)), split=name.split("/")[0], boxes=found)
        for name, found in boxes.items()
    ]
    return SampleTable(tuple(sorted(samples, key=lambda sample: sample.path)), CLASSES, root, "folder")


@pytest.fixture
def told() -> Callable[[SampleTable], dict[str, tuple[str | None, list[Box]]]]:
    """What formats agree on: the split and the boxes of every picture, by its bare name."""

    def told(table: SampleTable) -> dict[str, tuple[str | None, list[Box]]]:
        return {sample.path.stem: (sample.split, list(sample.boxes)) for sample in table}

    return told
