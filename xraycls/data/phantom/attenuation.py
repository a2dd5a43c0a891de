"""The sum along the beam: what tissue, air, bone and metal take from it."""

from __future__ import annotations

import numpy as np

from xraycls.data.phantom import skeleton, tissue
from xraycls.data.phantom.canvas import Canvas, Field, as_field, mottle
from xraycls.data.phantom.chest import Chest
from xraycls.data.phantom.vessels import vessels


def attenuation(canvas: Canvas, chest: Chest, air: Field, filled: Field | None, day: np.random.Generator) -> Field:
    """Natural logarithm of the beam's loss at each point of the sheet, float32 [H, W], 0 or more.

    Args:
        air: depth of lung along the beam, 0-1 [H, W].
        filled: share of the lung's air that is gone, 0-1 [H, W]; None for none.
        day: draws what differs between two radiographs of a patient.
    """
    particular = np.random.default_rng(chest.patient.detail)
    coarse = canvas.coarser()
    body = canvas.enlarged(tissue.body(coarse, chest))
    aerated = np.minimum(air, body)
    if filled is not None:
        aerated = aerated * (1.0 - filled)
    blood = vessels(canvas, chest.hila, chest.patient.height, particular)
    # Only what air surrounds can be seen: vessels drown in a filled lung.
    seen = 0.45 * chest.patient.vessels * blood + 0.03 * mottle(particular, canvas.shape, 90)
    loss = chest.patient.depth * (3.4 * body - 2.3 * aerated) + aerated * seen
    air_elsewhere = 0.35 * tissue.airways(coarse, chest) + 0.6 * tissue.bowel_gas(coarse, chest, day)
    loss += canvas.enlarged(0.5 * tissue.breasts(coarse, chest) - air_elsewhere)
    metal = 0.6 * tissue.leads(canvas, chest, day)
    bone = chest.patient.bone * _bones(canvas, chest, particular)
    return as_field(np.maximum(loss, 0.0) + metal + bone * np.minimum(4.0 * body, 1.0))


def _bones(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Field:
    bone = 0.38 * skeleton.ribs(canvas, chest, rng)
    bone += 0.28 * skeleton.spine(canvas, chest)
    bone += 0.50 * skeleton.clavicles(canvas, chest)
    bone += 0.60 * skeleton.shoulders(canvas, chest, rng)
    return bone + 0.90 * skeleton.jaw(canvas, chest)
