"""ffcv: raw pictures of 320 pixels in a beton file; it has no rotation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from ffcv.fields import RGBImageField
from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter

from benchmarks.peers.libraries.hand_written import small_picture
from benchmarks.peers.task import KEPT, MEAN, SIZE, STD, Epochs, Task

_BETON = "pictures.beton"


class _Pictures:
    """What ffcv's writer reads: RGB, the only pictures that it has."""

    def __init__(self, task: Task) -> None:
        self.files = task.files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray]:
        return (np.repeat(small_picture(self.files[index])[..., None], 3, axis=2),)


def prepare(task: Task) -> None:
    """Write the beton file."""
    fields = {"image": RGBImageField(write_mode="raw", max_resolution=KEPT)}
    DatasetWriter(str(task.store / _BETON), fields, num_workers=1).from_indexed_dataset(_Pictures(task))


def loader(task: Task) -> Epochs:
    """Crop, flip and, for floats, normalisation, compiled by numba."""
    floats = [NormalizeImage(255 * np.array(MEAN), 255 * np.array(STD), np.float32)]
    crop = RandomResizedCropRGBImageDecoder((SIZE, SIZE), scale=(0.4, 1.0), ratio=(0.5, 1.5))
    compiled = [crop, RandomHorizontalFlip(), *(floats if task.output == "float32" else [])]  # all that numba compiles
    loader = Loader(
        str(task.store / _BETON),
        batch_size=task.batch_size,
        num_workers=task.workers,
        order=OrderOption.RANDOM,
        pipelines={"image": [*compiled, ToTensor(), ToTorchImage(convert_back_int16=False)]},
    )

    def epoch() -> Iterator[torch.Tensor]:
        return (images for (images,) in loader)

    return epoch
