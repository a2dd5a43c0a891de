"""Augmentation of YOLOv4, as TAO's specs describe it: mosaic, jitter, flips, exposure, several sizes, letterbox.

The geometry is that of upstream's label-folder path, number for number. Its colour step, which rounds hue and
saturation to whole numbers, is left out: a grey film has neither. Evaluation and inference both letterbox about the
middle; upstream's inference puts the picture into the top-left corner, where its training never saw one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xraycls.loaders.random import batch_generator, generator
from xraycls.loaders.recipes.protocol import Flags, Indices
from xraycls.loaders.views import Canvas, Floats, Rectangle, Views

MULTIPLE = 32  # pixels; the coarsest stride of the network
_SCALES = (0.6, 1.5)  # of the sizes that training goes through
_SMALLEST = 1e-3  # share of the canvas; a box that is no wider or higher is dropped
_NARROWEST = 0.8  # most that jitter takes from both sides together
_SHARED, _OWN = 8, 12  # numbers a sample, and a picture of it
_DRAWS = _SHARED + 4 * _OWN


@dataclass(frozen=True, slots=True)
class YoloV4Recipe:
    """Mosaic or jitter, flips and exposure, with the ranges of TAO's YOLOv4.

    Hue and saturation, which a spec may name, change nothing on grey pictures.

    Attributes:
        canvas: of the network; give it ``fill=None``, which fills a letterbox with its picture's mean as upstream does.
        exposure: largest factor of grey levels, from 1; half of the factors are divided by instead.
        vertical_flip: probability.
        horizontal_flip: probability.
        jitter: most that a side of the picture may lose or gain, as a share of it, 0–1.
        mosaic: probability of four pictures in one.
        mosaic_min_ratio: least share of the canvas left and right of, and above and below the point where they meet.
        shape_period: batches of an epoch after which the canvas changes its size; 0 keeps it.
    """

    canvas: Canvas
    exposure: float = 1.5
    vertical_flip: float = 0.0
    horizontal_flip: float = 0.5
    jitter: float = 0.3
    mosaic: float = 0.5
    mosaic_min_ratio: float = 0.2
    shape_period: int = 0

    @property
    def changes_greys(self) -> bool:
        """Whether training views change grey levels."""
        return self.exposure > 1.0

    @property
    def pictures(self) -> int:
        """Four with mosaics, else one."""
        return 4 if self.mosaic > 0 else 1

    @property
    def varies(self) -> bool:
        """A letterbox fills as much of the canvas as its picture's proportions allow."""
        return True

    @property
    def inscribed(self) -> bool:
        """Boxes follow their corners."""
        return False

    def for_batch(self, seed: int, epoch: int, number: int) -> YoloV4Recipe:
        """The recipe of one batch: its canvas is a multiple of 32 pixels of 0.6–1.5 times the size.

        Width and height are drawn apart, anew every ``shape_period`` batches.
        """
        if not self.shape_period:
            return self
        drawn = batch_generator(seed, epoch, number // self.shape_period).random(2)
        width, height = (
            random_side(side, draw)
            for side, draw in zip((self.canvas.width, self.canvas.height), drawn.tolist(), strict=True)
        )
        return replace(self, canvas=replace(self.canvas, width=width, height=height))

    def sources(self, seed: int, epoch: int, first: int, own: Indices, pool: Indices) -> Indices:
        """Each sample's own picture and, in a mosaic, three of ``pool``; int64 [n, 4] or [n, 1]."""
        if not self.mosaic:
            return own[:, None]
        drawn = self._drawn(seed, epoch, first, len(own))
        others = pool[(drawn[:, 3:6] * len(pool)).astype(np.int64)]
        others[drawn[:, 0] >= self.mosaic] = -1
        return np.concatenate([own[:, None], others], axis=1)

    def evaluation_views(self, sizes: npt.ArrayLike) -> Views:
        """The whole pictures in their own proportions, in the middle of the canvas."""
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        targets = [letterbox(width, height, self.canvas) for width, height in sizes.tolist()]
        regions = np.concatenate([np.zeros_like(sizes), sizes], axis=1)
        return _views(regions, targets, targets, sizes, np.zeros((len(sizes), 2), np.bool_), np.ones(len(sizes)))

    def training_views(
        self,
        seed: int,
        epoch: int,
        first: int,
        sizes: npt.ArrayLike,
        boxes: Sequence[Floats] = (),
        owners: Indices | None = None,
    ) -> Views:
        """The views of the pictures of the samples at positions ``first``, ``first + 1``, … of an epoch.

        A sample of four pictures is a mosaic: each fills a quarter with a crop of its proportions. A single picture is
        jittered: it loses or gains a margin at each side.

        Args:
            seed: of the run.
            epoch: counted from 0.
            first: position of the first sample.
            sizes: [p, 2], width and height of every picture in pixels.
            boxes: not looked at.
            owners: int64 [p], the sample that each picture is a part of; None where each is one of its own.
        """
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        owners = np.arange(len(sizes)) if owners is None else owners
        drawn = self._drawn(seed, epoch, first, int(owners.max(initial=-1)) + 1)
        counts = np.bincount(owners)
        places = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]  # within the sample
        own = drawn[:, _SHARED:].reshape(-1, 4, _OWN)[owners, places]
        regions, cells, targets = [], [], []
        for (width, height), owner, place, draws in zip(
            sizes.tolist(), owners.tolist(), places.tolist(), own, strict=True
        ):
            if counts[owner] > 1:
                cell = quarter(self.canvas, self.mosaic_min_ratio, (drawn[owner, 1], drawn[owner, 2]), place)
                aspect = (cell[2] - cell[0]) / (cell[3] - cell[1])
                region = random_crop(width, height, aspect, 1.0 - self.jitter, draws[5:8].tolist())
                target = cell
            else:
                cell = (0, 0, self.canvas.width, self.canvas.height)
                region = jittered(width, height, self.jitter, cell[2] / cell[3], draws[5:9].tolist())
                target = _inside(region, width, height, self.canvas)
            regions.append(region)
            cells.append(cell)
            targets.append(target)
        factors = 1.0 + own[:, 0] * (self.exposure - 1.0)
        factors = np.where(own[:, 1] < 0.5, factors, 1.0 / factors)
        flipped = own[:, 2:4] < (self.horizontal_flip, self.vertical_flip)
        return _views(np.array(regions).reshape(-1, 4), cells, targets, sizes, flipped, factors)

    def clip(self, boxes: Floats, training: bool, cropped: Flags | None = None) -> tuple[Floats, Flags]:
        """Boxes cut to the canvas, and which remain: those wider and higher than a thousandth of it.

        Args:
            boxes: [n, 4], pixels of the canvas.
            training: whether the views are those of training; the rule is the same.
            cropped: not looked at.
        """
        limits = np.array([self.canvas.width, self.canvas.height])
        cut = np.clip(boxes, 0, np.tile(limits, 2))
        return cut, np.asarray(((cut[:, 2:] - cut[:, :2]) / limits > _SMALLEST).all(axis=1))

    @staticmethod
    def _drawn(seed: int, epoch: int, first: int, count: int) -> Floats:
        return generator(seed, epoch, first, _DRAWS).random((count, _DRAWS))


