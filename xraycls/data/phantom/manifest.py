"""``phantom.json``: what a folder of the phantom holds, written when all of it is there."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from xraycls.data.files import atomic_write

_NAME = "phantom.json"


class DrawnImage(BaseModel):
    """One image that was drawn.

    Attributes:
        patient: such as p0012.
        boxes: left, top, right, bottom of each opacity, in pixels of the image.
        files: the bytes in each of its files, by path below the folder.
        labels: the finding of each box; empty where all are opacities.
    """

    model_config = ConfigDict(extra="forbid")

    patient: str
    boxes: list[tuple[float, float, float, float]]
    files: dict[str, int]
    labels: list[str] = []

    def intact(self, folder: Path, needed: list[str]) -> bool:
        """Whether the files needed are all there, in full length."""
        return all(self.files.get(name) == _length(folder / name) for name in needed)


class Manifest(BaseModel):
    """The arguments of the drawing and its results, keyed by the path of the picture below the folder."""

    model_config = ConfigDict(extra="forbid")

    version: int
    layout: str = "folder"
    seed: int
    images: int
    size: int
    findings: int = 0
    drawn: dict[str, DrawnImage] = {}

    def same_drawing(self, other: Manifest) -> bool:
        """Whether both were drawn with the same arguments."""
        return self.model_dump(exclude={"drawn"}) == other.model_dump(exclude={"drawn"})

    def save(self, folder: Path) -> None:
        """Write it, atomically."""
        with atomic_write(folder / _NAME) as temporary:
            temporary.write_text(self.model_dump_json(indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """The folder's manifest; None where there is none or it can't be understood."""
        try:
            return cls.model_validate_json((folder / _NAME).read_bytes())
        except (OSError, ValidationError):
            return None


def _length(path: Path) -> int:
    """Bytes in a file; a missing file has -1, which no manifest records."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
