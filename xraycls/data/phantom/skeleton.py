"""Bone: ribs, spine, clavicles, shoulders and jaw, each about 1 where the beam meets it face on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xraycls.data.phantom.canvas import Canvas, Field, Points, as_field, bump, dome, mottle, ramp
from xraycls.data.phantom.chest import Chest

_RIBS = 11
_FRONT_RIBS = 9
_RIBS_ABOVE_DOME = 9.4


def ribs(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Field:
    """The ribs, back and front.

    A rib is a ring tilted forward. With u = x / (half-width of the cage) and a slope, its back lies
    slope · (1 - √(1 - u²)) below its root and its front slope · (1 + √(1 - u²)): both meet at the side,
    where the beam runs along the rib and finds the most bone.
    """
    uneven = 0.10 * mottle(rng, canvas.shape, 5)
    slope = chest.patient.rib_slope * (0.75 + 0.55 * ramp(canvas.y, chest.patient.top, chest.bottom))
    total = np.zeros(canvas.shape, np.float32)
    for front in (False, True):
        x = canvas.x - (chest.front if front else chest.spine)
        u = np.minimum(np.abs(x) / np.maximum(chest.half_width, 1e-3), 1.0)
        lean = dome(u * u)
        drop = slope * (1.0 + lean) if front else slope * (1.0 - lean)
        number = (canvas.y - drop - chest.patient.top + 0.02) * (_RIBS_ABOVE_DOME / chest.patient.height) + uneven
        offset = number - np.floor(number) - 0.5
        # A steep rib takes up more of the column than it is wide.
        steep = slope * u / np.maximum(lean * chest.half_width, 0.05)
        half = (0.58 if front else 0.5) * chest.patient.rib_width * np.minimum(np.sqrt(1.0 + steep * steep), 1.9)
        bone = _hollow(offset / half)
        bone *= (number > 0) & (number < (_FRONT_RIBS if front else _RIBS)) & (u < 1.0)
        if front:
            # In front a rib ends in cartilage, which casts no shadow: the lower the rib, the earlier.
            bone *= 0.62 * np.clip((u - 0.36 - 0.045 * number) / 0.05, 0.0, 1.0)
        else:
            bone *= np.clip((np.abs(x) - 0.05) / 0.04, 0.0, 1.0)
        total += bone / (0.42 + 0.58 * lean)
    return total


def spine(canvas: Canvas, chest: Chest) -> Field:
    """The vertebrae: bodies with dense plates above and below, discs, pedicles, processes."""
    x = (canvas.x - chest.spine) / (0.066 + 0.016 * ramp(canvas.y, -0.6, 0.6))
    number = (canvas.y - chest.patient.top) * (_RIBS_ABOVE_DOME / chest.patient.height)
    place = number - np.floor(number)
    offset = np.abs(place - 0.5) * 2.0  # 0 in the middle of a vertebra, 1 in the middle of a disc
    side = np.abs(x)
    waist = side * (1.1 - 0.1 * offset)
    inside = np.clip((1.0 - waist) / 0.12, 0.0, 1.0)
    filling = 0.40 + 0.60 * ramp(offset, 0.95, 0.80) + 0.30 * bump(offset - 0.74, 0.09)
    walls = 0.25 * bump(waist - 0.90, 0.08)
    pedicles = 0.30 * dome(np.square((side - 0.62) / 0.2) + np.square(offset / 0.55))
    process = 0.30 * dome(np.square(x / 0.14) + np.square((place - 0.85) / 0.35))
    wings = 0.28 * np.clip((1.9 - side) / 0.3, 0.0, 1.0) * bump(offset - 0.1, 0.4)
    return as_field(inside * (filling + walls + pedicles) + process + wings * (1.0 - 0.7 * inside))


def clavicles(canvas: Canvas, chest: Chest) -> Field:
    """The clavicles: two flat S curves from the breastbone up to the shoulders."""
    t = np.linspace(0.0, 1.0, 24)
    y = chest.patient.top + 0.105 - (0.10 + 0.9 * chest.stance.shrug) * t + 0.035 * np.sin(2.0 * np.pi * t)
    x = 0.075 + chest.patient.cage * t
    both = [np.stack([sign * x + chest.front * (1.0 - t), y], axis=1) for sign in (-1.0, 1.0)]
    return _long_bones(canvas, both, 0.054)


def shoulders(canvas: Canvas, chest: Chest, rng: np.random.Generator) -> Field:
    """The shoulder blades, whose inner borders may cross the lungs, and the upper arms."""
    plates = np.zeros(canvas.shape, np.float32)
    rims: list[Points] = []
    arms: list[Points] = []
    for sign, joint, elbow in zip((-1.0, 1.0), chest.joints, chest.elbows, strict=True):
        inner = chest.patient.cage - 0.17 + 0.10 * (chest.stance.arms - 1.0) + rng.uniform(-0.03, 0.03)
        outer = abs(joint[0])
        # Socket, upper corner, inner border down to the lower corner, and back along the outer border.
        across = np.array([outer - 0.05, outer - 0.10, inner, inner - 0.02, inner + 0.07, inner + 0.12, outer - 0.08])
        down = np.array([0.05, -0.07, -0.02, 0.16, 0.44, 0.40, 0.14])
        outline = _rounded(np.stack([sign * across, joint[1] + down], axis=1))
        plates += canvas.polygon(outline)
        rims += [np.vstack([outline, outline[:1]]), outline[len(outline) * 9 // 14 :]]
        arms.append(np.array([joint, elbow]))
        acromion = np.array([(joint[0] - sign * 0.25, joint[1] - 0.05), (joint[0] + sign * 0.03, joint[1] - 0.10)])
        rims.append(acromion)
    heads = sum((canvas.capsule(j, (j[0], j[1] + 0.01), 0.085) for j in chest.joints), np.float32(0.0))
    edges = canvas.blur(0.16 * plates + 0.28 * canvas.strokes(rims, 0.022), 0.006)
    return as_field(edges + 1.1 * heads + _long_bones(canvas, arms, 0.085))


def jaw(canvas: Canvas, chest: Chest) -> Field:
    """The lower jaw, where the chin hangs into the picture."""
    radius = canvas.ellipse((0.0, chest.stance.chin - 0.30), (0.26, 0.30))
    return dome(radius) - 0.75 * dome(radius / 0.78)


def _hollow(offset: Field) -> Field:
    """A hollow bone across its width, from edge to edge (±1): cortex dense, marrow lighter."""
    squared = offset * offset
    return 1.25 * dome(squared) - 0.62 * dome(squared / 0.55)


def _long_bones(canvas: Canvas, lines: Sequence[Points], width: float) -> Field:
    cortex = canvas.blur(canvas.strokes(lines, width), 0.004)
    return cortex - 0.35 * canvas.blur(canvas.strokes(lines, 0.5 * width), 0.010)


def _rounded(outline: Points, rounds: int = 2) -> Points:
    """The closed outline with its corners cut ``rounds`` times (Chaikin, 1974)."""
    for _ in range(rounds):
        following = np.roll(outline, -1, axis=0)
        cut = [0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following]
        outline = np.stack(cut, axis=1).reshape(-1, 2)
    return outline
