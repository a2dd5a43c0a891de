"""The pair of pictures that differs most, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xraycls.data.files import atomic_write
from xraycls.evaluation import style
from xraycls.workflows.parity_report import Parity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_WIDTH, _HEIGHT = 11.0, 4.7  # inches
_LONGEST = 70  # characters of a name beside the figures
_SCALES = (4, 8, 16, 32, 64, 128, 255)  # grey levels at the bright end


def save_worst(result: Parity, path: Path) -> None:
    """Write the reference, the engine's picture and their amplified difference side by side, as PNG, atomically.

    The scale of the difference ends at the first of a few round numbers that 99.9 % of its pixels stay below.
    """
    pair, row = result.worst, result.worst.comparison
    difference = np.abs(pair.reference.astype(np.int16) - pair.other)
    end = next(scale for scale in _SCALES if scale >= min(np.percentile(difference, 99.9), _SCALES[-1]))
    figure = style.new_figure(
        _WIDTH,
        _HEIGHT,
        f"The {row.view} picture that differs most: {row.worst:.2f} grey levels on average",
        f"{_end_of(row.worst_image)}   |   over all {row.images} {row.view} pictures: mean {row.mean:.2f},"
        f" 99th percentile {row.percentile_99:.0f} grey levels",
    )
    first, second, third = figure.subplots(1, 3)
    _show(first, result.reference, pair.reference, "gray", 255)
    _show(second, row.engine, pair.other, "gray", 255)
    amplified = f", {255 / end:.0f} times as bright" if end < 255 else ""
    shown = _show(third, f"absolute difference{amplified}", difference, "inferno", end)
    bar = figure.colorbar(shown, ax=third, fraction=0.046, pad=0.03, extend="neither" if end == 255 else "max")
    bar.set_label("grey levels of 255", color=style.INK, size=9)
    bar.ax.tick_params(colors=style.GREY, labelsize=8, length=0)
    bar.outline.set_visible(False)
    with atomic_write(path) as temporary:
        style.save(figure, temporary)


def _show(
    axes: Axes, title: str, picture: np.ndarray[tuple[int, ...], np.dtype[np.integer]], colours: str, end: int
) -> AxesImage:
    axes.set_title(title, loc="left", size=11, color=style.INK)
    axes.set_axis_off()
    return axes.imshow(picture, cmap=colours, vmin=0, vmax=end, interpolation="nearest")


def _end_of(name: str) -> str:
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"
