"""The images that a classifier gets most wrong, and a contact sheet of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xraycls.evaluation import style
from xraycls.types import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ImageOf = Callable[[int], npt.NDArray[np.uint8]]

_COLUMNS, _FEWEST_COLUMNS = 4, 2
_CELL = 1.7  # inches
_SIDE = 384  # pixels a picture on the sheet is shrunk to; it is shown at about 230


def most_wrong(predictions: Sequence[Prediction], k: int = 12) -> list[int]:
    """Rows of the misclassified images, the least probable true class first; at most k."""
    wrong = [
        (prediction.probabilities[prediction.label], row)
        for row, prediction in enumerate(predictions)
        if prediction.label is not None
        and prediction.predicted is not None
        and prediction.predicted != prediction.label
    ]
    return [row for _, row in sorted(wrong)[:k]]


def most_wrong_plot(
    predictions: Sequence[Prediction], rows: Sequence[int], classes: Sequence[str], image_of: ImageOf
) -> Figure:
    """A contact sheet: each image with its true class, the class it was called, and that class's probability.

    Args:
        predictions: all of them.
        rows: those to show, at least one; all with label and prediction.
        classes: class names.
        image_of: from a row to its picture, uint8 [H, W].
    """
    columns = min(_COLUMNS, max(_FEWEST_COLUMNS, len(rows)))
    lines = math.ceil(len(rows) / columns)
    width, height = _CELL * columns + 0.3, (_CELL + 0.45) * lines + 0.95
    explained = "In red the predicted class and its probability"
    figure = style.new_figure(width, height, "Most wrong", explained)
    figure.set_layout_engine("none")  # captions hang below their pictures and must not squeeze them
    edges = {"left": 0.25 / width, "right": 1 - 0.05 / width, "top": 1 - 0.9 / height, "bottom": 0.5 / height}
    grid = figure.subplots(lines, columns, squeeze=False, gridspec_kw={**edges, "wspace": 0.12, "hspace": 0.38})
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, row in zip(grid.flat, rows, strict=False):
        prediction = predictions[row]
        assert prediction.predicted is not None
        assert prediction.label is not None
        axes.imshow(_square(image_of(row)), cmap="gray", vmin=0, vmax=255)
        probability = prediction.probabilities[prediction.predicted]
        captions = (
            (f"{_short(classes[prediction.predicted])} {probability:.3f}", 8.0, style.RED),
            (f"true {_short(classes[prediction.label])}", 8.0, style.INK),
            (_short(PurePath(prediction.name).name, 34), 5.5, style.GREY),
        )
        for line, (text, size, colour) in enumerate(captions):
            below = {"xytext": (0, -3 - 11 * line), "textcoords": "offset points", "va": "top"}
            axes.annotate(text, (0, 0), xycoords="axes fraction", size=size, color=colour, **below)
    return figure


def _square(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture shrunk to fit a black square, its aspect kept."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.pad(Image.fromarray(image), (_SIDE, _SIDE), color=0))


def _short(text: str, length: int = 20) -> str:
    """The end of a long text, which tells file names apart best."""
    return text if len(text) <= length else f"…{text[1 - length :]}"
