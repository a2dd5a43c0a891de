"""The blocks that TAO's evaluators print, character for character, so that what parses them keeps working."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xraycls.evaluation.detection.average_precision import AveragePrecision, StrictAveragePrecision

CALCULATING = "Start to calculate AP for each class"
"""The line before the block of SSD and YOLO."""

EVALUATE_DIGITS = 3
"""Digits of ``ssd evaluate``."""

TRAINING_DIGITS = 5
"""Digits of ``yolo_v4 evaluate`` and of every evaluation during training."""

_STARS, _DOUBLE, _SINGLE = "*" * 31, "=" * 90, "-" * 90
_COLUMNS = ("Class", "AP", "precision", "recall")
RPN_RECALL = "RPN_recall"
"""The column of Faster R-CNN for the recall of its proposals."""


def average_precision_block(average: AveragePrecision, digits: int = EVALUATE_DIGITS) -> str:
    """The block of SSD and YOLO, without a last line break: a line a class, and the mean over all."""
    rows = [f"{name:<14}{'AP':<6}{round(area, digits)}" for name, area in average.per_class.items()]
    return "\n".join([_STARS, *rows, f"{'':<14}{'mAP':<6}{round(average.mean, digits)}", _STARS])


def validation_block(average: AveragePrecision, loss: float) -> str:
    """The block of SSD and YOLO during training, and the validation loss below it."""
    return f"{average_precision_block(average, TRAINING_DIGITS)}\nValidation loss: {loss}"


def strict_block(averages: Sequence[StrictAveragePrecision], proposal_recall: Mapping[str, float] | None = None) -> str:
    """The block of Faster R-CNN, without a last line break: one a threshold, and of several their mean.

    Args:
        averages: one a threshold.
        proposal_recall: class name → share of its boxes that a proposal overlaps by 0.5, 0–1; a column more.
    """
    recalls = proposal_recall or {}
    tables = []
    for one in averages:
        rows = {
            name: (each.ap, each.precision, each.recall, *([recalls[name]] if name in recalls else []))
            for name, each in one.per_class.items()
        }
        tables.append(strict_table(rows, one.mean, one.iou_threshold))
    if len(averages) > 1:
        mean = sum(one.mean for one in averages) / len(averages)
        tables.append(mean_line(mean, averages[0].iou_threshold, averages[-1].iou_threshold))
    return "\n".join(tables)


def strict_table(rows: Mapping[str, Sequence[float]], mean: float, iou: float) -> str:
    """The figures of Faster R-CNN at one threshold, without a last line break.

    Args:
        rows: class name → AP, precision, recall and, where it is known, the recall of the proposals.
        mean: of the average precisions.
        iou: the threshold.
    """
    columns = (
        (*_COLUMNS, RPN_RECALL) if any(len(figures) > len(_COLUMNS) - 1 for figures in rows.values()) else _COLUMNS
    )
    lines = [_DOUBLE, "".join(f"{column:<20}" for column in columns), _SINGLE]
    for name, figures in rows.items():
        lines += [f"{name:<20}" + "".join(f"{figure:<20.4f}" for figure in figures), _SINGLE]
    return "\n".join([*lines, f"mAP@{iou:.10g} = {mean:<20.4f}"])


def at_overlap(iou: float, number: int) -> str:
    """What the name of a figure at the threshold ``number`` of several ends with: nothing for the first, ``@0.75``."""
    return f"@{iou:.10g}" if number else ""


def mean_line(mean: float, first: float, last: float) -> str:
    """The mean of Faster R-CNN over a range of thresholds, by the first and the last of them."""
    return f"mAP@[{first:.10g}:{last:.10g}] = {mean:<20.4f}"
