"""The vessels of the lungs: trees that leave the hila, fork and thin out."""

from __future__ import annotations

import numpy as np

from xraycls.data.phantom.canvas import Canvas, Field, Point, Points

_LEVELS = 7
_TRUNKS = 8  # branches that leave each hilum
_STEPS = 4  # straight pieces of a branch


def vessels(canvas: Canvas, hila: tuple[Point, Point], height: float, rng: np.random.Generator) -> Field:
    """Blood along the beam; about 1 in the large vessels beside a hilum.

    Args:
        height: of the lungs; the trees grow with it.
    """
    blood = np.zeros(canvas.shape, np.float32)
    for level, branches in enumerate(_trees(hila, height, rng)):
        drawn = canvas.strokes(branches, 0.026 * 0.72**level)
        np.maximum(blood, drawn * np.float32(0.86**level), out=blood)
    blood = canvas.blur(blood, 0.004)
    for hilum in hila:
        blood += 0.5 * np.exp(-canvas.ellipse(hilum, (0.05, 0.10)))
    return blood


def _trees(hila: tuple[Point, Point], height: float, rng: np.random.Generator) -> list[Points]:
    """The branches of each level as curves [n, steps + 1, 2], both lungs together."""
    fan = np.linspace(-1.35, 1.45, _TRUNKS)
    headings = np.concatenate([np.pi - fan, fan]) + rng.normal(0.0, 0.18, 2 * _TRUNKS)
    points = np.repeat(np.array(hila), _TRUNKS, axis=0)
    length = 0.17 * height / _STEPS
    levels = []
    for _ in range(_LEVELS):
        count = len(points)
        bends = rng.normal(0.0, 0.16, count)
        turning = headings[:, None] + bends[:, None] * np.arange(_STEPS)
        steps = np.stack([np.cos(turning), np.sin(turning)], axis=2)
        steps *= (rng.uniform(0.6, 1.25, count) * length)[:, None, None]
        levels.append(points[:, None] + np.cumsum(np.pad(steps, ((0, 0), (1, 0), (0, 0))), axis=1))
        ahead = turning[:, -1]
        headings = np.concatenate([ahead + rng.uniform(0.2, 0.6, count), ahead - rng.uniform(0.1, 0.5, count)])
        points = np.tile(levels[-1][:, -1], (2, 1))
        length *= 0.80
    return levels
