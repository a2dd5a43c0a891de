"""The DALI graph. The only file that imports nvidia.dali."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import torch

from xraycls.data.image import Levels
from xraycls.errors import MissingExtra, UsageError
from xraycls.loaders.dali_feed import FIELDS, Feed

_WAY_OUT = "Install the DALI of the driver's CUDA (nvidia-dali-cuda120 or nvidia-dali-cuda130), or take --loader torch"
_FRAMING = ("Critical error", "Current pipeline", "Error in", "which was used")
# In the words of CUDA, of DALI's own allocators and of C++.
_OUT_OF_MEMORY = ("out of memory", "memoryallocation", "can't allocate", "cuda allocation failed", "bad_alloc")
# What DALI's native errors become in Python, apart from the StopIteration that ends an epoch.
_NATIVE_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError)

Pictures = torch.Tensor | list[torch.Tensor]
"""uint8 [n, 1, H, W] where all are of one size, else a list of [1, H, W]."""

# Of a batch: what `packed` gives. Raises StopIteration at the end of an epoch.
Source = Callable[[], tuple[Any, ...]]


class GraphFailure(Exception):
    """DALI could not draw a batch.

    Args:
        reason: DALI's own words, in one line.
        out_of_memory: whether memory ran out.
    """

    def __init__(self, reason: str, *, out_of_memory: bool) -> None:
        super().__init__(reason)
        self.out_of_memory = out_of_memory


def is_installed() -> bool:
    """Whether DALI can be imported; doesn't import it."""
    return find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None


