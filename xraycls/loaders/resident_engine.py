"""The resident engine: all pictures lie on the device, and a batch is drawn from them in one go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from xraycls.data.open import open_image
from xraycls.data.processors import available_memory, one_thread_a_picture
from xraycls.data.square import prepared_picture
from xraycls.data.store import stored_sizes
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.loaders.engine import Drawn, Engine
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.photometric import change_grey_levels
from xraycls.loaders.plan import BatchPlan
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import ALIAS_FREE
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.views import Canvas, Views

Progress = Callable[[int, int], None]

_MOST = 0.6  # of the device's free memory; the model and its activations need the rest

# On a CPU so few pictures stay in the cache between the steps below (7,800 images/s against 3,900 for 30 at once).
_CHUNK = {"cpu": 8}
_DEFAULT_CHUNK = 64


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


class BatchRenderer:
    """Draws pictures of one size from a tensor of stored ones.

    Args:
        pictures: uint8 [N, H, W], on the device that draws.
        canvas: what they are drawn on.
    """

    def __init__(self, pictures: torch.Tensor, canvas: Canvas) -> None:
        self.pictures = pictures
        self.canvas = canvas
        self.fill = canvas.fill or 0
        self.chunk = _CHUNK.get(pictures.device.type, _DEFAULT_CHUNK)
        self._buffers: dict[str, torch.Tensor] = {}  # kept, because fresh memory costs more than the arithmetic

    def __call__(self, rows: torch.Tensor, views: Views) -> torch.Tensor:
        """The pictures of ``rows`` as ``views`` see them, uint8 [B, 1, height, width].

        Args:
            rows: int64 [B], which stored pictures.
            views: of B pictures; their matrices lead to pixels of the stored ones.
        """
        device = self.pictures.device
        images = torch.empty((len(rows), 1, *self.canvas.shape), dtype=torch.uint8, device=device)
        finer = self._supersampling(views)
        order = np.argsort(finer, kind="stable")  # pictures that are sampled alike are drawn together
        rows = rows[order].to(device, non_blocking=True)
        coefficients = self._normalised(views)[order].to(device, non_blocking=True)
        ends = np.flatnonzero(np.diff(finer[order], append=0)) + 1
        for first, end in zip([0, *ends[:-1]], ends, strict=True):
            for start in range(first, end, self.chunk):
                part = slice(start, min(start + self.chunk, end))
                self._draw(rows[part], coefficients[part], int(finer[order[start]]), images[part])
        if len(ends) > 1:
            images = images[torch.from_numpy(np.argsort(order)).to(device, non_blocking=True)]
        return change_grey_levels(images, views.curves) if views.is_photometric else images

    def _draw(self, rows: torch.Tensor, coefficients: torch.Tensor, factor: int, images: torch.Tensor) -> None:
        """Fill ``images``, before the change of grey levels: each pixel is the mean of factor² bilinear samples."""
        count, tall, wide = len(rows), self.canvas.height * factor, self.canvas.width * factor
        _, height, width = self.pictures.shape
        stored = torch.index_select(self.pictures, 0, rows, out=self._buffer("stored", (count, height, width)))
        values = self._buffer("values", (count, 1, height, width)).copy_(stored[:, None])
        if self.fill:  # what lies outside counts as 0
            values.sub_(self.fill)
        x, y = ((torch.arange(side, device=rows.device) + 0.5) / factor for side in (wide, tall))
        # A point as one complex number: adding rows and columns of them is four times as fast as adding pairs.
        across, down, offset = torch.view_as_complex(coefficients.transpose(1, 2).contiguous()).unbind(1)
        grid = self._buffer("grid", (count, tall, wide, 2))
        torch.add(
            (across[:, None] * x)[:, None, :],
            (down[:, None] * y + offset[:, None])[:, :, None],
            out=torch.view_as_complex(grid),
        )
        sampled = F.grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        if factor > 1:
            sampled = F.avg_pool2d(sampled, factor)
        images.copy_(sampled.add_(0.5 + self.fill))

    def _normalised(self, views: Views) -> torch.Tensor:
        """Matrices to the coordinates of grid_sample, where a picture's corners lie at −1 and 1; float32 [B, 2, 3]."""
        _, height, width = self.pictures.shape
        scaled = views.matrices * (2.0 / np.array([[width], [height]]))
        scaled[:, :, 2] -= 1.0
        return torch.from_numpy(scaled.astype(np.float32))

    @staticmethod
    def _supersampling(views: Views) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Samples an output pixel and direction that keep each picture free of aliasing, int64 [B]."""
        return np.maximum(np.ceil(views.scales / ALIAS_FREE - 1e-6), 1).astype(np.int64)

    def _buffer(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """Memory of at least this shape, kept between calls."""
        needed = math.prod(shape)
        held = self._buffers.get(name)
        if held is None or held.numel() < needed:
            dtype = torch.uint8 if name == "stored" else torch.float32
            held = self._buffers[name] = torch.empty(needed, dtype=dtype, device=self.pictures.device)
        return held[:needed].view(shape)
