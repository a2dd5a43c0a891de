"""Pictures that are the same film twice: compressed again, scaled, cropped a little or brightened.

All chest films look alike, which defeats the usual perceptual hashes: of the pairs of different children in Kermany's
set, 6 % differ in 16 bits of 64 or fewer by pHash (Zauner 2010), and some in none. So the hash here is of numbers
instead of bits, the fine structure of a picture at 16×16, and only the first of two looks: what it finds alike is laid
one upon the other, and has to agree in the details.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.image import GreyImage
from xraycls.data.processors import available_processors, one_thread_a_picture

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

ALIKE = 0.86
"""Correlation of the details above which two pictures are the same film.

Re-encodings at any size, crops of 5 %, turns of 2° and changes of brightness and contrast of 120 real films stay above
0.88, all but a few; of 17 million pairs of 5,856 films, 35 do: 34 are identical, one nearly so. The
next is at 0.82.
"""

_SMALL = 16
_CROP = 0.95  # of width and height that the searched crops keep
_PLACES = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))  # where a crop lies, across and down
_WORTH_A_LOOK = 0.9  # correlation of the fine structure
_NEIGHBOURS = 3  # of a picture that get the second look
_BLOCK = 512
_LONG_BLOCK = 16_384
_GROUPS = 4  # of centres that are searched
_PAIRS = 32  # that a thread registers at a time; a task for each would take more memory than the pair
_EXHAUSTIVE = 8192  # pictures that are compared each with each
_SHARE = 256  # pictures a cell, where there are more
_HOPELESS = 0.84  # agreement at half the size: three of 961 films that were cropped, turned and toned at once have less
_SCALES = (0.88, 1.13)  # that the registration may find; more is another film
_ROTATION = np.sin(np.radians(6))
_OVERLAP = 0.6


@dataclass(frozen=True, slots=True)
class Similar:
    """Two pictures that are one film.

    Attributes:
        first: index of the one.
        second: of the other, larger.
        alike: correlation of their details after registration, 0.86–1.
    """

    first: int
    second: int
    alike: float


def near_duplicates(thumbnails: Sequence[GreyImage], *, threads: int | None = None) -> list[Similar]:
    """The pairs of pictures that show the same film, the most alike first.

    Candidates are each picture's three nearest by the correlation of their fine structure, where one of the two may
    be a 95 % crop; of more than 8,192 pictures, the nearest among those that look roughly alike. They are registered by
    an affine warp that maximises the enhanced correlation coefficient (Evangelidis and Psarakis, *Parametric Image
    Alignment Using Enhanced Correlation Coefficient Maximization*, 2008), and their details are compared: grey levels
    less their surroundings, divided by the local contrast.

    Args:
        thumbnails: uint8 [64, 64] each.
        threads: that register; None for one a processor.
    """
    if len(thumbnails) < 2:
        return []
    pairs = _candidates(thumbnails)

    def confirmed(start: int) -> list[Similar]:
        found: list[Similar] = []
        for source, crop in pairs[start : start + _PAIRS]:
            alike = _alike(thumbnails[source], thumbnails[crop])
            found.append(Similar(min(source, crop), max(source, crop), alike))
        return [each for each in found if each.alike >= ALIKE]

    with one_thread_a_picture(), ThreadPoolExecutor(threads or available_processors()) as pool:
        found = [each for block in pool.map(confirmed, range(0, len(pairs), _PAIRS)) for each in block]
    return sorted(found, key=lambda each: -each.alike)


def _candidates(thumbnails: Sequence[GreyImage]) -> list[tuple[int, int]]:
    """Each picture with those of its nearest that are worth a look: that which may show more first, its crop second."""
    views = np.empty((1 + len(_PLACES), len(thumbnails), _SMALL**2), np.float32)
    for start in range(0, len(thumbnails), _BLOCK):
        block = np.stack(thumbnails[start : start + _BLOCK])
        for view, pictures in zip(views, (block, *_crops(block)), strict=True):
            view[start : start + _BLOCK] = _fine_structure(pictures)
    count = len(thumbnails)
    lines = views.reshape(-1, _SMALL**2)
    found = [each for cell in _cells(lines, count, np.arange(len(lines))) for each in _nearest(lines, count, cell)]
    sources, crops, alike = (np.concatenate(column) for column in zip(*found, strict=True))
    pairs = np.minimum(sources, crops) * count + np.maximum(sources, crops)
    order = np.lexsort((-alike, pairs))
    best = order[np.diff(pairs[order], prepend=-1) > 0]  # of what was seen of a pair
    sources, crops, alike = sources[best], crops[best], alike[best]
    rows = np.concatenate([sources, crops])
    order = np.lexsort((-np.tile(alike, 2), rows))
    places = np.arange(len(rows)) - np.searchsorted(rows[order], rows[order])  # among the pairs of a picture
    chosen = np.unique(order[places < _NEIGHBOURS] % len(best))
    return list(zip(sources[chosen].tolist(), crops[chosen].tolist(), strict=True))


def _cells(lines: Floats, count: int, chosen: Indices) -> Iterator[Indices]:
    """Groups of views to compare each with each, so that time grows with their number and not with its square.

    Every view belongs to the two nearest of many pictures that were drawn by lot, as in an inverted file (Sivic and
    Zisserman, *Video Google*, 2003); that of a copy shares one of them. Up to 8,192 pictures are one group.

    Args:
        lines: float32 [6 n, 256], the fine structure of the whole pictures first, of their crops then.
        count: n, of pictures.
        chosen: int64 [m], views to divide; rising.
    """
    whole = chosen[chosen < count]
    if len(whole) <= _EXHAUSTIVE:
        yield chosen
        return
    drawn = np.random.default_rng(len(whole)).choice(whole, len(whole) // _SHARE, replace=False)
    nearest = _two_nearest(lines, chosen, lines[np.sort(drawn)])
    order = np.argsort(nearest.T.ravel(), kind="stable")
    members, sizes = np.tile(chosen, 2)[order], np.bincount(nearest.ravel(), minlength=len(drawn))
    for cell in map(np.sort, np.split(members, np.cumsum(sizes)[:-1])):
        if (size := np.count_nonzero(cell < count)) > len(whole) // 2:  # nearly all alike: neighbours are anywhere
            parts = -(-size // _EXHAUSTIVE)
            yield from (cell[start::parts] for start in range(parts))
        else:
            yield from _cells(lines, count, cell)


def _two_nearest(lines: Floats, chosen: Indices, centres: Floats) -> Indices:
    """The two nearest centres of every chosen view, int64 [m, 2].

    They are looked for among the centres of the nearest four groups, of as many groups as each has members: to compare
    all centres would take a time that grows with the square of the number of pictures.

    Args:
        lines: float32 [6 n, 256].
        chosen: int64 [m].
        centres: float32 [k, 256].
    """
    leaders = centres[:: max(round(len(centres) ** 0.5), 1)]
    group_of = (centres @ leaders.T).argmax(axis=1)
    searched = min(_GROUPS, len(leaders))
    found = np.zeros((len(chosen), 2), np.int64)
    for start in range(0, len(chosen), _LONG_BLOCK):
        block = lines[chosen[start : start + _LONG_BLOCK]]
        near = np.argpartition(-(block @ leaders.T), searched - 1, axis=1)[:, :searched]
        values, numbers = np.full((len(block), 2), -np.inf, np.float32), found[start : start + _LONG_BLOCK]
        for group in range(len(leaders)):
            rows, members = np.flatnonzero((near == group).any(axis=1)), np.flatnonzero(group_of == group)
            alike = np.concatenate([block[rows] @ centres[members].T, values[rows]], axis=1)
            known = np.concatenate([np.broadcast_to(members, (len(rows), len(members))), numbers[rows]], axis=1)
            for place in range(2):  # a maximum twice takes less time than a partition
                best = alike.argmax(axis=1, keepdims=True)
                values[rows, place] = np.take_along_axis(alike, best, axis=1)[:, 0]
                numbers[rows, place] = np.take_along_axis(known, best, axis=1)[:, 0]
                np.put_along_axis(alike, best, -np.inf, axis=1)
    return found


def _nearest(lines: Floats, count: int, cell: Indices) -> Iterator[tuple[Indices, Indices, Floats]]:
    """Pictures, others like them or like a crop of them, and how alike: all or the nearest three that are worth a look.

    Args:
        lines: float32 [6 n, 256].
        count: n, of pictures.
        cell: int64 [m], views; rising.
    """
    whole = cell[cell < count]
    if not len(whole):
        return
    pictures = lines[whole]
    for start in range(0, len(cell), _BLOCK):
        block = cell[start : start + _BLOCK]
        alike = lines[block] @ pictures.T
        owners = block % count
        places = np.searchsorted(whole, owners).clip(max=len(whole) - 1)
        own = np.flatnonzero(whole[places] == owners)
        alike[own, places[own]] = -1.0  # a picture and itself
        rows, others = np.divmod(np.flatnonzero(alike >= _WORTH_A_LOOK), len(whole))
        if len(rows) > _NEIGHBOURS * len(alike):  # nearly all alike
            rows, others = _highest(alike)
        yield owners[rows], whole[others], alike[rows, others]


def _highest(alike: Floats) -> tuple[Indices, Indices]:
    """Where the highest values of every row and of every column are, those of them that are worth a look."""
    count = min(_NEIGHBOURS, *alike.shape)
    of_rows = np.argpartition(-alike, count - 1, axis=1)[:, :count]
    of_columns = np.argpartition(-alike, count - 1, axis=0)[:count]
    rows = np.concatenate([np.repeat(np.arange(len(alike)), count), of_columns.ravel()])
    others = np.concatenate([of_rows.ravel(), np.tile(np.arange(alike.shape[1]), count)])
    worth = alike[rows, others] >= _WORTH_A_LOOK
    return rows[worth], others[worth]


def _fine_structure(pictures: npt.NDArray[np.uint8]) -> Floats:
    """Small pictures less their surroundings, each of mean 0 and length 1: float32 [n, 256]."""
    small = [cv2.resize(p, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA).astype(np.float32) for p in pictures]
    flat = np.stack([(s - cv2.GaussianBlur(s, (0, 0), 2)).ravel() for s in small])
    flat -= flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-3), np.float32)


def _crops(pictures: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    side = pictures.shape[1]
    kept = round(side * _CROP)
    for across, down in _PLACES:
        left, top = round((side - kept) * across), round((side - kept) * down)
        yield pictures[:, top : top + kept, left : left + kept]


def _alike(source: GreyImage, crop: GreyImage) -> float:
    """How alike two pictures are, whichever is a crop of the other; 0 where half their size shows that they aren't."""
    if 0 < _agreement(_half(crop), _half(source)) < _HOPELESS:
        return 0.0
    return max(_agreement(crop, source), _agreement(source, crop))


