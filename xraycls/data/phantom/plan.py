"""Who is in the data set: patients, their images, splits and classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xraycls.errors import UsageError
from xraycls.types import SPLITS, Split

CLASSES = ("NORMAL", "PNEUMONIA")
_SHARES: dict[Split, float] = {"train": 0.70, "val": 0.15, "test": 0.15}
_MOST_IMAGES = 4  # of one patient
_LEAST = len(SPLITS) * len(CLASSES)


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One image of the data set before it is drawn.

    Attributes:
        patient: number from 1.
        image: number from 1 within the patient.
        split: the patient's split.
        label: index into CLASSES, the same for all images of a patient.
    """

    patient: int
    image: int
    split: Split
    label: int

    @property
    def patient_name(self) -> str:
        """Such as p0012."""
        return f"p{self.patient:04d}"


def plan(images: int, seed: int) -> list[PlannedImage]:
    """Exactly ``images`` images, in the order of patients.

    A patient has 1–4 images, one class and one split; splits are 70/15/15 and classes half and half in each,
    as nearly as whole patients allow.

    Raises:
        UsageError: fewer images than splits times classes, or a negative seed.
    """
    if images < _LEAST:
        raise UsageError(f"A phantom of {images} images can't be split", f"Ask for {_LEAST} or more")
    if seed < 0:
        raise UsageError(f"The seed {seed} is negative", "Choose 0 or more")
    rng = np.random.default_rng(seed)
    most = min(_MOST_IMAGES, images // _LEAST)
    targets = {(split, label): share / 2 for split, share in _SHARES.items() for label in range(len(CLASSES))}
    filled = dict.fromkeys(targets, 0)
    planned: list[PlannedImage] = []
    patient = 0
    while len(planned) < images:
        patient += 1
        count = min(int(rng.integers(1, most + 1)), images - len(planned))
        neediest = min(targets, key=lambda group: filled[group] / targets[group])
        filled[neediest] += count
        split, label = neediest
        planned += [PlannedImage(patient, image, split, label) for image in range(1, count + 1)]
    return planned
