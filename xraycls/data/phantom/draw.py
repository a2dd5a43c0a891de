"""One radiograph of the phantom: anatomy summed along the beam, seen through the film."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.phantom import skeleton, tissue
from xraycls.data.phantom.canvas import Canvas, Field, Point, as_field, mottle, ramp
from xraycls.data.phantom.chest import Chest
from xraycls.data.phantom.film import expose
from xraycls.data.phantom.findings import lost_air, with_large_heart
from xraycls.data.phantom.patient import Patient, Stance
from xraycls.types import Box

OPACITY, HEART = "PNEUMONIA", "Cardiomegaly"
_FRAME = 1.6  # units across the picture
_DETAIL = 0.7  # drawn pixels a pixel of the picture: a radiograph is never sharp to the pixel
_VISIBLE = 0.12  # of the deepest lung: less lost air than this doesn't show

_APART = 0.34  # between the centres of two patches, so that their boxes stay two findings


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A drawn radiograph.

    Attributes:
        signal: float32 [H, W], 0–1, bone white.
        boxes: one an opacity or other finding, in pixels of the picture; empty for a normal chest.
    """

    signal: Field
    boxes: tuple[Box, ...]

    def grey(self, bits: int) -> npt.NDArray[np.uint8 | np.uint16]:
        """Grey levels [H, W] from 0 to 2^bits - 1: uint8 for 8 bits, uint16 for up to 16."""
        levels = np.rint(self.signal * np.float32(2**bits - 1))
        return np.asarray(levels, np.uint8 if bits <= 8 else np.uint16)


def draw_radiograph(
    seed: int, patient: int, image: int, *, pneumonia: bool, size: int = 512, findings: Collection[str] = ()
) -> Radiograph:
    """Draw one frontal radiograph; the same arguments give the same picture.

    With and without ``pneumonia`` the patient, stance and film are the same.

    Args:
        seed: of the whole data set, 0 or more.
        patient: number from 1; decides the anatomy.
        image: number from 1; decides stance, breath, pose and exposure.
        pneumonia: whether to add one to three opacities.
        size: mean width in pixels; width and height vary about it.
        findings: names of :data:`~xraycls.data.phantom.findings.FINDINGS` but pneumonia to add, each with its boxes.
    """
    who = Patient.drawn(np.random.default_rng([seed, patient]))
    if HEART in findings:
        who = with_large_heart(who)
    day, film, illness, others = (np.random.default_rng([seed, patient, image, stream]) for stream in (1, 2, 3, 4))
    stance = Stance.drawn(day)
    canvas = Canvas.of_scale(size / _FRAME * _DETAIL)
    chest = Chest.of(canvas, who, stance)
    pose, (width, height) = _pose(canvas, size, day)
    air = as_field(tissue.lungs(canvas, chest) * (1.0 - 0.8 * tissue.heart(canvas, chest)))
    named = [(OPACITY, patch) for patch in consolidations(canvas, air, illness)] if pneumonia else []
    for name in findings:
        if name != HEART:
            named += [(name, patch) for patch in lost_air(name, canvas, chest, air, others)]
    patches = [patch for _, patch in named]
    shown = [(name, patch * air) for name, patch in named]
    if HEART in findings:
        shown.append((HEART, tissue.heart(canvas, chest)))
    lost = [(name, as_field(cv2.warpAffine(field, pose, (width, height)))) for name, field in shown]
    filled = as_field(1.0 - np.prod([1.0 - patch for patch in patches], axis=0)) if patches else None
    sheet = _attenuation(canvas, chest, air, filled, day)
    picture = cv2.warpAffine(sheet, pose, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Radiograph(
        expose(as_field(picture), film), tuple(box for name, field in lost for box in _boxes(name, field))
    )


def _attenuation(canvas: Canvas, chest: Chest, air: Field, filled: Field | None, day: np.random.Generator) -> Field:
    """The sum along the beam: natural logarithm of its loss at each point of the sheet, float32 [H, W], 0 or more.

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
    blood = tissue.vessels(canvas, chest.hila, chest.patient.height, particular)
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


def _pose(canvas: Canvas, size: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], tuple[int, int]]:
    """The 2×3 affine from the sheet to the picture, and the picture's (width, height)."""
    width = round(size * rng.uniform(0.92, 1.10))
    height = round(width * rng.uniform(0.76, 0.95))
    angle = np.deg2rad(rng.normal(0.0, 2.5))
    scale = rng.uniform(0.92, 1.10) / _DETAIL
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (np.array(canvas.shape[::-1]) - 1) / 2
    target = np.array([width * rng.uniform(0.46, 0.54), height * rng.uniform(0.48, 0.55)])
    return np.column_stack([turn, target - turn @ middle]), (width, height)


def _boxes(name: str, lost: Field) -> list[Box]:
    """The box about the air that a patch took, unless too little shows."""
    left, top, width, height = cv2.boundingRect((lost > _VISIBLE).astype(np.uint8))
    if min(width, height) < 0.02 * lost.shape[1]:
        return []
    return [Box(name, float(left), float(top), float(left + width), float(top + height))]


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
