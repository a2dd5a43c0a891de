"""The layout of the RSNA Pneumonia Detection Challenge, stage 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from xraycls.data.phantom.dicom import DicomImage
from xraycls.data.phantom.layouts.base import PlacedImage, Writer, hexadecimal, is_one_in
from xraycls.data.phantom.particulars import particulars
from xraycls.data.phantom.plan import PlannedImage
from xraycls.data.rows import csv_text, written_box
from xraycls.types import Split

_NORMAL, _OTHER, _OPACITY = "Normal", "No Lung Opacity / Not Normal", "Lung Opacity"
_BEDRIDDEN = {_NORMAL: 0.2, _OTHER: 0.5, _OPACITY: 0.8}


@dataclass(frozen=True)
class Rsna:
    """``stage_2_{train,test}_images/<patient>.dcm``, the table of boxes and that of classes.

    As there, the files are JPEG baseline of 8 bits, and every image counts as a patient of its own. Of the normal
    chests, those of every other patient are called "No Lung Opacity / Not Normal", though drawn like the others.
    """

    seed: int

    def split(self, image: PlannedImage) -> Split:
        """There is no validation split."""
        return "test" if image.split == "test" else "train"

    def files(self, image: PlannedImage) -> dict[str, Writer]:
        """A DICOM."""
        name = self._name(image)
        about = particulars(image, self.seed, bedridden=_BEDRIDDEN[_class(image)])
        stored = DicomImage(
            study=("rsna", str(self.seed), name),
            number=1,
            patient=name,
            bits=8,
            windowed=False,
            jpeg=True,
            tags={
                "PatientSex": about.sex,
                "PatientAge": str(about.age),
                "ViewPosition": about.view,
                "SeriesDescription": f"view: {about.view}",
                "Modality": "CR",
                "ConversionType": "WSD",
                "PixelSpacing": [str(about.spacing)] * 2,
            },
        )
        return {f"stage_2_{self.split(image)}_images/{name}.dcm": stored.write}

    def tables(self, images: Sequence[PlacedImage]) -> dict[str, str]:
        """A row a box, or one without, of the training images; and as many rows of classes."""
        rows, classes = [], []
        for name, placed in sorted((self._name(p.planned), p) for p in images if self.split(p.planned) == "train"):
            found = [(*written_box(box), 1) for box in placed.boxes] or [("", "", "", "", 0)]
            rows += [(name, *box) for box in found]
            classes += [(name, _class(placed.planned))] * len(found)
        return {
            "stage_2_train_labels.csv": csv_text(("patientId", "x", "y", "width", "height", "Target"), rows),
            "stage_2_detailed_class_info.csv": csv_text(("patientId", "class"), classes),
        }

    def _name(self, image: PlannedImage) -> str:
        return str(UUID(hex=hexadecimal(32, self.seed, "rsna", image.patient, image.image)))


def _class(image: PlannedImage) -> str:
    if image.label:
        return _OPACITY
    return _OTHER if is_one_in(2, image) else _NORMAL