def _half(picture: GreyImage) -> GreyImage:
    down, across = picture.shape
    return np.asarray(cv2.resize(picture, (across // 2, down // 2), interpolation=cv2.INTER_AREA), np.uint8)


def _agreement(fixed: GreyImage, moving: GreyImage) -> float:
    """Correlation of details once ``moving`` is laid on ``fixed``; 0 where that takes too much of a warp."""
    warp = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    everywhere = np.ones_like(moving)
    try:
        cv2.findTransformECC(fixed, moving, warp, cv2.MOTION_AFFINE, stop, everywhere, len(fixed) // 16 | 1)
    except cv2.error:  # it does not converge: the two have nothing in common
        return 0.0
    stretch = np.linalg.svd(warp[:, :2], compute_uv=False)
    turned = abs(warp[1, 0] - warp[0, 1]) / 2
    if stretch.max() > _SCALES[1] or stretch.min() < _SCALES[0] or turned > _ROTATION:
        return 0.0
    shape, flags = fixed.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(moving, warp, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(everywhere, warp, shape, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
    if inside.mean() < _OVERLAP:
        return 0.0
    return _correlation(_details(fixed)[inside], _details(np.asarray(laid, np.uint8))[inside])


def _correlation(one: Floats, other: Floats) -> float:
    """Pearson's, in a quarter of the time of ``numpy.corrcoef``; 0 where one of the two is constant."""
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9))


def _details(picture: GreyImage) -> Floats:
    """Grey levels less their surroundings, by the local contrast, so that a tone curve hardly matters."""
    levels = picture.astype(np.float32)
    fine = levels - cv2.GaussianBlur(levels, (0, 0), 2)
    return np.asarray(fine / np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), len(picture) / 8) + 4), np.float32)
