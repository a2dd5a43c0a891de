"""webdataset: tar files of the JPEGs, one for each worker, with the hand-written warp."""

from __future__ import annotations

from functools import partial

import numpy as np
import webdataset as wds

from benchmarks.peers.libraries.hand_written import augmented, collated, shrunk
from benchmarks.peers.task import Epochs, Task


def prepare(task: Task) -> None:
    """Copy the files into tar files."""
    for part in range(task.workers):
        with wds.TarWriter(str(task.store / f"{part}.tar")) as writer:
            for number, file in enumerate(task.files[part :: task.workers]):
                writer.write({"__key__": f"{number:06d}", "jpg": file.read_bytes()})


def loader(task: Task) -> Epochs:
    """Its decoder for grey arrays."""
    tars = sorted(str(path) for path in task.store.glob("*.tar"))
    dataset = (
        wds.WebDataset(tars, shardshuffle=len(tars))
        .shuffle(task.batch_size)
        .decode("l8")
        .to_tuple("jpg")
        .map(lambda item: augmented(shrunk(np.ascontiguousarray(item[0]))))
        .batched(task.batch_size, collation_fn=collated(task))
    )
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=task.workers, persistent_workers=True)
    return partial(iter, loader)
