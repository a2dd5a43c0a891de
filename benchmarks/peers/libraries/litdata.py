"""litdata: chunks of pictures of 320 pixels, with the hand-written warp."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from litdata import StreamingDataLoader, StreamingDataset, optimize

from benchmarks.peers.libraries.hand_written import augmented, collated, small_picture
from benchmarks.peers.task import Epochs, Task


class _Chunks(StreamingDataset):
    def __getitem__(self, index: Any) -> torch.Tensor:
        return augmented(np.asarray(super().__getitem__(index)))


def _tensor(file: str) -> Any:
    return small_picture(file)


def prepare(task: Task) -> None:
    """Write the chunks."""
    files = [str(file) for file in task.files]
    optimize(_tensor, files, str(task.store / "chunks"), chunk_bytes="64MB", num_workers=1, start_method="fork")


def loader(task: Task) -> Epochs:
    """Its dataset and loader."""
    dataset = _Chunks(str(task.store / "chunks"), shuffle=True)
    loader = StreamingDataLoader(
        dataset,
        batch_size=task.batch_size,
        num_workers=task.workers,
        persistent_workers=True,
        collate_fn=collated(task),
    )
    return partial(iter, loader)
