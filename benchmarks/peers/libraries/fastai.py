"""fastai: items are cropped by workers, and batches turned and normalised as tensors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from fastai.vision.all import (
    CategoryBlock,
    DataBlock,
    Dihedral,
    ImageBlock,
    IndexSplitter,
    Normalize,
    PILImageBW,
    RandomResizedCrop,
    Rotate,
)

from benchmarks.peers.task import MEAN, SIZE, STD, Epochs, Task


def loader(task: Task) -> Epochs:
    """A DataBlock's loader for training; its batches are floats, whatever is asked for."""
    block = DataBlock(
        (ImageBlock(PILImageBW), CategoryBlock),
        splitter=IndexSplitter([0]),
        get_y=lambda file: file.parent.name,
        item_tfms=RandomResizedCrop(SIZE, min_scale=0.4, ratio=(0.5, 1.5)),
        batch_tfms=[Dihedral(), Rotate(25, p=1.0), Normalize.from_stats(MEAN[:1], STD[:1], cuda=False)],
    )
    loaders = block.dataloaders(
        list(task.files),
        bs=task.batch_size,
        num_workers=task.workers,
        device=torch.device("cpu"),
        drop_last=False,
    )

    def epoch() -> Iterator[torch.Tensor]:
        return (images for images, _ in loaders.train)

    return epoch
