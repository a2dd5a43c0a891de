"""torchvision's first API on grey pictures, the crop first: on whole radiographs a rotation costs most."""

from __future__ import annotations

from functools import partial

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.ancestor import Transform
from benchmarks.peers.task import MEAN, SIZE, STD, Epochs, Task


class _GreyFiles(Dataset[torch.Tensor]):
    def __init__(self, task: Task, transform: Transform) -> None:
        self.files = task.files
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("L"))


def grey(task: Task) -> Epochs:
    """A DataLoader with workers."""
    normalised = [transforms.ToTensor(), transforms.Normalize(MEAN[0], STD[0])]
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIZE, scale=(0.4, 1.0), ratio=(0.5, 1.5)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(25),
            *(normalised if task.output == "float32" else [transforms.PILToTensor()]),
        ]
    )
    loader = DataLoader(
        _GreyFiles(task, transform), task.batch_size, shuffle=True, num_workers=task.workers, persistent_workers=True
    )
    return partial(iter, loader)
