"""Boxes around what is drawn as an outline or a mask instead: polygons, and COCO's runs of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

Corners = tuple[float, float, float, float]
"""Left, top, right and bottom."""

_MOST_RUNS = 1_000_000


def around(outlines: Sequence[Any]) -> Corners | None:
    """The corners of the box around polygons, each [x1, y1, x2, y2, …]; None where there is no polygon.

    >>> around([[10, 10, 40, 20, 30, 50]])
    (10.0, 10.0, 40.0, 50.0)
    """
    flat = [outlines] if outlines and not isinstance(outlines[0], list) else outlines
    numbers = [[float(n) for n in each if isinstance(n, int | float) and math.isfinite(n)] for each in flat]
    points = [each for each in numbers if len(each) >= 6 and len(each) % 2 == 0]
    if not points:
        return None
    across, down = [x for each in points for x in each[::2]], [y for each in points for y in each[1::2]]
    return min(across), min(down), max(across), max(down)


def around_mask(mask: Any) -> Corners | None:
    """The corners of the box around a mask as COCO writes it; None where it is empty or no such mask.

    Args:
        mask: a mapping with ``size`` [height, width] and ``counts``: how many pixels without and with the object take
            turns, down the first column and then down the next; as a list, or as the text that COCO's tools pack it in.

    >>> around_mask({"size": [4, 5], "counts": [5, 2, 2, 1, 10]})
    (1.0, 1.0, 3.0, 3.0)
    """
    if not isinstance(mask, dict):
        return None
    size, counts = mask.get("size"), mask.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        return None
    height, width = size
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        return None
    ends = list(accumulate(runs))
    if not ends or ends[-1] != height * width:
        return None
    found = [(start, end - 1) for start, end in zip(ends[::2], ends[1::2], strict=False) if end > start]
    if not found:
        return None
    whole = any(first // height != last // height for first, last in found)  # it goes on at the top of a column
    top = 0 if whole else min(first % height for first, _ in found)
    bottom = height if whole else max(last % height for _, last in found) + 1
    return float(found[0][0] // height), float(top), float(found[-1][1] // height + 1), float(bottom)


def _unpacked(text: str) -> list[int] | None:
    """The runs of a packed mask: digits of 5 bits, lowest first, and from the fourth on the change since two before."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 40 or len(runs) > _MOST_RUNS:
            return None
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:  # more digits follow
            continue
        if digit & 16:  # a negative number
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs if shift == 0 else None
