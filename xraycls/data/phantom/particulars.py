"""What a data set's tables say of a phantom image beside its class: sex, age, view and pixel spacing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from xraycls.data.phantom.patient import Patient
from xraycls.data.phantom.plan import PlannedImage

View = Literal["AP", "PA"]
_SPACINGS = (0.139, 0.143, 0.168, 0.171, 0.1945)  # mm, of common detectors
_PARTICULARS, _STANCE = 11, 12  # random streams of their own, so that pictures don't depend on tables


@dataclass(frozen=True, slots=True)
class Particulars:
    """Of one image.

    Attributes:
        sex: F or M, in keeping with the drawn anatomy.
        age: years; every 25th patient's is a nonsense 148–155, as a few are in RSNA's set.
        view: AP, as in a bed, is more frequent among the sick.
        spacing: millimetres a pixel.
    """

    sex: Literal["F", "M"]
    age: int
    view: View
    spacing: float


def particulars(image: PlannedImage, seed: int, *, bedridden: float) -> Particulars:
    """The particulars of an image; the same arguments give the same ones.

    Args:
        image: whose.
        seed: of the whole data set.
        bedridden: the probability of an AP view, 0–1.
    """
    who = np.random.default_rng([seed, image.patient, _PARTICULARS])
    day = np.random.default_rng([seed, image.patient, image.image, _STANCE])
    anatomy = Patient.drawn(np.random.default_rng([seed, image.patient]))
    is_female = anatomy.breasts > 0 or who.uniform() < 0.2
    age = int(np.clip(who.normal(48, 17), 2, 92))
    nonsense = 148 + image.patient % 8
    return Particulars(
        sex="F" if is_female else "M",
        age=nonsense if image.patient % 25 == 3 else age,
        view="AP" if day.uniform() < bedridden else "PA",
        spacing=float(who.choice(_SPACINGS)),
    )
