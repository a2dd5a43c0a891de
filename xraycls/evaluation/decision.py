"""What calling images from a threshold on is worth, and what probabilities turn out to mean, a finding each.

Net benefit (Vickers and Elkin, Medical Decision Making 26, 2006): true positives a case, less false positives a case
weighed by the odds of the threshold, which is how many false alarms one found case is worth. Calling everybody and
calling nobody (0) are what a classifier has to be better than.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xraycls.evaluation import style
from xraycls.evaluation.calibration import reliability_curve
from xraycls.evaluation.cases import BoolArray, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THRESHOLDS = np.arange(1, 100) / 100
"""Probabilities at which net benefit is given."""

DECISION_HEADER = ("finding", "threshold", "net_benefit", "net_benefit_of_calling_all")
RELIABILITY_HEADER = ("finding", "from", "to", "images", "mean_probability", "observed")

_PANEL = 2.3  # inches
_ALONE = 6.8
_ACROSS = 4


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The known cases of one finding.

    Attributes:
        positive: bool [n], whether each shows it.
        scores: float64 [n], its probability.
    """

    positive: BoolArray
    scores: FloatArray


def net_benefit(
    positive: BoolArray, scores: FloatArray, thresholds: FloatArray = THRESHOLDS
) -> tuple[FloatArray, FloatArray]:
    """The net benefit of calling from each threshold on, and of calling every case; float64 [T] each.

    Args:
        positive: bool [n], one or more.
        scores: float64 [n].
        thresholds: float64 [T], above 0 and below 1.

    Example:
        >>> import numpy as np
        >>> positive, scores = np.array([True, True, False, False]), np.array([0.9, 0.7, 0.6, 0.1])
        >>> benefit, of_all = net_benefit(positive, scores, np.array([0.5]))
        >>> float(benefit[0]), float(of_all[0])
        (0.25, 0.0)
    """
    odds, share = thresholds / (1 - thresholds), positive.mean()
    hits, alarms = np.sort(scores[positive]), np.sort(scores[~positive])
    called = [len(each) - np.searchsorted(each, thresholds, side="left") for each in (hits, alarms)]
    return (called[0] - called[1] * odds) / len(positive), share - (1 - share) * odds


def outcomes_of(targets: FloatArray, probabilities: FloatArray, names: tuple[str, ...]) -> dict[str, Outcomes]:
    """The known cases of each finding of which there are some.

    Args:
        targets: [n, F], 1 present, 0 absent; whatever else is unknown.
        probabilities: float64 [n, F].
        names: of the findings.
    """
    found = {}
    for name, told, scores in zip(names, targets.T, probabilities.T, strict=True):
        known = (told == 0) | (told == 1)
        if known.any():
            found[name] = Outcomes(told[known] == 1, scores[known].astype(np.float64))
    return found


def decision_rows(outcomes: Mapping[str, Outcomes]) -> list[list[object]]:
    """A row for each threshold of each finding, under ``DECISION_HEADER``."""
    rows: list[list[object]] = []
    for name, each in outcomes.items():
        curves = zip(THRESHOLDS.tolist(), *net_benefit(each.positive, each.scores), strict=True)
        rows += [[name, f"{at:g}", f"{benefit:.6g}", f"{of_all:.6g}"] for at, benefit, of_all in curves]
    return rows


def reliability_rows(outcomes: Mapping[str, Outcomes]) -> list[list[object]]:
    """A row for each bin of each finding that holds cases, under ``RELIABILITY_HEADER``."""
    rows: list[list[object]] = []
    for name, each in outcomes.items():
        curve = reliability_curve(each.positive.astype(np.int64), np.stack([1 - each.scores, each.scores], axis=1))
        for at in np.flatnonzero(curve.count).tolist():
            numbers = (curve.edges[at], curve.edges[at + 1], curve.probability[at], curve.observed[at])
            low, high, mean, observed = (f"{number:.6g}" for number in numbers)
            rows.append([name, low, high, int(curve.count[at]), mean, observed])
    return rows


def decision_plot(outcomes: Mapping[str, Outcomes]) -> Figure:
    """Net benefit against the threshold, a panel a finding, beside that of calling everybody and nobody."""

    def draw(axes: Axes, each: Outcomes) -> None:
        benefit, of_all = net_benefit(each.positive, each.scores)
        share = float(each.positive.mean())
        axes.plot(THRESHOLDS, of_all, color=style.GREY, linewidth=0.9, linestyle=(0, (4, 4)), label="calling all")
        axes.axhline(0, color=style.GREY, linewidth=0.9, label="calling none")
        axes.plot(THRESHOLDS, benefit, linewidth=1.6, label="the model", **style.series(0))
        axes.set(xlim=(0, 1), ylim=(-0.3 * max(share, 1e-3), 1.1 * max(share, 1e-3)))

    return _panels(outcomes, "Decision curve of each finding", ("Threshold", "Net benefit"), draw)


def reliability_panels(outcomes: Mapping[str, Outcomes]) -> Figure:
    """Observed fraction against predicted probability in equal bins, a panel a finding."""

    def draw(axes: Axes, each: Outcomes) -> None:
        curve = reliability_curve(each.positive.astype(np.int64), np.stack([1 - each.scores, each.scores], axis=1))
        filled = curve.count > 0
        axes.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.9, linestyle=(0, (4, 4)))
        axes.plot(
            curve.probability[filled], curve.observed[filled], "o-", markersize=3, linewidth=1.4, color=style.SERIES[0]
        )
        style.unit_square(axes)

    return _panels(outcomes, "Reliability of each finding", ("Predicted", "Observed"), draw)


def _panels(
    outcomes: Mapping[str, Outcomes], title: str, labels: tuple[str, str], draw: Callable[[Axes, Outcomes], None]
) -> Figure:
    across = min(_ACROSS, max(len(outcomes), 1))
    down = max(math.ceil(len(outcomes) / across), 1)
    n = max((len(each.positive) for each in outcomes.values()), default=0)
    side = _PANEL if len(outcomes) > 1 else _ALONE
    title_below = f"{n:,} images, {len(outcomes)} findings" if len(outcomes) != 1 else f"{n:,} images"
    figure = style.new_figure(max(across * side, _ALONE), down * side + 1.0, title, title_below)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(outcomes) :]:
        axes.set_visible(False)
    for axes, (name, each) in zip(panels, outcomes.items(), strict=False):
        style.quiet(axes, *labels)
        axes.set_title(name, size=9, color=style.INK)
        draw(axes, each)
    return figure