class DaliGraph:
    """Encoded files or pixels → region → antialiased resampling → one warp → uint8 pictures.

    A pipeline with the dynamic executor, DALI's default: its outputs stay valid and reach torch without a copy, and
    a batch that fails doesn't take the next ones with it. DALI's dynamic mode was no faster.

    Args:
        source: gives the feeds of one batch after another.
        fill: grey level of what lies outside a picture, 0–255; None repeats its edge.
        batch_size: pictures of the largest batch.
        threads: of DALI's own.
        device: a CUDA device decodes and draws there; a CPU with DALI's CPU operators.
        prefetch: batches in work at a time.

    Raises:
        MissingExtra: DALI isn't installed.
        UsageError: DALI can't use the GPU.
    """

    def __init__(
        self, source: Source, fill: int | None, batch_size: int, *, threads: int, device: torch.device, prefetch: int
    ) -> None:
        self.device = device
        self.in_epoch = False  # begun, and not yet ended by a None
        try:
            from nvidia.dali import fn, pipeline_def, types
        except ModuleNotFoundError as error:
            raise MissingExtra("NVIDIA DALI", "dali") from error
        except (ImportError, OSError) as error:
            raise UsageError(f"DALI is installed but can't be imported: {_reason(error)}", _WAY_OUT) from error

        on_gpu = device.type == "cuda"

        # One JPEG decoder for all, so that pixels don't depend on a picture's place in its batch; threads that are not
        # tied to cores, because several processes would tie theirs to the same ones.
        mixed = {"device": "mixed", "hw_decoder_load": 1.0, "affine": False}

        @pipeline_def(  # type: ignore[untyped-decorator]
            batch_size=batch_size,
            num_threads=threads,
            device_id=(device.index or 0) if on_gpu else None,
            prefetch_queue_depth=prefetch,
            enable_conditionals=True,
        )
        def graph() -> Any:
            feed: Any = Feed(
                *fn.external_source(
                    source=source,
                    num_outputs=len(FIELDS),
                    dtype=[getattr(types, name) for name, _, _ in FIELDS.values()],
                    ndim=[dimensions for _, _, dimensions in FIELDS.values()],
                    # The arrays are kept until their pictures are there. A GPU may still be reading them then.
                    no_copy=not on_gpu,
                )
            )
            region = {"start": feed.start, "shape": feed.shape, "axes": [0, 1]}
            if feed.encoded:
                if feed.levels == Levels.AS_THEY_ARE.value:
                    if on_gpu:  # whole files: the hardware decoder takes no regions
                        picture = fn.decoders.image(feed.data, output_type=types.GRAY, **mixed)
                        picture = fn.slice(picture, **region)
                    else:
                        picture = fn.decoders.image_slice(feed.data, output_type=types.GRAY, **region)
                else:
                    deep = fn.decoders.image(
                        feed.data, output_type=types.GRAY, dtype=types.UINT16, **(mixed if on_gpu else {})
                    )
                    picture = fn.slice(_to_eight_bits(deep, feed.levels.gpu() if on_gpu else feed.levels), **region)
            else:
                shape = fn.cat(feed.shape, types.Constant([1], dtype=types.INT32))
                pixels = feed.data.gpu() if on_gpu else feed.data
                picture = fn.reshape(pixels, shape=shape, layout="HWC")
            if feed.resize:
                picture = fn.resize(picture, size=feed.target, interp_type=types.INTERP_LINEAR, antialias=True)
            if feed.drawn:
                drawn = fn.copy(picture)  # outlives what it was fed from
            else:
                drawn = fn.warp_affine(
                    picture,
                    matrix=feed.matrix,
                    size=feed.size,
                    fill_value=fill,
                    inverse_map=True,
                    interp_type=types.INTERP_LINEAR,
                )
            return drawn

        try:
            self.pipeline = graph()
            self.pipeline.build()
        except _NATIVE_ERRORS as error:
            if not on_gpu or _is_out_of_memory(error):
                raise _failure(error) from error
            raise UsageError(f"DALI can't use {device}: {_reason(error)}", _WAY_OUT) from error

    def run(self) -> Pictures | None:
        """The pictures of the next batch on the device; None at the end of the epoch.

        Raises:
            GraphFailure: DALI could not draw this batch; build a new graph for the next ones.
        """
        self.in_epoch = True
        stream = torch.cuda.current_stream(self.device) if self.device.type == "cuda" else None
        try:
            with torch.cuda.device(self.device) if stream else nullcontext():
                (drawn,) = self.pipeline.run(stream)
        except StopIteration:
            self.pipeline.reset()
            self.in_epoch = False
            return None
        except _NATIVE_ERRORS as error:
            raise _failure(error) from error
        if drawn.is_dense_tensor():
            pictures = torch.utils.dlpack.from_dlpack(drawn.as_tensor())
            return pictures.view(-1, 1, *pictures.shape[1:3])
        return [torch.utils.dlpack.from_dlpack(picture).squeeze(-1)[None] for picture in drawn]


def _to_eight_bits(deep: Any, levels: Any) -> Any:
    """16-bit grey levels to 8 bits, as :class:`Levels` says."""
    from nvidia.dali import fn, math, types

    largest = fn.reductions.max(deep)
    smallest = fn.reductions.min(deep) * (levels != Levels.BY_DEPTH.value)
    # The largest value of the smallest of 8, 10, 12, 14 and 16 bits that holds all values.
    full = 255 + 768 * (largest > 255) + 3072 * (largest > 1023) + 12288 * (largest > 4095) + 49152 * (largest > 16383)
    by_depth = types.Constant(1, dtype=types.INT32) * (levels == Levels.BY_DEPTH.value)
    span = by_depth * full + (1 - by_depth) * (largest - smallest)
    grey = (deep - smallest) * (255.0 / math.max(fn.cast(span, dtype=types.FLOAT), 1.0))
    inverted = fn.cast(levels == Levels.INVERTED.value, dtype=types.FLOAT)
    return fn.cast(grey + inverted * (255.0 - 2.0 * grey), dtype=types.UINT8)


def _failure(error: Exception) -> GraphFailure:
    return GraphFailure(_reason(error), out_of_memory=_is_out_of_memory(error))


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)


def _reason(error: Exception) -> str:
    """The line of DALI's many that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_FRAMING)]
    return (telling or lines or [type(error).__name__])[0][:200]
