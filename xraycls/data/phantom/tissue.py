"""Soft tissue and air: how deep the beam runs through each, about 1 where it is deepest."""

from __future__ import annotations

import numpy as np

from xraycls.data.phantom.canvas import Canvas, Field, Point, Points, as_field, bump, dome, ramp
from xraycls.data.phantom.chest import Chest

_LEVELS = 7  # of a vessel that forks
_TRUNKS = 8  # vessels that leave each hilum
_STEPS = 4  # straight pieces of a vessel between two forks


def body(canvas: Canvas, chest: Chest) -> Field:
    """The whole body: trunk, shoulders, arms and neck."""
    x, y = canvas.x, canvas.y
    flank = chest.patient.cage + chest.patient.fat
    waist = flank * (0.94 + 0.06 * np.cos(2.2 * (y - 0.1))) + 0.05 * ramp(-y, 0.0, 0.4)
    parts = [
        dome(np.abs(x / waist) ** 2.6) * ramp(y, -0.80 - chest.stance.shrug, -0.30),
        0.62 * canvas.capsule((0.0, -0.75), (0.02, -1.3), 0.21 + 0.3 * chest.patient.fat),
        0.7 * dome(canvas.ellipse((0.0, -0.34 - chest.stance.shrug), (flank + 0.16, 0.44))),
    ]
    for joint, elbow in zip(chest.joints, chest.elbows, strict=True):
        parts.append(0.5 * canvas.capsule(joint, elbow, 0.15 + 0.4 * chest.patient.fat))
    # The fourth-power sum joins parts that overlap without adding up their depths.
    return as_field(np.sqrt(np.sqrt(np.sum([np.square(np.square(part)) for part in parts], axis=0))))


def lungs(canvas: Canvas, chest: Chest) -> Field:
    """Both lungs, as if the heart took no room."""
    x, y = canvas.x, canvas.y
    pleura = np.maximum(0.965 * chest.half_width - 0.012, 1e-3)
    depth = dome(np.square(x / pleura)) ** 0.8
    depth *= 0.65 + 0.35 * ramp(y, chest.patient.top - 0.02, chest.patient.top + 0.25)
    right, left = _mediastinum(y, chest)
    beside = np.abs(x - chest.front) - np.where(x < 0, right, left)
    depth *= np.sqrt(np.clip(beside / 0.07, 0.0, 1.0))
    below = y - chest.domes
    # Behind the dome the lung reaches further down, thinner and thinner.
    recess = 0.30 * np.exp(-np.maximum(below, 0.0) / 0.09)
    above = ramp(below, 1.2 / canvas.scale, 0.0)
    return as_field(depth * (recess + (1.0 - recess) * above))


def _mediastinum(y: Field, chest: Chest) -> tuple[Field, Field]:
    """Half-width of the mediastinum on the patient's right and left, float32 [H, 1] each."""
    arch = y - chest.patient.top - 0.30 * chest.patient.height
    trunk = y - chest.hila[1][1] + 0.02
    inlet = 0.11 * np.exp(np.minimum(chest.patient.top - y, 0.0) / 0.07)
    right = 0.115 + 0.010 * np.sin(9.0 * y) + inlet
    left = 0.095 + chest.patient.knob * bump(arch, 0.065) + 0.04 * bump(trunk, 0.08) + inlet
    return right, left


def heart(canvas: Canvas, chest: Chest) -> Field:
    """The heart: left ventricle, right atrium and the root of the great vessels."""
    size = chest.patient.heart * chest.patient.cage / 0.64
    x, y = chest.front, chest.bottom - 0.17 * size
    ventricle = canvas.ellipse((x + 0.10, y), (0.28 * size, 0.205 * size), chest.patient.heart_tilt)
    atrium = canvas.ellipse((x - 0.035, y - 0.01), (0.135 * size, 0.19 * size), -0.15)
    root = canvas.ellipse((x + 0.03, y - 0.19 * size), (0.115 * size, 0.18 * size))
    return as_field(np.maximum(np.maximum(dome(ventricle), 0.9 * dome(atrium)), 0.7 * dome(root)))


def airways(canvas: Canvas, chest: Chest) -> Field:
    """The air in the trachea and the main bronchi."""
    carina = (0.3 * chest.front, chest.hila[0][1] - 0.10)
    tube = canvas.capsule((-0.005, -1.3), carina, 0.040)
    for hilum in chest.hila:
        tube = np.maximum(tube, 0.6 * canvas.capsule(carina, hilum, 0.026))
    return tube


def breasts(canvas: Canvas, chest: Chest) -> Field:
    """The breasts, which veil the lower lungs of some patients."""
    radius = chest.patient.breasts
    if not radius:
        return np.zeros(canvas.shape, np.float32)
    across = (np.abs(canvas.x - 0.5 * chest.front) - 0.56 * chest.patient.cage) / radius
    down = (canvas.y - chest.bottom + 0.10) / (0.85 * radius)
    # Fuller at the lower border, fading upwards.
    fullness = ramp(canvas.y, chest.bottom - 0.10 - radius, chest.bottom + 0.10)
    return dome(across * across + down * down) * fullness


def leads(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Field:
    """Electrodes on the skin and their wires, which dangle out of the picture."""
    wires, discs = [], np.zeros(canvas.shape, np.float32)
    t = np.linspace(0.0, 1.0, 16)
    for _ in range(chest.stance.leads):
        x, y = rng.uniform(-0.5, 0.5), rng.uniform(-0.35, chest.bottom)
        sway, exit_x = rng.uniform(-0.2, 0.2), rng.uniform(-0.3, 0.3)
        along = x + exit_x * t + sway * np.sin(np.pi * t)
        wires.append(np.stack([along, y + (1.0 - y) * t], axis=1))
        discs = np.maximum(discs, ramp(canvas.ellipse((x, y), (0.022, 0.022)), 1.2, 0.8))
    return discs + canvas.strokes(wires, 0.007) if wires else discs


def bowel_gas(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Field:
    """Gas in the stomach, below the left dome."""
    gas = np.zeros(canvas.shape, np.float32)
    for _ in range(int(rng.integers(0, 4))):
        centre = (rng.uniform(0.20, 0.34), chest.bottom + rng.uniform(0.12, 0.24))
        radii = (rng.uniform(0.06, 0.15), rng.uniform(0.03, 0.07))
        gas = np.maximum(gas, dome(canvas.ellipse(centre, radii, rng.uniform(-0.5, 0.5))))
    return gas


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
