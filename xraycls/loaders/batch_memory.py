"""Memory that batches take in turns: to touch fresh memory for the first time costs more than to draw into it."""

from __future__ import annotations

import math
import weakref

import numpy as np
import numpy.typing as npt
import torch

_DTYPES = {torch.uint8: np.uint8, torch.float32: np.float32}


class BatchMemory:
    """Tensors on the CPU whose memory is used again once nobody holds them or a view of them any more.

    Any thread may let go of a tensor.

    Args:
        most: pieces of memory that wait.

    Example:
        >>> memory, shape = BatchMemory(2), (8, 1, 224, 224)
        >>> images = memory.empty(shape, torch.uint8)
        >>> first, place = images[0], images.data_ptr()
        >>> del images
        >>> memory.empty(shape, torch.uint8).data_ptr() == place  # which first still shows
        False
        >>> del first
        >>> memory.empty(shape, torch.uint8).data_ptr() == place
        True
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: list[npt.NDArray[np.uint8]] = []

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Returns a tensor of uint8 or float32 with arbitrary content, as torch.empty."""
        piece = self._taken(math.prod(shape) * dtype.itemsize)
        # A tensor and its views hold the array that the tensor was made of: it goes with the last of them.
        lent = piece.view(_DTYPES[dtype]).reshape(shape)
        weakref.finalize(lent, self._give_back, piece).atexit = False
        return torch.from_numpy(lent)

    def _taken(self, size: int) -> npt.NDArray[np.uint8]:
        # No lock, which whoever lets go of a tensor might hold already: single operations of a list need none.
        try:
            piece = self._waiting.pop()
            if piece.size == size:  # else that of a short last batch or of another canvas, which is dropped
                return piece
        except IndexError:
            pass
        return np.asarray(torch.empty(size, dtype=torch.uint8).numpy())

    def _give_back(self, piece: npt.NDArray[np.uint8]) -> None:
        if len(self._waiting) < self.most:
            self._waiting.append(piece)
