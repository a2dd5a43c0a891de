"""The layout of Kermany's children's chest radiographs as Kaggle distributes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xraycls.data.phantom.files import write_jpeg
from xraycls.data.phantom.layouts.base import PlacedImage, Writer, is_one_in
from xraycls.data.phantom.plan import CLASSES, PlannedImage
from xraycls.types import Split


@dataclass(frozen=True)
class Kermany:
    """``chest_xray/{train,test,val}/{NORMAL,PNEUMONIA}/`` with names such as ``person12_virus_34.jpeg``."""

    seed: int

    def split(self, image: PlannedImage) -> Split:
        """As planned."""
        return image.split

    def files(self, image: PlannedImage) -> dict[str, Writer]:
        """The JPEG."""
        return {f"chest_xray/{image.split}/{CLASSES[image.label]}/{kermany_name(image)}": write_jpeg}

    def tables(self, images: Sequence[PlacedImage]) -> dict[str, str]:
        """None: the folders tell the classes, and the names the germ."""
        return {}


def germ(image: PlannedImage) -> str:
    """What caused a pneumonia: "bacteria" or "virus"."""
    return "virus" if is_one_in(2, image) else "bacteria"


def kermany_name(image: PlannedImage) -> str:
    """Such as person12_virus_34.jpeg, IM-0012-0001.jpeg or, of test images, NORMAL2-IM-0012-0001.jpeg."""
    if image.label:
        return f"person{image.patient}_{germ(image)}_{4 * image.patient + image.image}.jpeg"
    prefix = "NORMAL2-" if image.split == "test" else ""
    return f"{prefix}IM-{image.patient:04d}-{image.image:04d}.jpeg"
