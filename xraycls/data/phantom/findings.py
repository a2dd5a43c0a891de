"""Several findings in a phantom: which an image shows, and how each takes air from the lungs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xraycls.data.phantom.canvas import Canvas, Field, Point, as_field, dome, ramp
from xraycls.data.phantom.chest import Chest
from xraycls.data.phantom.patient import Patient
from xraycls.data.phantom.plan import PlannedImage

FINDINGS = ("Pneumonia", "Effusion", "Nodule", "Cardiomegaly", "Atelectasis")
"""What a phantom may show, by NIH's names; a phantom of fewer findings has the first of them."""

_CHOICE = 21  # random stream of its own, so that pictures of one finding stay as they are
_SHARES = (0.5, 0.35, 0.15)  # of sick images with one, two and three findings
_ENLARGED = 1.35  # times the size of a patient's heart


def findings_of(seed: int, image: PlannedImage, count: int) -> tuple[str, ...]:
    """The findings that an image shows, in the order of ``FINDINGS``; none of a healthy one.

    Args:
        seed: of the whole data set.
        image: whose.
        count: how many findings the data set knows, 2 to 5.
    """
    if not image.label:
        return ()
    rng = np.random.default_rng([seed, image.patient, image.image, _CHOICE])
    number = min(int(rng.choice(len(_SHARES), p=_SHARES)) + 1, count)
    chosen = set(rng.choice(count, number, replace=False).tolist())
    return tuple(name for at, name in enumerate(FINDINGS) if at in chosen)


def with_large_heart(patient: Patient) -> Patient:
    """The same patient with cardiomegaly."""
    return replace(patient, heart=patient.heart * _ENLARGED)


def lost_air(name: str, canvas: Canvas, chest: Chest, air: Field, rng: np.random.Generator) -> list[Field]:
    """How much of the air is gone along the beam, 0–1 [H, W] each, one a lesion.

    Args:
        name: "Effusion", "Nodule" or "Atelectasis".
        canvas: of the sheet.
        chest: whose.
        air: depth of aerated lung along the beam, 0–1 [H, W].
        rng: where chance comes from.
    """
    if name == "Effusion":
        return [_effusion(canvas, chest, rng)]
    if name == "Atelectasis":
        return [_plate(canvas, chest, rng)]
    return [_nodule(canvas, air, rng) for _ in range(int(rng.integers(1, 3)))]


def _effusion(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Field:
    """Fluid at the base of one lung, which climbs the wall of the chest (the meniscus)."""
    side = float(rng.choice([-1.0, 1.0]))
    lateral = np.clip((side * canvas.x / chest.patient.cage - 0.35) / 0.65, 0.0, 1.0)
    surface = chest.bottom - rng.uniform(0.08, 0.22) - 0.14 * np.square(lateral)
    beside = ramp(as_field(side * canvas.x), 0.0, 0.04)
    return as_field(0.95 * ramp(as_field(canvas.y - surface), -0.01, 0.02) * beside)


def _plate(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Field:
    """A band of collapsed lung above the diaphragm, as thin as a plate."""
    side = float(rng.choice([-1.0, 1.0]))
    centre = side * rng.uniform(0.26, 0.34), chest.bottom - rng.uniform(0.10, 0.24)
    reach = canvas.ellipse(centre, (rng.uniform(0.13, 0.18), rng.uniform(0.022, 0.032)), rng.uniform(-0.25, 0.25))
    return as_field(0.85 * ramp(reach, 1.1, 0.5))


def _nodule(canvas: Canvas, air: Field, rng: np.random.Generator) -> Field:
    rows, columns = np.nonzero(air > 0.6)
    pick = int(rng.integers(len(rows)))
    centre: Point = float(canvas.x[0, columns[pick]]), float(canvas.y[rows[pick], 0])
    radius = rng.uniform(0.03, 0.05)
    return as_field(0.95 * np.sqrt(dome(canvas.ellipse(centre, (radius, radius)))))
