"""Our engines as the benchmarks run them: which combinations there are, and one epoch of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import cv2
import torch

from xraycls.data.image import Image
from xraycls.data.open import open_image
from xraycls.data.table import SampleTable
from xraycls.loaders.choose import build_loader
from xraycls.loaders.engine import Engine
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import decoding_of
from xraycls.loaders.views import View
from xraycls.training.precision import choose_device


def devices(name: str) -> list[torch.device]:
    """What to measure on: the CPU and, with "auto" and where there is one, the GPU; raises UsageError."""
    if name == "auto":
        return [torch.device("cpu"), *([torch.device("cuda", 0)] if torch.cuda.is_available() else [])]
    return [choose_device(name)]


def combinations(
    sources: Mapping[str, SampleTable], places: list[torch.device]
) -> Iterator[tuple[str, str, torch.device]]:
    """Engine, source and device of every row.

    The resident engine decodes files once, when it is built, and is from then on what it is with prepared data: its
    only rows are those.
    """
    for source, table in sources.items():
        for place in places:
            yield "torch", source, place
            yield "dali", source, place
            if table.source == "prepared":
                yield "resident", source, place


def training_engine(
    engine: str,
    table: SampleTable,
    recipe: ViewRecipe,
    place: torch.device,
    batch_size: int,
    threads: int,
    objects: ObjectTable | None = None,
) -> Engine:
    """An engine that draws training views; raises XrayclsError where it can't work here."""
    return build_loader(
        table,
        recipe,
        engine=engine,
        batch_size=batch_size,
        training=True,
        device=place,
        threads=threads,
        objects=objects,
    )


def one_epoch(loader: Engine, place: torch.device) -> int:
    """Go through an epoch with every batch on the device; gives the number of pictures that could be read."""
    count = 0
    for batch in loader:
        batch.to(place)
        count += int(batch.weights.sum())
    return count


def decoding_alone(table: SampleTable, view_of: Callable[[int, Image], View], threads: int) -> Callable[[], int]:
    """Reading and decoding of the files at the scales that our engines pick for views of them: a loader's floor.

    Args:
        table: the files.
        view_of: the view of the image at an index.
        threads: that decode.
    """

    def scale(index: int) -> int:
        image = open_image(table[index])
        return decoding_of(image, view_of(index, image))[0]

    scales = [scale(index) for index in range(len(table))]

    def decode(index: int) -> None:
        open_image(table[index]).decode(scales[index])

    def run() -> int:
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, range(len(table))))
        return len(table)

    return run