def random_side(side: int, draw: float) -> int:
    """A width or height from the multiples of 32 between 0.6 and 1.5 times ``side``, by a number of 0–1."""
    low, high = (round(scale * side / MULTIPLE) for scale in _SCALES)
    return MULTIPLE * (low + int(draw * (high - low + 1)))


def letterbox(width: float, height: float, canvas: Canvas) -> Rectangle:
    """Where a picture of so many pixels lies in the middle of a canvas that it fills in one direction."""
    ratio = min(canvas.height / height, canvas.width / width)
    across, down = max(round(ratio * width), 1), max(round(ratio * height), 1)
    left, top = (canvas.width - across) // 2, (canvas.height - down) // 2
    return left, top, left + across, top + down


def quarter(canvas: Canvas, least: float, draws: tuple[float, float], place: int) -> Rectangle:
    """The part of a mosaic at ``place``: 0 top left, 1 top right, 2 bottom left, 3 bottom right.

    Args:
        canvas: of the mosaic.
        least: share of the canvas that each part has at least.
        draws: where the parts meet, numbers of 0–1 across and down the range that is left.
        place: of the part.
    """
    x, y = (
        int(side * least) + int(draw * (1 + int(side * (1.0 - least)) - int(side * least)))
        for side, draw in zip((canvas.width, canvas.height), draws, strict=True)
    )
    left, right = (0, x) if place % 2 == 0 else (x, canvas.width)
    top, bottom = (0, y) if place < 2 else (y, canvas.height)
    return left, top, right, bottom


def random_crop(
    width: float, height: float, aspect: float, least: float, draws: Sequence[float]
) -> tuple[float, float, float, float]:
    """Left, top, width and height of a crop in whole pixels, of a given width over height.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        aspect: of the crop, width over height.
        least: share of the shorter direction that it keeps at least.
        draws: three numbers of 0–1: its size, its place down and its place across.
    """
    share = draws[0] * (1.0 - least) + least
    if width / height > aspect:
        down = max(round(height * share), 1)
        across = max(round(down * aspect), 1)
    else:
        across = max(round(width * share), 1)
        down = max(round(across / aspect), 1)
    top, left = int(draws[1] * (height - down + 1)), int(draws[2] * (width - across + 1))
    return left, top, across, down


