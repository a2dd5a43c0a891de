"""The look that all pictures of a report share: quiet axes, one blue, titles at the left.

Figures are made without pyplot, so nothing global changes and pictures can be drawn in any thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, LIGHT, BLUE, RED = "#1f2933", "#7b8794", "#d9dfe6", "#1f5fa8", "#c8442b"
# Okabe and Ito's palette, which colour-blind readers tell apart; yellow left out, too faint for lines.
SERIES = (BLUE, "#e69f00", "#009e73", RED, "#cc79a7", "#56b4e9", "#6b4e9b", "#8a6d3b")
DASHES = ("-", "--", ":", "-.")
DPI = 150
WITHIN_AXES = 4  # lines of a legend that leave room for curves


def new_figure(width: float, height: float, title: str, subtitle: str) -> Figure:
    """An empty figure with its title.

    Args:
        width: inches, of ``DPI`` pixels each.
        height: inches.
        title: what the picture shows.
        subtitle: of what, in smaller grey letters.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    below_title = (0.02, 0.02, 0.96, 0.98 - 0.78 / height)
    layout = ConstrainedLayoutEngine(rect=below_title, w_pad=0.08, h_pad=0.06)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)
    figure.text(0.035, 1 - 0.2 / height, title, size=15, weight="bold", color=INK, va="top")
    figure.text(0.035, 1 - 0.53 / height, subtitle, size=10, color=GREY, va="top")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG; a dollar sign in the name of a class or file is only a dollar sign."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    figure.savefig(path)


def quiet(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Thin grey axes at the left and below, a faint grid, labels in ink."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LIGHT)
    axes.tick_params(colors=GREY, labelsize=9, length=0, pad=5)
    axes.grid(color=LIGHT, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel, color=INK, size=10, labelpad=7)
    axes.set_ylabel(ylabel, color=INK, size=10, labelpad=7)


def unit_square(axes: Axes) -> None:
    """Both axes from 0 to 1 with a hair of room, at the same scale."""
    axes.set(xlim=(-0.012, 1.012), ylim=(-0.012, 1.012), aspect="equal")


def legend(axes: Axes, location: Literal["lower left", "lower right", "upper left"]) -> None:
    """The legend of the labelled lines, if any: within the axes, or below them when there are many."""
    handles, labels = axes.get_legend_handles_labels()
    look = {"framealpha": 0.85, "edgecolor": "none", "fontsize": 9.5, "labelcolor": INK, "handlelength": 1.6}
    if len(labels) > WITHIN_AXES:
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.legend(handles, labels, loc="outside lower left", ncols=2, **{**look, "fontsize": 8})
    elif labels:
        axes.legend(handles, labels, loc=location, **look)


def note(axes: Axes, text: str) -> None:
    """A sentence in the middle, where there is nothing to draw."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, size=11, backgroundcolor="white"
    )


def series(index: int) -> dict[str, Any]:
    """Colour and dash of one of many lines; 32 differ."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index // len(SERIES) % len(DASHES)]}
