"""Who is on the radiograph, and how that patient stands and breathes on the day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Patient:
    """What two radiographs of one patient share; lengths in units of the frame (see canvas).

    Attributes:
        cage: half the width of the rib cage.
        roundness: of the cage's upper end; larger is rounder.
        top: y of the lungs' apices.
        height: from the apices down to the right dome of the diaphragm.
        rib_slope: half the drop of a rib from the spine to its front end.
        rib_width: of the distance between two ribs.
        bone: how dense bone is; 1 is average.
        fat: soft tissue outside the cage.
        depth: how thick the trunk is; 1 is average.
        heart: size; 1 is average.
        heart_tilt: of the heart's axis below the horizontal, radians.
        knob: how far the aortic arch bulges.
        vessels: how full the lung's vessels are; 1 is average.
        bend: how far the spine bends sideways.
        breasts: radius of the breast shadows; 0 for none.
        detail: seed of what is particular: the vessel tree, the unevenness of the ribs, the shoulder blades.
    """

    cage: float
    roundness: float
    top: float
    height: float
    rib_slope: float
    rib_width: float
    bone: float
    fat: float
    depth: float
    heart: float
    heart_tilt: float
    knob: float
    vessels: float
    bend: float
    breasts: float
    detail: int

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Patient:
        """A patient at random."""
        u = rng.uniform
        return cls(
            cage=u(0.58, 0.66),
            roundness=u(2.6, 3.6),
            top=u(-0.56, -0.48),
            height=u(0.78, 0.98),
            rib_slope=u(0.13, 0.22),
            rib_width=u(0.36, 0.48),
            bone=u(0.8, 1.2),
            fat=u(0.05, 0.20),
            depth=u(0.85, 1.15),
            heart=u(0.88, 1.12),
            heart_tilt=u(0.45, 0.85),
            knob=u(0.0, 0.05),
            vessels=u(0.7, 1.3),
            bend=u(-0.02, 0.02),
            breasts=u(0.20, 0.30) if u() < 0.3 else 0.0,
            detail=int(rng.integers(2**32)),
        )


@dataclass(frozen=True, slots=True)
class Stance:
    """How the patient breathes and stands for one radiograph.

    Attributes:
        breath: how much lower the diaphragm stands than in an average breath.
        turn: how far the front of the chest is turned to the patient's left, against the back.
        arms: angle of the upper arms, radians: 0 hangs down, π/2 is level.
        shrug: how high the shoulders stand.
        chin: y of the chin's lower border; above the picture when the head is held up.
        leads: electrodes on the skin.
    """

    breath: float
    turn: float
    arms: float
    shrug: float
    chin: float
    leads: int

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Stance:
        """A stance at random."""
        u = rng.uniform
        return cls(
            breath=u(-0.08, 0.06),
            turn=u(-0.03, 0.03),
            arms=u(0.15, 1.9),
            shrug=u(-0.05, 0.05),
            chin=u(-0.85, -0.60),
            leads=int(rng.integers(1, 4)) if u() < 0.2 else 0,
        )
