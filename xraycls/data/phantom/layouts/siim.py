"""The layout of the SIIM-FISABIO-RSNA COVID-19 detection challenge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xraycls.data.phantom.dicom import DicomImage
from xraycls.data.phantom.layouts.base import PlacedImage, Writer, hexadecimal
from xraycls.data.phantom.particulars import particulars
from xraycls.data.phantom.plan import PlannedImage
from xraycls.data.rows import csv_text, written_number
from xraycls.types import Box, Split

_APPEARANCES = ("Negative for Pneumonia", "Typical Appearance", "Indeterminate Appearance", "Atypical Appearance")
_OF_PNEUMONIA = (0.6, 0.25, 0.15)  # typical, indeterminate, atypical
_BEDRIDDEN = (0.4, 0.8)
_STORAGE, _READING = 13, 14  # random streams


@dataclass(frozen=True)
class Siim:
    """``train/<study>/<series>/<image>.dcm`` and the tables of images and of studies.

    A patient's images are one study of several series. As there, some are MONOCHROME1, bits vary, and not every
    file has a window.
    """

    seed: int

    def split(self, image: PlannedImage) -> Split:
        """Only the training images were published with labels."""
        return "train"

    def files(self, image: PlannedImage) -> dict[str, Writer]:
        """A DICOM."""
        study, name = self._study(image), self._name(image)
        series = hexadecimal(12, self.seed, "series", image.patient, image.image)
        rng = np.random.default_rng([self.seed, image.patient, image.image, _STORAGE])
        about = particulars(image, self.seed, bedridden=_BEDRIDDEN[image.label])
        stored = DicomImage(
            study=("siim", str(self.seed), study),
            number=image.image,
            patient=hexadecimal(12, self.seed, "patient", image.patient),
            bits=int(rng.choice((12, 16))),
            inverted=bool(rng.uniform() < 0.4),
            windowed=bool(rng.uniform() < 0.5),
            tags={
                "PatientSex": about.sex,
                "ViewPosition": about.view,
                "Modality": str(rng.choice(("CR", "DX"))),
                "ImagerPixelSpacing": [str(about.spacing)] * 2,
            },
        )
        return {f"train/{study}/{series}/{name}.dcm": stored.write}

    def tables(self, images: Sequence[PlacedImage]) -> dict[str, str]:
        """Image level and study level."""
        rows = [(f"{self._name(p.planned)}_image", *_findings(p.boxes), self._study(p.planned)) for p in images]
        readings = {self._study(p.planned): self._reading(p.planned) for p in images}
        studies = [
            (f"{study}_study", *(int(i == reading) for i in range(len(_APPEARANCES))))
            for study, reading in sorted(readings.items())
        ]
        return {
            "train_image_level.csv": csv_text(("id", "boxes", "label", "StudyInstanceUID"), sorted(rows)),
            "train_study_level.csv": csv_text(("id", *_APPEARANCES), studies),
        }

    def _name(self, image: PlannedImage) -> str:
        return hexadecimal(12, self.seed, "image", image.patient, image.image)

    def _study(self, image: PlannedImage) -> str:
        return hexadecimal(12, self.seed, "study", image.patient)

    def _reading(self, image: PlannedImage) -> int:
        """Index into the appearances; of all images of a patient the same."""
        rng = np.random.default_rng([self.seed, image.patient, _READING])
        return 1 + int(rng.choice(3, p=_OF_PNEUMONIA)) if image.label else 0


def _findings(boxes: Sequence[Box]) -> tuple[str, str]:
    """The cells "boxes" and "label" as the competition writes them."""
    if not boxes:
        return "", "none 1 0 0 1 1"
    listed = [{"x": b.left, "y": b.top, "width": b.right - b.left, "height": b.bottom - b.top} for b in boxes]
    corners = (" ".join(map(written_number, (b.left, b.top, b.right, b.bottom))) for b in boxes)
    return str(listed), " ".join(f"opacity 1 {four}" for four in corners)