def jittered(
    width: float, height: float, jitter: float, aspect: float, draws: Sequence[float]
) -> tuple[float, float, float, float]:
    """Left, top, width and height in whole pixels of what jitter keeps of a picture; it may reach beyond its edges.

    Each side loses or gains up to ``jitter``. To come close to ``aspect``, margins are given back first where the
    region is too wide (or too tall), and then the other direction grows.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        jitter: largest share that a side loses or gains.
        aspect: width over height that the region should have.
        draws: four numbers of 0–1: for left, top, right and bottom.
    """
    left, top, right, bottom = (min((draw - 0.5) * 2 * jitter, _NARROWEST) for draw in draws)
    if left + right > _NARROWEST:
        left, right = min(left, _NARROWEST / 2), min(right, _NARROWEST / 2)
    if top + bottom > _NARROWEST:
        top, bottom = min(top, _NARROWEST / 2), min(bottom, _NARROWEST / 2)
    left, right, top, bottom = left * width, right * width, top * height, bottom * height
    if width / height > aspect:
        left, right, excess = _narrowed(left, right, width - height * aspect, tall=False)
        top, bottom = top - excess / aspect / 2, bottom - excess / aspect / 2
    else:
        top, bottom, excess = _narrowed(top, bottom, height - width / aspect, tall=True)
        left, right = left - excess * aspect / 2, right - excess * aspect / 2
    across, down = round(width - left - right), round(height - top - bottom)
    return round(left), round(top), max(across, 1), max(down, 1)


def _narrowed(first: float, second: float, excess: float, *, tall: bool) -> tuple[float, float, float]:
    """Margins of opposite sides after giving back what they gained, as far as ``excess`` asks; and what is left of it.

    Margins below 0 are gains. Both sides give back alike first, then each what it still has. Upstream takes another
    bound for the bottom of a tall picture, which then gains as much again; so do we, for the same distribution.
    """
    both = min(max(-first, 0.0), max(-second, 0.0), excess / 2)
    first, second, excess = first + both, second + both, excess - 2 * both
    if first < 0 < excess:
        shift = min(excess, -first)
        first, excess = first + shift, excess - shift
    if second < 0 < excess:
        shift = min(second, -first) if tall else min(excess, -second)
        second, excess = second + shift, excess - shift
    return first, second, max(excess, 0.0)


def _inside(region: tuple[float, float, float, float], width: float, height: float, canvas: Canvas) -> Rectangle:
    """What the picture itself fills of a canvas that shows a region which may reach beyond it, in whole pixels."""
    left, top, across, down = region
    x0, x1 = (canvas.width * (edge - left) / across for edge in (0.0, width))
    y0, y1 = (canvas.height * (edge - top) / down for edge in (0.0, height))
    x, y = min(max(round(x0), 0), canvas.width - 1), min(max(round(y0), 0), canvas.height - 1)
    return x, y, max(min(round(x1), canvas.width), x + 1), max(min(round(y1), canvas.height), y + 1)


def _views(
    regions: Floats,
    cells: Sequence[Rectangle],
    targets: Sequence[Rectangle],
    sizes: Floats,
    flipped: npt.NDArray[np.bool_],
    factors: Floats,
) -> Views:
    """Views of regions of (flipped) pictures.

    Args:
        regions: [n, 4], left, top, width and height in pixels of the picture after its flips.
        cells: of each, the rectangle of the canvas that the region is stretched to.
        targets: of each, the rectangle that the picture fills.
        sizes: [n, 2], widths and heights of the pictures.
        flipped: [n, 2], left to right, and upside down.
        factors: [n], of the grey levels.
    """
    frames = np.array(cells, np.float64).reshape(-1, 4)
    scales = regions[:, 2:] / (frames[:, 2:] - frames[:, :2])
    offsets = regions[:, :2] - scales * frames[:, :2]
    matrices = np.zeros((len(regions), 2, 3))
    matrices[:, (0, 1), (0, 1)] = np.where(flipped, -scales, scales)
    matrices[:, :, 2] = np.where(flipped, sizes - offsets, offsets)
    # A factor about 0 as a factor about the middle grey.
    return Views(
        matrices,
        0.5 * (factors - 1.0),
        factors,
        np.ones(len(regions)),
        np.array(targets, np.int64).reshape(-1, 4),
    )
