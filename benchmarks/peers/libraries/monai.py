"""MONAI's caches: pictures of 320 pixels in memory or on disk, and one random affine for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from monai.data import CacheDataset, DataLoader, PersistentDataset, PILReader, set_track_meta
from monai.transforms import (
    CastToType,
    Compose,
    EnsureChannelFirst,
    EnsureType,
    LoadImage,
    NormalizeIntensity,
    RandAffine,
    RandFlip,
    Resize,
)
from torch.utils.data import Dataset

from benchmarks.peers.task import KEPT, MEAN, SIZE, STD, Epochs, Task


def in_memory(task: Task) -> Epochs:
    """CacheDataset, filled by threads before the first epoch."""
    files, workers = _names(task), task.workers
    return _loader(CacheDataset(files, _transform(task), num_workers=workers, progress=False, copy_cache=False), task)


def on_disk(task: Task) -> Epochs:
    """PersistentDataset, filled in the first epoch."""
    return _loader(PersistentDataset(_names(task), _transform(task), cache_dir=task.work), task)


def _names(task: Task) -> Sequence[str]:
    return [str(file) for file in task.files]


def _transform(task: Task) -> Compose:
    set_track_meta(False)  # its own advice for speed
    most = KEPT / SIZE  # pixels of the kept picture a pixel of the output, of the largest area
    last: Any = NormalizeIntensity(255 * MEAN[0], 255 * STD[0])
    return Compose(
        [
            LoadImage(PILReader(lambda image: image.convert("L")), image_only=True),
            EnsureChannelFirst(channel_dim="no_channel"),
            Resize((KEPT, KEPT), mode="area"),
            RandFlip(0.5, spatial_axis=0),
            RandFlip(0.5, spatial_axis=1),
            RandAffine(
                prob=1.0,
                rotate_range=math.radians(25),
                scale_range=[(math.sqrt(0.4) * most - 1, most - 1)] * 2,
                translate_range=KEPT * (1 - math.sqrt(0.4)) / 4,
                spatial_size=(SIZE, SIZE),
                padding_mode="zeros",
            ),
            last if task.output == "float32" else CastToType(np.uint8),
            EnsureType(),
        ]
    )


def _loader(dataset: Dataset[Any], task: Task) -> Epochs:
    workers = {"num_workers": task.workers, "persistent_workers": True}
    return partial(iter, DataLoader(dataset, batch_size=task.batch_size, shuffle=True, **workers))
