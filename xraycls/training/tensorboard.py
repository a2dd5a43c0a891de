"""The epochs of a run as TensorBoard scalars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xraycls.training.reporter import PassOn, Reporter


class TensorBoardReporter(PassOn):
    """Passes everything on to another reporter and writes ``events.*`` beside it.

    Args:
        folder: the run folder.
        listener: the reporter to pass on to.
        first_epoch: events of this epoch (from 0) and later, left by a killed run, are hidden.
    """

    def __init__(self, folder: Path, listener: Reporter, first_epoch: int = 0) -> None:
        super().__init__(listener)
        self.folder = folder
        self.first_epoch = first_epoch
        self._writer: Any = None

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Write the row's figures, and pass it on."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=self.first_epoch + 1)
        for name, value in row.items():
            if name != "epoch":
                group, _, rest = name.partition("_")
                tag = f"{rest}/{group}" if group in ("train", "val") else f"run/{name}"
                self._writer.add_scalar(tag, value, int(row["epoch"]))
        self._writer.flush()
        super().epoch(row, improved)

    def close(self) -> None:
        """Close the events file."""
        if self._writer is not None:
            self._writer.close()
