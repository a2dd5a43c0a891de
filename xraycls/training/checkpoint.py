"""What training keeps on disk: its state, and a model every few epochs.

The state is everything that resuming needs, in one file, so that no pair of files can disagree.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from xraycls.data.files import atomic_write, share_file
from xraycls.errors import RunError

FORMAT = 1


def save_state(state: Mapping[str, Any], path: Path, seal: Callable[[bytes], bytes] | None = None) -> None:
    """Write tensors, numbers, strings, lists and dicts, atomically; ``seal`` encrypts what is written.

    Raises:
        XrayclsError: the disk is full; the old file survives.
    """
    buffer = io.BytesIO()  # a full disk is then an OSError of the write, whatever torch makes of it
    torch.save({"format": FORMAT, **state}, buffer)
    with atomic_write(path) as temporary:
        temporary.write_bytes(seal(buffer.getvalue()) if seal else buffer.getbuffer())


def load_state(path: Path, unseal: Callable[[bytes], bytes] | None = None) -> dict[str, Any]:
    """Read a training state; nothing in the file is executed. ``unseal`` decrypts what was read, and its errors pass.

    Raises:
        RunError: no such file, cut short, of another version, or not a training state.
    """
    if not path.is_file():
        raise RunError(f"Nothing to resume: {path} does not exist", "Leave out --resume to start a new run")
    content = io.BytesIO(unseal(path.read_bytes())) if unseal else path
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{path} holds objects other than tensors and was not loaded", "Only resume your own runs"
        ) from error
    except Exception as error:  # torch's reader of pickles trips over damage in any way
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"{path} is not a checkpoint or is cut short ({problem})", "Start a new run with another --output"
        ) from error
    if not isinstance(state, dict) or type(state.get("format")) is not int or state["format"] != FORMAT:
        raise RunError(f"{path} is not a training state of this version of xraycls")
    counts = [state.get(name) for name in ("epoch", "step", "plateaus")]
    if not all(type(count) is int and count >= 0 for count in counts) or not isinstance(state.get("model"), dict):
        raise RunError(f"{path} is damaged", "Start a new run with another --output")
    return state


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Keeps the latest weights under a name of their own at every interval and at the end.

    Attributes:
        latest: the weights that training writes after every epoch.
        name: the file of an epoch, counted from 1.
        interval: epochs between two files.
        message: called with a sentence on every file.
    """

    latest: Path
    name: Callable[[int], Path]
    interval: int
    message: Callable[[str], None]

    def __call__(self, epoch: int, last: bool) -> None:
        """Keep the weights of an epoch where they are due."""
        if epoch % self.interval == 0 or last:
            path = self.name(epoch)
            share_file(self.latest, path)
            self.message(f"Epoch {epoch:05d}: saving model to {path}")

    def repair(self, epoch: int, last: bool) -> None:
        """Keep the weights of an epoch that a training of an earlier version was killed before keeping."""
        if epoch and not self.name(epoch).is_file() and self.latest.is_file():
            self(epoch, last)
