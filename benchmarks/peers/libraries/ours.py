"""xraycls as a training on a CPU sets it up: from files with their cache, and from a prepared store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from itertools import count

import torch

from benchmarks.peers.task import KEPT, MEAN, SIZE, STD, Epochs, Task
from xraycls.data.prepare import prepare as prepare_store
from xraycls.data.source import read_table
from xraycls.data.store import read_store
from xraycls.data.table import SampleTable
from xraycls.loaders.cache import picture_cache
from xraycls.loaders.choose import build_loader
from xraycls.loaders.normalization import Normalization
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.training.memory import freed_memory_kept

_WHEN_NEEDED = (
    "numpy.random",
    "PIL.JpegImagePlugin",
    "xraycls.loaders.torch_engine",
    "xraycls.loaders.resident_engine",
)
for _name in _WHEN_NEEDED:  # what xraycls and numpy import late; the peers import theirs with the library
    import_module(_name)

_RECIPE = find_recipe("classic2021", SIZE)
_AS_IN_TRAINING = ExitStack()  # until the process ends


def from_files(task: Task) -> Epochs:
    """``--data FOLDER``: decoded pictures are kept from the first epoch on."""
    return _epochs(read_table(task.data), "auto", task)


def from_files_uncached(task: Task) -> Epochs:
    """``--data FOLDER --cache off``."""
    return _epochs(read_table(task.data), "auto", task, cache="off")


def prepare(task: Task) -> None:
    """``xraycls data prepare``."""
    prepare_store(task.data, task.store / "prepared", size=KEPT)


def prepared(task: Task) -> Epochs:
    """``--data STORE --loader torch``."""
    return _epochs(read_store(task.store / "prepared"), "torch", task)


def resident(task: Task) -> Epochs:
    """``--data STORE --loader resident``."""
    return _epochs(read_store(task.store / "prepared"), "resident", task)


def _epochs(table: SampleTable, engine: str, task: Task, cache: str = "auto") -> Epochs:
    _AS_IN_TRAINING.enter_context(freed_memory_kept())
    pictures = picture_cache(cache, table, _RECIPE.canvas)
    loader = build_loader(
        table,
        _RECIPE,
        engine=engine,
        batch_size=task.batch_size,
        training=True,
        device=torch.device("cpu"),
        threads=task.workers,
        cache=pictures,
        normalization=Normalization(MEAN[:1], STD[:1]) if task.output == "float32" else None,
    )
    numbers = count()

    def epoch() -> Iterator[torch.Tensor]:
        loader.set_epoch(next(numbers))
        return (batch.images for batch in loader)

    return epoch
