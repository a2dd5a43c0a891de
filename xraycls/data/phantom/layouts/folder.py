"""The layout of our own: an image folder, boxes as KITTI beside it, and DICOM files on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xraycls.data.phantom.dicom import DicomImage
from xraycls.data.phantom.files import write_jpeg, write_kitti
from xraycls.data.phantom.layouts.base import PlacedImage, Writer
from xraycls.data.phantom.plan import CLASSES, PlannedImage
from xraycls.types import Split


@dataclass(frozen=True)
class Folder:
    """``train|val|test/NORMAL|PNEUMONIA/p0012_1.jpeg``, ``labels/<split>/p0012_1.txt`` and ``dicom/<split>/``."""

    seed: int
    dicom: bool = False

    def split(self, image: PlannedImage) -> Split:
        """As planned."""
        return image.split

    def files(self, image: PlannedImage) -> dict[str, Writer]:
        """The JPEG, its boxes and, on request, a DICOM of 12 bits."""
        stem = f"{image.patient_name}_{image.image}"
        written: dict[str, Writer] = {
            f"{image.split}/{CLASSES[image.label]}/{stem}.jpeg": write_jpeg,
            f"labels/{image.split}/{stem}.txt": write_kitti,
        }
        if self.dicom:
            study = (str(self.seed), image.patient_name)
            stored = DicomImage(study, image.image, image.patient_name)
            written[f"dicom/{image.split}/{stem}.dcm"] = stored.write
        return written

    def tables(self, images: Sequence[PlacedImage]) -> dict[str, str]:
        """None: the folders tell the classes."""
        return {}
