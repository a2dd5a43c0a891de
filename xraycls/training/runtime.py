"""Where a training computes, and how long the device waits there for its data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from xraycls.training.distributed import World
from xraycls.training.precision import Precision


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a training runs on.

    Attributes:
        device: of this process.
        precision: number format of the forward pass.
        world: this process among all.
    """

    device: torch.device
    precision: Precision
    world: World


class DataTimer:
    """Measures the data time: from asking for a batch to getting it, where the device was idle when it came.

    A GPU works through its queue while the host fetches the next batch, so only a batch that finds the queue empty has
    kept it waiting. Asking a GPU whether that is so doesn't wait for it.

    Args:
        device: that computes.

    Attributes:
        seconds: data time so far.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        event: Any = torch.cuda.Event
        self._done: Any = event() if device.type == "cuda" else None
        self._since = time.perf_counter()

    def asked(self) -> None:
        """The next batch is asked for; what was queued before is the device's work until it comes."""
        self._since = time.perf_counter()
        if self._done:
            self._done.record()

    def arrived(self) -> None:
        """The batch is there."""
        if self._done is None or self._done.query():
            self.seconds += time.perf_counter() - self._since
