"""MosaicML streaming: MDS shards of the JPEGs or of pictures of 320 pixels, with the hand-written warp."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader

from benchmarks.peers.libraries.hand_written import augmented, collated, shrunk, small_picture
from benchmarks.peers.task import KEPT, Epochs, Task


class _Shards(StreamingDataset):
    def __getitem__(self, index: Any) -> torch.Tensor:
        picture = super().__getitem__(index)["picture"]
        if isinstance(picture, Image.Image):
            picture = shrunk(np.asarray(picture.convert("L")))
        return augmented(picture)


def prepare_jpegs(task: Task) -> None:
    """Copy the files into shards."""
    with MDSWriter(out=str(task.store), columns={"picture": "jpeg"}) as writer:
        for file in task.files:
            with Image.open(file) as image:
                writer.write({"picture": image})


def prepare_raw(task: Task) -> None:
    """Write pictures of 320 pixels into shards."""
    with MDSWriter(out=str(task.store), columns={"picture": f"ndarray:uint8:{KEPT},{KEPT}"}) as writer:
        for file in task.files:
            writer.write({"picture": small_picture(file)})


def loader(task: Task) -> Epochs:
    """A StreamingDataset of local shards."""
    clean_stale_shared_memory()
    dataset = _Shards(local=str(task.store), shuffle=True, batch_size=task.batch_size)
    workers = {"num_workers": task.workers, "persistent_workers": True}
    return partial(iter, DataLoader(dataset, task.batch_size, collate_fn=collated(task), **workers))
