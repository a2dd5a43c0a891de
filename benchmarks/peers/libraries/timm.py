"""timm's loader: workers collate uint8, and the batch is normalised as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from timm.data import create_loader
from torch.utils.data import Dataset
from torchvision.transforms import Compose, RandomRotation

from benchmarks.peers.task import MEAN, SIZE, STD, Epochs, Task


class _GreyFiles(Dataset[tuple[Any, int]]):
    """Files as a dataset of timm, which gives it a transform."""

    transform: Any = None

    def __init__(self, task: Task) -> None:
        self.files = task.files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("L")), 0


def loader(task: Task) -> Epochs:
    """``create_loader`` with its transform for training, and a rotation of the crop, which it lacks."""
    dataset = _GreyFiles(task)
    created = create_loader(
        dataset,
        (1, SIZE, SIZE),
        task.batch_size,
        is_training=True,
        scale=(0.4, 1.0),
        ratio=(0.5, 1.5),
        hflip=0.5,
        vflip=0.5,
        color_jitter=None,
        interpolation="bilinear",
        mean=MEAN[:1],
        std=STD[:1],
        num_workers=task.workers,
        device=torch.device("cpu"),
        persistent_workers=True,
    )
    crop, *others = dataset.transform.transforms
    dataset.transform = Compose([crop, RandomRotation(25), *others])
    batches = created if task.output == "float32" else created.loader

    def epoch() -> Iterator[torch.Tensor]:
        return (images for images, _ in batches)

    return epoch
