"""One radiograph of the phantom: anatomy summed along the beam, seen through the film."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.phantom import skeleton, tissue
from xraycls.data.phantom.canvas import Canvas, Field, as_field, mottle
from xraycls.data.phantom.chest import Chest
from xraycls.data.phantom.film import expose
from xraycls.data.phantom.opacity import consolidations
from xraycls.data.phantom.patient import Patient, Stance
from xraycls.types import Box

OPACITY = "PNEUMONIA"
_FRAME = 1.6  # units across the picture
_DETAIL = 0.7  # drawn pixels a pixel of the picture: a radiograph is never sharp to the pixel
_VISIBLE = 0.12  # of the deepest lung: less lost air than this doesn't show


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A drawn radiograph.

    Attributes:
        signal: float32 [H, W], 0–1, bone white.
        boxes: one an opacity, in pixels of the picture; empty for a normal chest.
    """

    signal: Field
    boxes: tuple[Box, ...]

    def grey(self, bits: int) -> npt.NDArray[np.uint8 | np.uint16]:
        """Grey levels [H, W] from 0 to 2^bits - 1: uint8 for 8 bits, uint16 for up to 16."""
        levels = np.rint(self.signal * np.float32(2**bits - 1))
        return np.asarray(levels, np.uint8 if bits <= 8 else np.uint16)


def draw_radiograph(seed: int, patient: int, image: int, *, pneumonia: bool, size: int = 512) -> Radiograph:
    """Draw one frontal radiograph; the same arguments give the same picture.

    With and without ``pneumonia`` the patient, stance and film are the same.

    Args:
        seed: of the whole data set, 0 or more.
        patient: number from 1; decides the anatomy.
        image: number from 1; decides stance, breath, pose and exposure.
        pneumonia: whether to add one to three opacities.
        size: mean width in pixels; width and height vary about it.
    """
    who = Patient.drawn(np.random.default_rng([seed, patient]))
    day, film, illness = (np.random.default_rng([seed, patient, image, stream]) for stream in (1, 2, 3))
    stance = Stance.drawn(day)
    canvas = Canvas.of_scale(size / _FRAME * _DETAIL)
    chest = Chest.of(canvas, who, stance)
    pose, (width, height) = _pose(canvas, size, day)
    air = as_field(tissue.lungs(canvas, chest) * (1.0 - 0.8 * tissue.heart(canvas, chest)))
    patches = consolidations(canvas, air, illness) if pneumonia else []
    lost = [as_field(cv2.warpAffine(patch * air, pose, (width, height))) for patch in patches]
    filled = as_field(1.0 - np.prod([1.0 - patch for patch in patches], axis=0)) if patches else None
    sheet = _attenuation(canvas, chest, air, filled, day)
    picture = cv2.warpAffine(sheet, pose, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Radiograph(expose(as_field(picture), film), tuple(box for field in lost for box in _boxes(field)))


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


def _boxes(lost: Field) -> list[Box]:
    """The box about the air that a patch took, unless too little shows."""
    left, top, width, height = cv2.boundingRect((lost > _VISIBLE).astype(np.uint8))
    if min(width, height) < 0.02 * lost.shape[1]:
        return []
    return [Box(OPACITY, float(left), float(top), float(left + width), float(top + height))]
