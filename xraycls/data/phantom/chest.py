"""The chest's main lines, which bone, lung and heart must agree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xraycls.data.phantom.canvas import Canvas, Field, Point, as_field
from xraycls.data.phantom.patient import Patient, Stance


@dataclass(frozen=True, slots=True)
class Chest:
    """Where the chest's main lines run.

    Attributes:
        patient: whose chest it is.
        stance: how the patient stands.
        half_width: of the rib cage at each height, float32 [H, 1].
        domes: y of the diaphragm in each column, float32 [1, W].
        spine: x of the spine at each height, float32 [H, 1].
        bottom: y of the top of the right dome.
        hila: the roots of the right and of the left lung.
        front: how far the structures at the front are shifted to the patient's left.
        joints: the right and the left shoulder.
        elbows: a point far down the right and the left upper arm.
    """

    patient: Patient
    stance: Stance
    half_width: Field
    domes: Field
    spine: Field
    bottom: float
    hila: tuple[Point, Point]
    front: float
    joints: tuple[Point, Point]
    elbows: tuple[Point, Point]

    @classmethod
    def of(cls, canvas: Canvas, patient: Patient, stance: Stance) -> Chest:
        """The lines of a patient who stands so."""
        bottom = patient.top + patient.height + stance.breath
        down = np.clip((canvas.y - patient.top + 0.04) / (patient.height * 1.35), 0.0, 1.0)
        spine = patient.bend * np.sin(3.0 * canvas.y + 10.0 * patient.knob) - 0.5 * stance.turn
        root = patient.top + 0.46 * patient.height
        shoulder = (patient.cage + 0.10, -0.50 - stance.shrug)
        reach = 0.9 * float(np.sin(stance.arms)), 0.9 * float(np.cos(stance.arms))
        elbow = (shoulder[0] + reach[0], shoulder[1] + reach[1])
        return cls(
            patient=patient,
            stance=stance,
            half_width=as_field(patient.cage * np.sqrt(1.0 - (1.0 - down) ** patient.roundness)),
            domes=_domes(canvas.x, patient.cage, bottom),
            spine=as_field(spine),
            bottom=bottom,
            hila=((-0.125 + stance.turn, root + 0.02), (0.135 + stance.turn, root)),
            front=stance.turn,
            joints=((-shoulder[0], shoulder[1]), shoulder),
            elbows=((-elbow[0], elbow[1]), elbow),
        )


def _domes(x: Field, cage: float, bottom: float) -> Field:
    """The diaphragm from the front: steep beside the ribs, flat beside the heart, the left dome lower."""
    side = np.abs(x) / cage
    lateral = np.clip((side - 0.48) / 0.5, 0.0, 1.4)
    medial = np.clip((0.48 - side) / 0.48, 0.0, 1.0)
    lower = np.where(x > 0, 0.045, 0.0)
    return as_field(bottom + lower + 0.10 * lateral**2 + 0.13 * lateral**6 + 0.05 * medial**2)
