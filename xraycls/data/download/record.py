"""``download.json``: what a folder was filled with, so that the same command needn't do it again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xraycls.data.documents import parse_json
from xraycls.data.download.extract import Unpacked
from xraycls.data.files import atomic_write
from xraycls.errors import DataError
from xraycls.version import __version__

NAME = "download.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What has been downloaded into a folder, and is whole.

    Attributes:
        reference: Kaggle's name of the data set.
        archive: bytes of the archive; None when it was never there.
        md5: hex; empty when Kaggle gave none.
        archive_kept: whether it should still lie beside its files.
        unpacked: what came out of it; None when it was not unpacked.
        single: bytes of files that were fetched one by one, by name.
    """

    reference: str
    archive: int | None = None
    md5: str = ""
    archive_kept: bool = False
    unpacked: Unpacked | None = None
    single: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, reference: str) -> Record:
        """The record of a folder; an empty one where there is none or it can't be understood.

        Raises:
            DataError: another data set was downloaded there.
        """
        try:
            held = parse_json((folder / NAME).read_text("utf-8"))
            record = cls(
                reference=str(held["reference"]),
                archive=held["archive"],
                md5=str(held["md5"]),
                archive_kept=bool(held["archive_kept"]),
                unpacked=_unpacked(held["unpacked"]),
                single={str(name): int(size) for name, size in held["single"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(reference)
        if record.reference != reference:
            raise DataError(
                f"{folder} already holds {record.reference}", folder, f"Choose another --dest for {reference}"
            )
        return record

    def write(self, folder: Path) -> None:
        """Put it into the folder, atomically."""
        held = {**asdict(self), "written_by": f"xraycls {__version__}"}
        with atomic_write(folder / NAME) as temporary:
            temporary.write_text(json.dumps(held, indent=2) + "\n", "utf-8")

    def with_file(self, name: str, size: int) -> Record:
        """The same with one more single file."""
        return replace(self, single={**self.single, name: size})

    def is_unpacked(self, folder: Path) -> bool:
        """Whether all that came out of the archive is still there; files that were added don't matter."""
        if self.unpacked is None:
            return False
        found = [path for entry in self.unpacked.entries for path in _files(folder / entry)]
        return len(found) >= self.unpacked.files and sum(p.stat().st_size for p in found) >= self.unpacked.bytes

    def has_file(self, folder: Path, name: str) -> bool:
        """Whether a single file is there as it was fetched."""
        path = folder / name
        return name in self.single and path.is_file() and path.stat().st_size == self.single[name]


def _unpacked(held: dict[str, Any] | None) -> Unpacked | None:
    return Unpacked(int(held["files"]), int(held["bytes"]), tuple(map(str, held["entries"]))) if held else None


def _files(entry: Path) -> list[Path]:
    return [entry] if entry.is_file() else [path for path in entry.rglob("*") if path.is_file()]
