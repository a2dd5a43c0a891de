"""albumentations on grey pictures that OpenCV reads, the crop first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import albumentations as A
import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers.libraries.hand_written import Picture, collated, small_pictures
from benchmarks.peers.task import SIZE, Epochs, Task


class _Augmented(Dataset[torch.Tensor]):
    def __init__(self, items: Sequence[Any], read: Callable[[Any], Picture]) -> None:
        self.items = items
        self.read = read
        self.transform = A.Compose(
            [
                A.RandomResizedCrop((SIZE, SIZE), scale=(0.4, 1.0), ratio=(0.5, 1.5)),
                A.HorizontalFlip(),
                A.VerticalFlip(),
                A.Rotate(25, p=1.0),
            ]
        )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> torch.Tensor:
        cv2.setNumThreads(0)
        return torch.from_numpy(self.transform(image=self.read(self.items[index]))["image"])[None]


def from_files(task: Task) -> Epochs:
    """Whole files, decoded as grey."""
    return _loader(_Augmented(task.files, lambda file: cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)), task)


def from_files_reduced(task: Task) -> Epochs:
    """Files decoded at half the resolution."""
    return _loader(_Augmented(task.files, lambda file: cv2.imread(str(file), cv2.IMREAD_REDUCED_GRAYSCALE_2)), task)


def in_memory(task: Task) -> Epochs:
    """Pictures of 320 pixels in memory, which the workers share."""
    return _loader(_Augmented(small_pictures(task.files, task.workers), lambda picture: picture), task)


def _loader(dataset: _Augmented, task: Task) -> Epochs:
    workers = {"num_workers": task.workers, "persistent_workers": True}
    return partial(iter, DataLoader(dataset, task.batch_size, shuffle=True, collate_fn=collated(task), **workers))
