"""Pneumonia: patches of lung whose air has given way to fluid."""

from __future__ import annotations

import numpy as np

from xraycls.data.phantom.canvas import Canvas, Field, Point, as_field, mottle, ramp

_APART = 0.34  # between the centres of two patches, so that their boxes stay two findings


def consolidations(canvas: Canvas, air: Field, rng: np.random.Generator) -> list[Field]:
    """One to three patches: how much of the air is gone along the beam, 0–1 [H, W] each.

    A patch that touches the heart hides its border, because no air is left to set it off (the silhouette sign).

    Args:
        air: depth of aerated lung along the beam, 0–1 [H, W]; patches are centred where it is deep.
    """
    coarse = canvas.coarser()
    free = air > 0.55
    patches = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.4, 0.35, 0.25]))):
        rows, columns = np.nonzero(free)
        pick = int(rng.integers(len(rows)))
        centre = (float(canvas.x[0, columns[pick]]), float(canvas.y[rows[pick], 0]))
        patches.append(canvas.enlarged(_patch(coarse, centre, rng)))
        free &= canvas.ellipse(centre, (_APART, _APART)) > 1.0
    return patches


def _patch(canvas: Canvas, centre: Point, rng: np.random.Generator) -> Field:
    """A ragged, mottled patch about ``centre``; 0–1."""
    radii = (rng.uniform(0.14, 0.22), rng.uniform(0.14, 0.22))
    reach = as_field(np.sqrt(canvas.ellipse(centre, radii, rng.uniform(-0.8, 0.8))))
    ragged = reach + 0.22 * mottle(rng, canvas.shape, 11, octaves=3)
    patch = ramp(ragged, 1.25, 0.45) * ramp(reach, 2.0, 1.5)
    if rng.uniform() < 0.4:
        patch *= _fissure(canvas, centre, radii[1], rng)
    texture = 0.85 + 0.18 * mottle(rng, canvas.shape, 36, octaves=2)
    return as_field(np.clip(patch * texture, 0.0, 1.0) * rng.uniform(0.65, 0.90))


def _fissure(canvas: Canvas, centre: Point, radius: float, rng: np.random.Generator) -> Field:
    """0 beyond the border between two lobes, above or below, where a patch ends sharply; else 1."""
    outward = float(rng.choice([-1.0, 1.0]))
    tilt = rng.uniform(-0.25, 0.25)
    beyond = outward * (canvas.y - centre[1] - tilt * (canvas.x - centre[0])) - rng.uniform(0.1, 0.5) * radius
    return ramp(as_field(beyond), 0.012, -0.012)
