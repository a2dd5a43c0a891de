"""Which engine feeds the model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.processors import available_processors
from xraycls.data.table import SampleTable
from xraycls.errors import MissingExtra, UsageError, unknown
from xraycls.loaders.cache import PictureCache
from xraycls.loaders.dali_graph import is_installed
from xraycls.loaders.engine import Engine
from xraycls.loaders.normalization import Normalization
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.sampler import Sampler, weights_of_findings

logger = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "dali", "resident")


def build_sampler(
    table: SampleTable,
    batch_size: int,
    *,
    training: bool,
    balance: bool = False,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    weights: npt.NDArray[np.float64] | None = None,
) -> Sampler:
    """Which of a table's samples form which batch; the arguments are those of :func:`build_loader`.

    Raises:
        UsageError: a training batch over all processes is larger than the data.
    """
    if training and batch_size * world > len(table):
        raise UsageError(
            f"A batch of {batch_size * world} is larger than the {len(table)} training images",
            f"Lower --batch-size to at most {max(len(table) // world, 1)}",
        )
    if balance and table.findings:
        balance, weights = False, weights_of_findings(table.targets)
    return Sampler(
        table.labels, batch_size, training=training, balance=balance, seed=seed, rank=rank, world=world, weights=weights
    )


def build_loader(
    table: SampleTable,
    recipe: ViewRecipe,
    *,
    batch_size: int,
    training: bool,
    device: torch.device,
    engine: str = "auto",
    balance: bool = False,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    threads: int | None = None,
    objects: ObjectTable | None = None,
    weights: npt.NDArray[np.float64] | None = None,
    strict: bool = False,
    cache: PictureCache | None = None,
    progress: Callable[[int, int], None] | None = None,
    normalization: Normalization | None = None,
) -> Engine:
    """Batches of a table's pictures for one process.

    Args:
        table: the samples of one split.
        recipe: how they are rendered.
        batch_size: images a process and batch.
        training: shuffled training views in full batches; otherwise evaluation views in order.
        device: where the batches will go.
        engine: one of ``ENGINES``; see :func:`choose_engine`.
        balance: draw every class equally often, or of several findings an image the rare ones more often.
        seed: of order and augmentation.
        rank: this process.
        world: number of processes.
        threads: decoding threads; None takes one for every processor of this process's share.
        objects: what is to be found in the pictures, for detection.
        weights: float64 [n], how often each sample is drawn relative to the others; see
            :func:`~xraycls.loaders.sampler.weights_of_sources`.
        strict: stop at a picture that can't be read.
        cache: of the table's decoded pictures, for an engine that decodes on the CPU; the resident one keeps its own.
        progress: told how many files were decoded, by an engine that decodes all of them at the start.
        normalization: of the batches, for networks that take no grey levels; see :attr:`Engine.normalization`.

    Raises:
        UsageError: a training batch over all processes is larger than the data, fewer pictures than a mosaic takes,
            an unknown engine, or one that can't work here.
        MissingExtra: the engine's package isn't installed.
    """
    if training and len(table) < recipe.pictures:
        raise UsageError(
            f"A mosaic takes {recipe.pictures} pictures, and there are only {len(table)} training images",
            "Add images, or set mosaic_prob to 0",
        )
    sampler = build_sampler(
        table, batch_size, training=training, balance=balance, seed=seed, rank=rank, world=world, weights=weights
    )
    if threads is None:
        threads = max(available_processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)
    chosen = choose_engine(engine, table, device, recipe)
    loader: Engine
    if chosen == "dali":
        from xraycls.loaders.dali_engine import DaliLoader

        kept = cache if device.type == "cpu" else None  # a GPU decodes files faster than a CPU hands over pictures
        loader = DaliLoader(
            table, recipe, sampler, device=device, threads=threads, objects=objects, strict=strict, cache=kept
        )
    elif chosen == "resident":
        from xraycls.loaders.resident_engine import ResidentLoader

        loader = ResidentLoader(
            table, recipe, sampler, device=device, threads=threads, objects=objects, strict=strict, progress=progress
        )
    else:
        from xraycls.loaders.torch_engine import TorchLoader

        pinned = device.type == "cuda"
        loader = TorchLoader(
            table, recipe, sampler, threads=threads, pin_memory=pinned, objects=objects, strict=strict, cache=cache
        )
    loader.normalization = normalization
    return loader


def choose_engine(name: str, table: SampleTable, device: torch.device, recipe: ViewRecipe | None = None) -> str:
    """The engine that a name means for this data on this device.

    The resident engine draws one picture a sample, on one canvas; where a recipe wants more, another one takes over.
    "auto" takes the resident engine for prepared data that fits on a GPU, else DALI where it is installed and there is
    a GPU, and torch otherwise: on a CPU one warp a picture by OpenCV is faster than a kernel for the whole batch.

    Raises:
        UsageError: unknown name.
        MissingExtra: DALI asked for and not installed.
    """
    if name not in ENGINES:
        raise unknown("loader", name, ENGINES, "--loader")
    if name == "dali" and not is_installed():
        raise MissingExtra("NVIDIA DALI", "dali")
    fixed = recipe is None or not recipe.varies
    if name == "resident" and not fixed:
        logger.warning("The resident engine draws neither mosaics nor letterboxes; the torch engine takes over.")
        return "torch"
    if name != "auto":
        return name
    if fixed and table.source == "prepared" and device.type == "cuda":
        from xraycls.loaders.resident_engine import fits

        if fits(table[0].path.stat().st_size, device):
            return "resident"
    return "dali" if device.type == "cuda" and is_installed() else "torch"


def notice(engine: str, device: torch.device) -> str | None:
    """What the user should know of an engine on a device; None when it is as they would expect."""
    if engine == "dali" and device.type != "cuda":
        return "Without a GPU, DALI decodes and draws with its CPU operators; --loader torch is faster."
    return None
