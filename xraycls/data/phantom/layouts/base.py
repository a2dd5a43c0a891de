"""What a layout of the phantom has to say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xraycls.data.phantom.draw import Radiograph
from xraycls.data.phantom.plan import PlannedImage
from xraycls.types import Box, Split

Writer = Callable[[Path, Radiograph], None]


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image that was drawn, as the tables see it.

    Attributes:
        planned: who and which.
        boxes: of its opacities, in pixels.
    """

    planned: PlannedImage
    boxes: tuple[Box, ...]


class Layout(Protocol):
    """How the phantom lies on disk: where the files of each image go, and which tables name them."""

    def split(self, image: PlannedImage) -> Split:
        """The split that an image is published in."""
        ...

    def files(self, image: PlannedImage) -> dict[str, Writer]:
        """The paths of an image's files below the folder, each with what writes it; the picture comes first."""
        ...

    def tables(self, images: Sequence[PlacedImage]) -> dict[str, str]:
        """The text of each table, by its path below the folder."""
        ...


def is_one_in(count: int, image: PlannedImage) -> bool:
    """Whether the patient is one of every ``count``, counted in pairs: the classes of neighbours mostly differ."""
    return image.patient // 2 % count == 0


def hexadecimal(digits: int, *origin: object) -> str:
    """A name of ``digits`` hexadecimal digits that follows from its origin, as anonymised sets have them."""
    return hashlib.blake2b(repr(origin).encode(), digest_size=digits // 2).hexdigest()
