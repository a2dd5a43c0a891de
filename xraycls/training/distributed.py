"""Several processes as one training: set-up from torchrun's environment, and the few collectives it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from xraycls.errors import TrainingError

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class World:
    """This process among all of them.

    Attributes:
        rank: 0 writes files and talks to the user.
        size: number of processes.
        local_rank: the process, and so the GPU, on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0


def current_world() -> World:
    """The world as torchrun describes it in the environment; a single process without it."""
    return World(
        int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    )


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[None]:
    """Join the process group for the duration of a block: nccl on GPUs, gloo on CPUs.

    Raises:
        TrainingError: another process is gone.
    """
    if world.size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise TrainingError(
            f"Process {world.rank + 1} of {world.size} lost the connection to another one",
            "Start all again with --resume; torchrun --max-restarts N does so by itself",
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def all_sum(tensor: torch.Tensor, world: World) -> torch.Tensor:
    """The sum of a tensor over all processes."""
    if world.size > 1:
        dist.all_reduce(tensor)
    return tensor


def gather_rows(tensor: torch.Tensor, world: World) -> torch.Tensor:
    """The rows of all processes, [world · n, …]; every process must bring the same number."""
    if world.size == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world.size)]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def gathered(found: Mapping[int, Found], world: World) -> dict[int, Found]:
    """Returns what all processes found in pictures, by the row of the picture in its table.

    Args:
        found: by this process; where two processes bring the same picture, the later rank's is taken.
        world: the processes, which may bring different numbers of pictures.
    """
    if world.size == 1:
        return dict(found)
    parts: list[dict[int, Found]] = [{} for _ in range(world.size)]
    dist.all_gather_object(parts, dict(found))
    return {row: each for part in parts for row, each in part.items()}


def share_buffers(model: nn.Module, world: World) -> None:
    """Give every process the buffers of the first one, so that all evaluate the model that is saved.

    The running statistics of batch normalisation differ a little from process to process.
    """
    if world.size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def barrier(world: World) -> None:
    """Wait until every process is here."""
    if world.size > 1:
        dist.barrier()
