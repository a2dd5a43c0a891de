"""What to do when the model waits for its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

from xraycls.data.table import SampleTable
from xraycls.training.config import TrainConfig
from xraycls.training.reporter import PassOn, Reporter

_WAITING = 0.25  # of an epoch; below it, preparing the data wins little
_SECONDS = 2.0  # shorter epochs aren't worth a word


class LoaderAdvice(PassOn):
    """Passes everything on to another reporter, and says once how to feed the model faster.

    Args:
        listener: the reporter to pass on to.
        config: of the run.
        table: what it trains on; arrays need no advice.
    """

    def __init__(self, listener: Reporter, config: TrainConfig, table: SampleTable) -> None:
        super().__init__(listener)
        self.config = config
        self.said = config.data is None or table.source in ("prepared", "medmnist")

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Pass it on, and look at the share of time that the loader took."""
        super().epoch(row, improved)
        if not self.said and row["waiting"] > _WAITING and row["seconds"] > _SECONDS:
            self.said = True
            self.listener.message(f"The loader took {row['waiting']:.0%} of the epoch; {self._way_out()}")

    def _way_out(self) -> str:
        data = self.config.data
        assert data is not None
        prepared = data.with_name(f"{data.stem}-prepared")
        images = f" --images {quote(str(self.config.images))}" if self.config.images else ""
        size = round((self.config.size or 224) * 10 / 7)
        return (
            f"prepare the data once with: xraycls data prepare {quote(str(data))} {quote(str(prepared))} --size {size}"
            f"{images}, then train with --data {quote(str(prepared))}"
        )
