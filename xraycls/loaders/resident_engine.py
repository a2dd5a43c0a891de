"""The resident engine: all pictures lie on the device, and a batch is drawn from them in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.open import open_image
from xraycls.data.processors import available_memory, one_thread_a_picture
from xraycls.data.square import prepared_picture
from xraycls.data.store import stored_sizes
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.loaders.batch_render import BatchRenderer
from xraycls.loaders.engine import Drawn, Engine
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.plan import BatchPlan
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.sampler import Sampler

Progress = Callable[[int, int], None]

_MOST = 0.6  # of the device's free memory; the model and its activations need the rest


class ResidentLoader(Engine):
    """Batches drawn from pictures that were put on the device once, as uint8.

    A prepared store is taken as it is; on a CPU it stays on disk, mapped into memory. Files of any other source are
    decoded once, here, to 10/7 of the recipe's size (320 pixels for 224).

    Args:
        table: the samples.
        recipe: how they are rendered.
        sampler: which of them form which batch.
        device: where the pictures lie and are drawn.
        threads: for decoding.
        objects: what is to be found in the pictures.
        strict: raise DataError for a picture that can't be read.
        progress: told how many files were decoded.

    Raises:
        UsageError: the pictures don't fit into the device's memory.
        DataError: the store can't be read.
    """

    def __init__(
        self,
        table: SampleTable,
        recipe: ViewRecipe,
        sampler: Sampler,
        *,
        device: torch.device,
        threads: int = 2,
        objects: ObjectTable | None = None,
        strict: bool = False,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(table, recipe, sampler, objects=objects, strict=strict)
        self.unreadable: set[int] = set()
        pictures, self.rows, self.sizes = (
            self._stored(device) if table.source == "prepared" else self._decoded(device, threads, progress)
        )
        self.grid = np.array(pictures.shape[:0:-1]) / self.sizes
        self.renderer = BatchRenderer(pictures, recipe.canvas)

    def _draw(self, plans: Iterator[BatchPlan]) -> Drawn:
        for plan in plans:
            indices = plan.batch.indices
            sizes, rows = self.sizes[indices], range(len(indices))
            boxes = [self.objects.boxes[index] for index in indices] if self.objects else ()
            views = plan.views(self.index_sampler.seed, rows, sizes, boxes, training=self.index_sampler.training)
            plan.note(rows, views)
            views = views.on_grid(*self.grid[indices].T)
            failed = [row for row, index in enumerate(indices.tolist()) if index in self.unreadable]
            yield plan, self.renderer(self.rows[indices], views), failed

    def _stored(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, npt.NDArray[np.float64]]:
        """The pictures of a store, the row of each sample in them, and the widths and heights of the originals."""
        path = self.table[0].path
        rows = np.array([sample.row for sample in self.table], np.int64)
        # Mapped for copy-on-write: torch wants memory that may be written, and nothing writes it.
        mapped = np.load(path, mmap_mode="c", allow_pickle=False)
        sizes = stored_sizes(path)[rows].astype(np.float64)
        if device.type == "cpu":
            return torch.from_numpy(mapped), torch.from_numpy(rows), sizes
        _check_memory(len(rows) * mapped[0].nbytes, len(rows), device)
        return torch.from_numpy(mapped[rows]).to(device), torch.arange(len(rows)), sizes

    def _decoded(
        self, device: torch.device, threads: int, progress: Progress | None
    ) -> tuple[torch.Tensor, torch.Tensor, npt.NDArray[np.float64]]:
        """The pictures of any other source, decoded once."""
        count, side = len(self.table), self._side()
        _check_memory(count * side**2, count, device)
        pictures = torch.zeros((count, side, side), dtype=torch.uint8)
        array, sizes = pictures.numpy(), np.full((count, 2), float(side))

        def decode(index: int) -> None:
            try:
                image = open_image(self.table[index])
                array[index] = prepared_picture(image, side)
                sizes[index] = image.width, image.height
            except DataError as error:
                self._fail(index, error)
                self.unreadable.add(index)

        with one_thread_a_picture(), ThreadPoolExecutor(max(threads, 1)) as pool:
            for done, _ in enumerate(pool.map(decode, range(count)), start=1):
                if progress:
                    progress(done, count)
        return pictures.to(device), torch.arange(count), sizes

    def _side(self) -> int:
        """Side of the pictures that are kept: enough for close crops, but not more than an archive's arrays have."""
        side = round(max(self.recipe.canvas.shape) * 10 / 7)
        own = open_image(self.table[0]).width if self.table.source == "medmnist" else side
        return own if max(self.recipe.canvas.shape) <= own <= side else side


def _check_memory(needed: int, count: int, device: torch.device) -> None:
    """Raise UsageError when so many bytes would crowd out the model."""
    free = float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()
    if needed > _MOST * free:
        raise UsageError(
            f"--loader resident would keep {count:,} pictures of {needed / 2**30:.1f} GiB on {device}, which has"
            f" {free / 2**30:.1f} GiB free",
            "Take --loader torch or --loader dali, or prepare the data at a smaller --size",
        )


def fits(needed: int, device: torch.device) -> bool:
    """Whether so many bytes may stay on the device."""
    try:
        _check_memory(needed, 0, device)
    except UsageError:
        return False
    return True
