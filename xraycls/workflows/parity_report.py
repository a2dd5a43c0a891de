"""How far the pictures of one engine are from those of another, in grey levels and in what a model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from xraycls.data.files import atomic_write
from xraycls.evaluation import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Logits = npt.NDArray[np.float64]
View = Literal["evaluation", "training"]
VIEWS: tuple[View, ...] = ("evaluation", "training")

GREY_BARS: dict[View, float] = {"evaluation": 1.0, "training": 2.5}
"""Largest mean absolute difference that counts as the same pictures, grey levels of 0–255."""

_WIDTH, _HEIGHT = 11.0, 4.7  # inches
_LONGEST = 70  # characters of a name beside the figures
_SCALES = (4, 8, 16, 32, 64, 128, 255)  # grey levels at the bright end


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one engine made of n samples.

    Attributes:
        pictures: uint8 [n, S, S]; black where a sample could not be read.
        readable: bool [n], whether it could.
        failures: name of a sample → why it could not.
    """

    pictures: npt.NDArray[np.uint8]
    readable: npt.NDArray[np.bool_]
    failures: dict[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the pictures of an engine differ from those of the reference.

    Attributes:
        engine: and where it draws, such as "dali on cpu".
        view: "evaluation" or "training".
        images: pictures compared.
        mean: absolute difference over all pixels, grey levels of 0–255.
        percentile_99: of the absolute difference over all pixels.
        worst: mean absolute difference of the picture where it is largest.
        worst_image: name of that picture.
        logits_mean: absolute difference of the model's logits.
        logits_largest: likewise.
        probabilities_mean: absolute difference of the model's probabilities.
        probabilities_largest: likewise.
        same_top1: share of the pictures that the model gives the same class, 0–1.
        beyond: a sentence for every bar that is passed; empty within the bars.
    """

    engine: str
    view: View
    images: int
    mean: float
    percentile_99: float
    worst: float
    worst_image: str
    logits_mean: float
    logits_largest: float
    probabilities_mean: float
    probabilities_largest: float
    same_top1: float
    beyond: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture of the reference and the same of an engine, uint8 [S, S], and the comparison that it belongs to."""

    reference: npt.NDArray[np.uint8]
    other: npt.NDArray[np.uint8]
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Parity:
    """Every engine of a machine against the reference.

    Attributes:
        data: where the pictures come from.
        images: pictures that every engine was given.
        size: their side, pixels.
        augment: recipe of the training views.
        seed: of the choice of pictures and of their views.
        reference: engine that the others are compared with.
        model: whose logits are compared, in words.
        is_trained: False for random weights, whose top-1 is shown but held against no engine.
        comparisons: one an engine and view.
        absent: engine → why it can't run here.
        unreadable: name of a picture → why the reference leaves it out.
        worst: the pair that differs most over all comparisons.
    """

    data: Path
    images: int
    size: int
    augment: str
    seed: int
    reference: str
    model: str
    is_trained: bool
    comparisons: tuple[Comparison, ...]
    absent: dict[str, str]
    unreadable: dict[str, str]
    worst: Pair

    @property
    def beyond(self) -> tuple[str, ...]:
        """A sentence for every bar that any engine passes."""
        return tuple(sentence for comparison in self.comparisons for sentence in comparison.beyond)

    def to_dict(self) -> dict[str, Any]:
        """Everything but pixels, for JSON."""
        return {
            "data": str(self.data),
            "images": self.images,
            "size": self.size,
            "augment": self.augment,
            "seed": self.seed,
            "reference": self.reference,
            "model": self.model,
            "is_trained": self.is_trained,
            "grey_bars": GREY_BARS,
            "within": not self.beyond,
            "beyond": self.beyond,
            "comparisons": [asdict(c) | {"within": not c.beyond} for c in self.comparisons],
            "absent": self.absent,
            "unreadable": self.unreadable,
        }


def compare(
    engine: str,
    view: View,
    pictures: tuple[Drawn, Drawn],
    logits: tuple[Logits, Logits],
    names: Sequence[str],
    *,
    judge_top1: bool,
) -> tuple[Comparison, Pair]:
    """What differs between an engine and the reference, and the picture where it differs most.

    Compared are the samples that the reference can read; a picture that only the engine can't read is black.

    Args:
        engine: its name.
        view: which pictures these are.
        pictures: of n samples, by the reference and by the engine; the reference can read one at least.
        logits: float64 [n, C] of a model for either.
        names: of the n samples.
        judge_top1: whether another top-1 of an evaluation picture passes a bar.
    """
    rows = np.flatnonzero(pictures[0].readable)
    reference, other = (drawn.pictures[rows] for drawn in pictures)
    difference = np.maximum(reference, other) - np.minimum(reference, other)
    of_images = difference.mean(axis=(1, 2))
    worst = int(of_images.argmax())
    before, after = (each[rows] for each in logits)
    of_logits, of_probabilities = np.abs(before - after), np.abs(_softmax(before) - _softmax(after))
    mean, same_top1 = float(of_images.mean()), float((before.argmax(1) == after.argmax(1)).mean())

    beyond = []
    if unlike := int((pictures[0].readable != pictures[1].readable).sum()):
        beyond.append(f"{engine} and the reference don't agree whether {unlike} of the {view} pictures can be read")
    if mean > GREY_BARS[view]:
        beyond.append(
            f"{engine} draws the {view} pictures {mean:.2f} grey levels off on average; the bar is {GREY_BARS[view]}"
        )
    if judge_top1 and view == "evaluation" and same_top1 < 1:
        beyond.append(f"{engine} changes the top-1 of {1 - same_top1:.1%} of the {view} pictures; the bar is none")
    comparison = Comparison(
        engine=engine,
        view=view,
        images=len(rows),
        mean=mean,
        percentile_99=float(np.percentile(difference, 99)),
        worst=float(of_images[worst]),
        worst_image=names[rows[worst]],
        logits_mean=float(of_logits.mean()),
        logits_largest=float(of_logits.max()),
        probabilities_mean=float(of_probabilities.mean()),
        probabilities_largest=float(of_probabilities.max()),
        same_top1=same_top1,
        beyond=tuple(beyond),
    )
    return comparison, Pair(reference[worst], other[worst], comparison)


def _softmax(logits: Logits) -> Logits:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


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
