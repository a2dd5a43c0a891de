"""The layout of NIH's ChestX-ray14."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xraycls.data.phantom.draw import OPACITY
from xraycls.data.phantom.files import write_png
from xraycls.data.phantom.findings import findings_of
from xraycls.data.phantom.layouts.base import PlacedImage, Writer, is_one_in
from xraycls.data.phantom.particulars import particulars
from xraycls.data.phantom.plan import PlannedImage
from xraycls.data.rows import csv_text, written_box
from xraycls.types import Box, Split

# The headers as published: the brackets' commas make columns of their own, and the table of boxes has three too many.
_ENTRIES = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
).split(",")
_BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,".split(",")
_BEDRIDDEN = (0.3, 0.6)
_MILLIMETRES = (417, 348)  # of the detector, across and down


@dataclass(frozen=True)
class Nih:
    """``images/00000001_000.png``, the table of findings, that of boxes and the official lists of the two splits.

    Attributes:
        seed: of the whole data set.
        findings: how many are drawn, 2 or more; 0 for pneumonia alone.
    """

    seed: int
    findings: int = 0

    def split(self, image: PlannedImage) -> Split:
        """One list for training and validation, one for test."""
        return "test" if image.split == "test" else "train"

    def files(self, image: PlannedImage) -> dict[str, Writer]:
        """A PNG."""
        return {f"images/{_name(image)}": write_png}

    def tables(self, images: Sequence[PlacedImage]) -> dict[str, str]:
        """Findings, boxes and splits."""
        boxes = [(_name(p.planned), self._finding(box), *written_box(box)) for p in images for box in p.boxes]
        lists: dict[Split, str] = {"train": "", "test": ""}
        for placed in images:
            lists[self.split(placed.planned)] += f"{_name(placed.planned)}\n"
        return {
            "Data_Entry_2017.csv": csv_text(_ENTRIES, [self._entry(placed.planned) for placed in images]),
            "BBox_List_2017.csv": csv_text(_BOXES, boxes),
            "train_val_list.txt": lists["train"],
            "test_list.txt": lists["test"],
        }

    def _entry(self, image: PlannedImage) -> tuple[object, ...]:
        about = particulars(image, self.seed, bedridden=_BEDRIDDEN[image.label])
        size = (round(millimetres / about.spacing) for millimetres in _MILLIMETRES)
        spacing = (about.spacing, about.spacing)
        return (
            *(_name(image), self._findings(image), image.image - 1, image.patient),
            *(about.age, about.sex, about.view),
            *(*size, *spacing, ""),
        )

    def _finding(self, box: Box) -> str:
        return box.label if self.findings and box.label != OPACITY else "Pneumonia"

    def _findings(self, image: PlannedImage) -> str:
        if self.findings:
            return "|".join(findings_of(self.seed, image, self.findings)) or "No Finding"
        return _findings(image)


def _name(image: PlannedImage) -> str:
    return f"{image.patient:08d}_{image.image - 1:03d}.png"


def _findings(image: PlannedImage) -> str:
    """One or several, joined by a bar, which sets the others apart from Pneumonia alone."""
    if not image.label:
        return "No Finding"
    return "Infiltration|Pneumonia" if is_one_in(3, image) else "Pneumonia"
