"""What TAO prints while it trains, on standard output, where scripts look for it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

from xraycls.evaluation.detection.average_precision import AveragePrecision
from xraycls.evaluation.detection.printed import CALCULATING, validation_block
from xraycls.training.reporter import PassOn, Reporter

_AP = "val_AP_"


class TaoPrinter(PassOn):
    """Passes everything on to another reporter, but prints messages, and average precisions where there are any.

    Args:
        listener: the reporter to pass on to.
        blocks: whether average precisions are printed as SSD and YOLO do; else they come as messages.
    """

    def __init__(self, listener: Reporter, *, blocks: bool = True) -> None:
        super().__init__(listener)
        self._blocks = blocks
        # A progress bar would catch what goes to a file and print it on standard error.
        self._out = None if sys.stdout.isatty() else sys.stdout

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Pass it on, and print what validation gave."""
        super().epoch(row, improved)
        if self._blocks and not math.isnan(row.get("val_mAP", math.nan)):
            areas = {name.removeprefix(_AP): value for name, value in row.items() if name.startswith(_AP)}
            print(CALCULATING, file=self._out)
            print(
                validation_block(AveragePrecision(areas, row["val_mAP"]), row["val_loss"]), file=self._out, flush=True
            )

    def message(self, text: str) -> None:
        """Print it."""
        print(text, file=self._out, flush=True)
