"""The seed's loader of 2021, in torchvision and in DALI."""

from __future__ import annotations

from functools import partial

import torch
from torch.utils.data import DataLoader

from benchmarks.ancestor import Files, ancestor_transform, dali_batches
from benchmarks.peers.task import Epochs, Task


def torchvision(task: Task) -> Epochs:
    """A DataLoader without workers, as the seed had it."""
    return partial(iter, DataLoader(Files(task.files, ancestor_transform()), task.batch_size, shuffle=True))


def torchvision_workers(task: Task) -> Epochs:
    """The same with workers."""
    loader = DataLoader(
        Files(task.files, ancestor_transform()),
        task.batch_size,
        shuffle=True,
        num_workers=task.workers,
        persistent_workers=True,
    )
    return partial(iter, loader)


def dali(task: Task) -> Epochs:
    """The seed's DALI graph, with CPU operators."""
    return dali_batches(task.files, batch_size=task.batch_size, threads=task.workers, place=torch.device("cpu"))
