"""One folder listed: its folders, its pictures, and what lies beside them. Nothing but regular files is opened."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from xraycls.data.dicom.sniff import DICOM_SUFFIXES, is_dicom
from xraycls.data.files import is_special, readable_name
from xraycls.data.signatures import HEAD, is_picture, is_text, kind_of
from xraycls.errors import DataError

# What OpenCV reads, and DICOM.
# fmt: off
IMAGE_SUFFIXES = DICOM_SUFFIXES | frozenset({
    ".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif", ".gif",
    ".pgm", ".ppm", ".pnm", ".pbm", ".pfm", ".sr", ".ras",
})

# Files that belong beside pictures and need no word: text, tables, labels, code, weights and what systems leave.
_BESIDE = frozenset({
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".names", ".data",
    ".md", ".rst", ".html", ".htm", ".css", ".js", ".log", ".py", ".ipynb", ".sh", ".bat", ".m", ".r", ".c", ".h",
    ".xlsx", ".xls", ".ods", ".doc", ".docx", ".db", ".sqlite", ".lnk", ".url", ".part", ".tmp", ".bak",
    ".md5", ".sha256", ".pth", ".pt", ".ckpt", ".safetensors", ".onnx", ".h5", ".hdf5", ".tfrecord", ".tfrecords",
    ".record", ".pkl", ".pickle",
})

# Folders that systems, file servers and browsers add.
_SYSTEM_FOLDERS = frozenset({
    "__macosx", "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found", "__pycache__", "found.000",
})
# fmt: on


@dataclass
class PassedOver:
    """Files that are no pictures that can be read, by kind, over any number of folders."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Count a file."""
        self.counts[kind] += 1
        self.first.setdefault(kind, name)

    def sentence(self, folder: Path) -> str | None:
        """A sentence that counts them by kind; None where there are none."""
        if not self.counts:
            return None
        kinds = ", ".join(
            f"{count:,} {_plural(kind)} ({readable_name(self.first[kind])}, …)"
            if count > 1
            else f"1 {kind} ({readable_name(self.first[kind])})"
            for kind, count in self.counts.most_common()
        )
        total = sum(self.counts.values())
        what = "files are no pictures" if total > 1 else "file is no picture"
        return f"{total:,} {what} that can be read and passed over in {readable_name(str(folder))}: {kinds}"


@dataclass
class Listing:
    """One folder.

    Attributes:
        folders: those in it, sorted by name; hidden ones and those of the system are left out.
        images: its pictures, sorted by name.
        others: the remaining files that aren't known to belong beside pictures, as (name, kind).
    """

    folders: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)


def list_folder(folder: Path) -> Listing:
    """List a folder without going into those below it.

    A file with a picture's suffix is one, whatever it holds: checking it later tells the reason. Of files with another
    suffix, or none, the first bytes decide, and those of named pipes, sockets and devices are never asked for.

    Raises:
        DataError: the folder can't be listed.
    """
    listing = Listing()
    for entry in _entries(folder):
        if _is_folder(entry):
            listing.folders.append(Path(entry.path))
            continue
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a Path a file is slow
        if special := _special(entry):
            listing.others.append((entry.name, special))
        elif suffix in IMAGE_SUFFIXES:
            listing.images.append(Path(entry.path))
        elif suffix not in _BESIDE and entry.name.upper() != "DICOMDIR":
            kind = _by_content(Path(entry.path))
            if kind == "picture":
                listing.images.append(Path(entry.path))
            elif kind:
                listing.others.append((entry.name, kind))
    return listing


def subfolders(folder: Path) -> list[Path]:
    """The folders of :func:`list_folder` alone, without a look at the files beside them; raises DataError."""
    return [Path(entry.path) for entry in _entries(folder) if _is_folder(entry)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted by name, but for hidden names and those of systems; raises DataError."""
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} could not be listed: {error.strerror}", folder) from error
    return [each for each in ordered if not each.name.startswith(".") and each.name.lower() not in _SYSTEM_FOLDERS]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say
        return False


def _plural(kind: str) -> str:
    return kind.replace("file", "files", 1) if kind.startswith("file ") else f"{kind}s"


def _special(entry: os.DirEntry[str]) -> str | None:
    with suppress(OSError):
        if entry.is_file():
            return None
    kind = is_special(Path(entry.path))
    return kind and kind.removeprefix("a ")


def _by_content(path: Path) -> str | None:
    """ "picture", another kind, or None for an empty file and one that can't be opened."""
    try:
        with path.open("rb", buffering=0) as handle:
            head = handle.read(HEAD)
    except OSError:
        return None
    if not head:
        return None
    if is_picture(head, sure=True) or is_dicom(head):
        return "picture"
    if kind := kind_of(head):
        return kind
    if is_text(head):
        return None
    return f"{path.suffix.lower()} file" if path.suffix else "file without a suffix"
