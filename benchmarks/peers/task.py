"""What every pipeline is asked for, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

Output = Literal["float32", "uint8"]

SIZE = 224  # side of all pictures, pixels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
KEPT = 320  # side of small copies, in memory and in stores, pixels

Epochs = Callable[[], Iterator[torch.Tensor]]
"""Called once an epoch; iterates over its batches, [B, C, 224, 224]."""


@dataclass(frozen=True, slots=True)
class Task:
    """A measurement.

    Attributes:
        data: folder or CSV of the files, as xraycls takes it.
        files: JPEGs of an epoch; some may be there more than once.
        store: folder for a pipeline's copy of the pictures in its own format, which is made once.
        work: folder for what a pipeline keeps while it is measured.
        batch_size: pictures.
        workers: processes or threads, by what the library offers.
        output: "float32" is normalised by ImageNet's mean and standard deviation, "uint8" has grey levels.
    """

    data: Path
    files: tuple[Path, ...]
    store: Path
    work: Path
    batch_size: int
    workers: int
    output: Output


def as_asked(images: torch.Tensor, task: Task) -> torch.Tensor:
    """Grey levels, uint8 [B, 1, H, W], as the task's output."""
    if task.output == "uint8":
        return images
    return images.float().sub_(255 * MEAN[0]).mul_(1 / (255 * STD[0]))
