"""The layout of Kaggle's CoronaHack chest X-ray data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xraycls.data.phantom.files import write_jpeg
from xraycls.data.phantom.layouts.base import PlacedImage, Writer, is_one_in
from xraycls.data.phantom.layouts.kermany import germ, kermany_name
from xraycls.data.phantom.plan import PlannedImage
from xraycls.data.rows import csv_text
from xraycls.types import Split

_HEADER = ("", "X_ray_image_name", "Label", "Dataset_type", "Label_2_Virus_category", "Label_1_Virus_category")
_FOLDER = "Coronahack-Chest-XRay-Dataset/Coronahack-Chest-XRay-Dataset"


@dataclass(frozen=True)
class Coronahack:
    """All pictures of a split in one folder, and ``Chest_xray_Corona_Metadata.csv`` to tell them apart.

    Most are named as in Kermany's set, which CoronaHack took over; every third patient with pneumonia has COVID-19.
    """

    seed: int

    def split(self, image: PlannedImage) -> Split:
        """There is no validation split."""
        return "test" if image.split == "test" else "train"

    def files(self, image: PlannedImage) -> dict[str, Writer]:
        """The JPEG."""
        return {f"{_FOLDER}/{self.split(image)}/{_name(image)}": write_jpeg}

    def tables(self, images: Sequence[PlacedImage]) -> dict[str, str]:
        """The metadata, "Pnemonia" spelt as there."""
        rows = [(row, *self._row(placed.planned)) for row, placed in enumerate(images)]
        return {"Chest_xray_Corona_Metadata.csv": csv_text(_HEADER, rows)}

    def _row(self, image: PlannedImage) -> tuple[str, ...]:
        dataset = self.split(image).upper()
        if not image.label:
            return _name(image), "Normal", dataset, "", ""
        if _is_covid(image):
            return _name(image), "Pnemonia", dataset, "COVID-19", "Virus"
        return _name(image), "Pnemonia", dataset, "", {"virus": "Virus", "bacteria": "bacteria"}[germ(image)]


def _is_covid(image: PlannedImage) -> bool:
    return image.label == 1 and is_one_in(3, image)


def _name(image: PlannedImage) -> str:
    if _is_covid(image):
        return f"covid-19-pneumonia-{image.patient}-day-{image.image}.jpeg"
    return kermany_name(image)
