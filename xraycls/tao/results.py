"""What TAO's programs leave in a results folder: weights, the training's table and lines of ``status.json``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from xraycls.data.rows import write_rows
from xraycls.errors import XrayclsError
from xraycls.evaluation.detection.printed import RPN_RECALL, at_overlap, mean_line, strict_table
from xraycls.tao.status import StatusLog
from xraycls.training.reporter import PassOn, Reporter

# What status.json calls the columns of the table.
_NAMES = {
    "loss": "loss",
    "validation_loss": "validation_loss",
    "mAP": "mean average precision",
    "lr": "learning_rate",
}


@dataclass(frozen=True, slots=True)
class Results:
    """Where TAO's SSD and YOLO put their results.

    Attributes:
        folder: what ``-r`` names.
        network: as the names of weights have it: "ssd", "dssd" or "yolov4".
        arch: the backbone with its layers, such as "resnet18".
        table: as the name of the training's table has it; "" for the network.
    """

    folder: Path
    network: str
    arch: str
    table: str = field(default="", kw_only=True)

    def weights(self, epoch: int, suffix: str) -> Path:
        """The model after an epoch, counted from 1."""
        return self.folder / "weights" / f"{self.network}_{self.arch}_epoch_{epoch:03d}{suffix}"

    @property
    def log(self) -> Path | None:
        """The table with a row an epoch; None where TAO writes none."""
        return self.folder / f"{self.table or self.network}_training_log_{self.arch}.csv"

    @property
    def labels(self) -> Path:
        """The names of the classes, a line each."""
        return self.folder / "model_output_labels.txt"

    @property
    def events(self) -> Path:
        """The folder of TensorBoard's files."""
        return self.folder / "events"


@dataclass(frozen=True, slots=True)
class NamedResults(Results):
    """Where TAO's Faster R-CNN puts its results: weights under a name of its own, and no table.

    Attributes:
        stem: of weights, to which the epoch and a suffix are added, such as ``out/frcnn_resnet_18.epoch_``.
    """

    stem: Path

    def weights(self, epoch: int, suffix: str) -> Path:
        """The model after an epoch, counted from 1."""
        return self.stem.with_name(f"{self.stem.name}{epoch}{suffix}")

    @property
    def log(self) -> Path | None:
        """None: there is no table."""
        return None


class TaoReporter(PassOn):
    """Passes everything on to another reporter, and writes TAO's table and status lines; for one process alone.

    The table starts anew, also when training goes on after an interruption, as TAO's does.

    Args:
        results: the names.
        status: of the program.
        epochs: planned.
        classes: names of the objects; empty without validation.
        listener: the reporter to pass on to.

    Raises:
        XrayclsError: the folder can't be written.
    """

    def __init__(
        self, results: Results, status: StatusLog, epochs: int, classes: Sequence[str], listener: Reporter
    ) -> None:
        super().__init__(listener)
        self.results = results
        self.status = status
        self.epochs = epochs
        columns = {"loss": "train_loss", "lr": "learning_rate"}
        if classes:
            columns |= {f"AP_{name}": f"val_AP_{name}" for name in classes}
            columns |= {"mAP": "val_mAP", "validation_loss": "val_loss"}
        self._columns = dict(sorted(columns.items()))
        self._rows: list[list[object]] = []
        self._write()

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Write the epoch's figures, and pass it on; the row has the names of metrics.csv."""
        epoch = int(row["epoch"])
        figures = {name: float(row.get(ours, math.nan)) for name, ours in self._columns.items()}
        self._rows.append([epoch, *figures.values()])
        self._write()
        self._write_status(epoch, timedelta(seconds=row["seconds"]), figures)
        super().epoch(row, improved)

    def _write_status(self, epoch: int, seconds: timedelta, figures: Mapping[str, float]) -> None:
        graphical = {_NAMES[name]: str(value) for name, value in figures.items() if name in _NAMES}
        told = {
            "epoch": epoch,
            "max_epoch": self.epochs,
            "time_per_epoch": str(seconds),
            "eta": str(seconds * (self.epochs - epoch)),
            "graphical": graphical,
        }
        kpi = {name: value for name, value in graphical.items() if name == _NAMES["mAP"]}
        self.status.write("Training loop in progress", figures=told | ({"kpi": kpi} if kpi else {}))

    def _write(self) -> None:
        if self.results.log:
            write_rows(self.results.log, ["epoch", *self._columns], self._rows)


class StrictReporter(PassOn):
    """Passes everything on, and tells the figures of a validation as TAO's Faster R-CNN prints them.

    Args:
        listener: the reporter to pass on to, which is told the block as a message.
        classes: names of the objects; empty without validation.
        ious: thresholds of the evaluation.
    """

    def __init__(self, listener: Reporter, classes: Sequence[str], ious: Sequence[float]) -> None:
        super().__init__(listener)
        self.classes = classes
        self.ious = ious

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Pass the epoch's figures on, and tell those of its validation."""
        super().epoch(row, improved)
        if math.isnan(row.get("val_mAP", math.nan)):
            return
        self.message(f"Doing validation at epoch {int(row['epoch'])}(1-based index)...")
        for number, iou in enumerate(self.ious):
            figures = self._figures(row, at_overlap(iou, number))
            mean = sum(ap for ap, *_ in figures.values()) / len(figures) if figures else math.nan
            self.message(strict_table(figures, mean, iou))
        if len(self.ious) > 1:
            self.message(mean_line(row["val_mAP"], self.ious[0], self.ious[-1]))
        self.message("Validation done!")

    def _figures(self, row: Mapping[str, float], overlap: str) -> dict[str, list[float]]:
        """The columns of each class that occurs, and of a detector in two stages the recall of its proposals."""
        columns = [*(f"{kind}{overlap}" for kind in ("AP", "precision", "recall")), RPN_RECALL]
        found = {name: [row.get(f"val_{column}_{name}", math.nan) for column in columns] for name in self.classes}
        occurring = {name: values for name, values in sorted(found.items()) if not math.isnan(values[0])}
        return {name: [value for value in values if not math.isnan(value)] for name, values in occurring.items()}


@contextmanager
def reported(folder: Path | None, title: str) -> Iterator[StatusLog]:
    """The status file of a program: a line when it starts, and one when it has succeeded or failed.

    Args:
        folder: where it lies; None writes nothing.
        title: of the program, such as "SSD inference".

    Raises:
        XrayclsError: the folder can't be written.
    """
    status = StatusLog(folder)
    status.write(f"Starting {title}.", "STARTED")
    try:
        yield status
    except BaseException as error:
        with suppress(XrayclsError):  # a full disk, which is what the error says already
            status.write(str(error) or f"{title} was interrupted", "FAILURE")
        raise
    status.write(f"{title} finished successfully.", "SUCCESS")
