"""Which engine feeds the model."""

from __future__ import annotations

import os

import torch

from xraycls.data.table import SampleTable
from xraycls.errors import UsageError
from xraycls.loaders.recipe import Recipe
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.torch_engine import TorchLoader


def build_loader(
    table: SampleTable,
    recipe: Recipe,
    *,
    batch_size: int,
    training: bool,
    device: torch.device,
    balance: bool = False,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    threads: int | None = None,
    strict: bool = False,
) -> TorchLoader:
    """Batches of a table's pictures for one process.

    Args:
        table: the samples of one split.
        recipe: how they are rendered.
        batch_size: images a process and batch.
        training: shuffled training views in full batches; otherwise evaluation views in order.
        device: where the batches will go.
        balance: draw every class equally often.
        seed: of order and augmentation.
        rank: this process.
        world: number of processes.
        threads: decoding threads; None takes one for every processor of this process's share.
        strict: stop at a picture that can't be read.

    Raises:
        UsageError: a training batch over all processes is larger than the data.
    """
    if training and batch_size * world > len(table):
        raise UsageError(
            f"A batch of {batch_size * world} is larger than the {len(table)} training images",
            f"Lower --batch-size to at most {max(len(table) // world, 1)}",
        )
    sampler = Sampler(table.labels, batch_size, training=training, balance=balance, seed=seed, rank=rank, world=world)
    if threads is None:
        threads = max(available_processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)
    return TorchLoader(table, recipe, sampler, threads=threads, pin_memory=device.type == "cuda", strict=strict)


def available_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
