"""What TAO prints while it trains, on standard output, where scripts look for it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from xraycls.evaluation.detection.average_precision import AveragePrecision
from xraycls.evaluation.detection.printed import CALCULATING, validation_block
from xraycls.training.reporter import PassOn

_AP = "val_AP_"


class TaoPrinter(PassOn):
    """Passes everything on to another reporter, but prints messages, and average precisions where there are any."""

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Pass it on, and print what validation gave."""
        super().epoch(row, improved)
        if not math.isnan(row.get("val_mAP", math.nan)):
            areas = {name.removeprefix(_AP): value for name, value in row.items() if name.startswith(_AP)}
            print(CALCULATING)
            print(validation_block(AveragePrecision(areas, row["val_mAP"]), row["val_loss"]), flush=True)

    def message(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)
