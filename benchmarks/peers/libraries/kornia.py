"""kornia: whole batches are augmented as tensors, from pictures of 320 pixels in memory."""

from __future__ import annotations

from collections.abc import Iterator

import kornia.augmentation as K
import torch

from benchmarks.peers.libraries.hand_written import small_pictures
from benchmarks.peers.task import MEAN, SIZE, STD, Epochs, Task


def in_memory(task: Task) -> Epochs:
    """``AugmentationSequential`` with as many threads of torch as others have workers."""
    torch.set_num_threads(task.workers)
    pictures = torch.stack([torch.from_numpy(picture) for picture in small_pictures(task.files, task.workers)])[:, None]
    last = [K.Normalize(MEAN[:1], STD[:1])] if task.output == "float32" else []
    augment = K.AugmentationSequential(
        K.RandomHorizontalFlip(p=0.5),
        K.RandomVerticalFlip(p=0.5),
        K.RandomRotation(25.0, p=1.0),
        K.RandomResizedCrop((SIZE, SIZE), scale=(0.4, 1.0), ratio=(0.5, 1.5)),
        *last,
        data_keys=["input"],
    )

    @torch.no_grad()
    def epoch() -> Iterator[torch.Tensor]:
        for chosen in torch.randperm(len(pictures)).split(task.batch_size):
            images = augment(pictures[chosen].float() / 255)
            yield images if task.output == "float32" else (images * 255).round_().byte()

    return epoch
