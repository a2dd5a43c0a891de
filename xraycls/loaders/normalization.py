"""Grey levels as a network takes them that doesn't normalise its pictures itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from xraycls.errors import UsageError
from xraycls.loaders.kernels import normalize


@dataclass(frozen=True, slots=True)
class Normalization:
    """``(grey / 255 - mean) / std``, as torchvision's ``Normalize``; every channel is made of the same grey levels.

    Attributes:
        mean: of each channel, in grey levels of 0–1.
        std: of each channel, likewise.

    Raises:
        UsageError: another number of means than of standard deviations, none, or a deviation that isn't positive.

    Example:
        >>> images = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
        >>> Normalization((0.5, 0.0), (0.25, 1.0))(images).tolist()
        [[[[-2.0, 2.0]], [[0.0, 1.0]]]]
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise UsageError(
                f"A mean of {self.mean} and a standard deviation of {self.std} don't normalise pictures",
                "Give both for every channel, in grey levels of 0–1",
            )

    @property
    def channels(self) -> int:
        """Of the normalised pictures."""
        return len(self.mean)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Returns float32 [B, C, H, W] of uint8 [B, 1, H, W], on the same device."""
        means, factors = (torch.from_numpy(each).to(images.device)[:, None, None] for each in self._numbers)
        return images.to(torch.float32).sub(means).mul_(factors)

    def write(self, pictures: npt.NDArray[np.uint8], out: npt.NDArray[np.float32]) -> None:
        """Write pictures, uint8 [n, H, W], into float32 [n, C, H, W]; to the bit as for a batch.

        The interpreter's lock isn't held meanwhile, so the threads of a loader share the work.
        """
        normalize(pictures, out, *self._numbers)

    @property
    def _numbers(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """What is subtracted from grey levels of 0–255, and the factor of the difference; [C] each."""
        mean, std = np.array([self.mean, self.std]) * 255
        return mean.astype(np.float32), (1 / std).astype(np.float32)
