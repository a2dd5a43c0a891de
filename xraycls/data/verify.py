"""A quick look at every file before training: is it there, is it an image, does it have its end?

Only the first and last bytes are read, so thousands of files take a second. What looks cut off is decoded once to
be sure, as bytes after the end of a JPEG are common and harmless.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from xraycls.data.dicom.sniff import DICOM_SUFFIXES, dicom_problem, is_dicom
from xraycls.data.files import is_special, readable_name
from xraycls.data.processors import in_threads_if_slow, pool_size
from xraycls.data.signatures import HEAD, is_picture, kind_of
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of files done and their total."""

# By the first bytes of a file. OpenCV refuses a PNG whose last chunk isn't whole, checksum included.
_END_MARKS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PN": b"IEND\xaeB`\x82"}
_START_OF_SCAN = b"\xff\xda"
_TAIL = 1024
_THREADS = 16
_NAMED = 3


def find_unreadable(samples: Iterable[Sample], progress: Progress | None = None) -> dict[Path, str]:
    """The files that can't be images that we read, each with the reason.

    Reasons are "missing", "empty", "not an image", "not a DICOM file", "truncated", what a DICOM file holds
    instead of a picture, such as "a structured report", or the system's own words.
    Rows of a container were checked when it was read and are passed over.

    Args:
        samples: where the files lie.
        progress: told of every file.
    """
    paths = list(dict.fromkeys(sample.path for sample in samples if sample.member is None))
    unreadable = {}
    reasons = in_threads_if_slow(_problem, paths, pool_size(_THREADS))
    for done, (path, reason) in enumerate(zip(paths, reasons, strict=True), start=1):
        if reason:
            unreadable[path] = reason
        if progress:
            progress(done, len(paths))
    return unreadable


def drop_unreadable(table: SampleTable, strict: bool = False, progress: Progress | None = None) -> SampleTable:
    """The table without the files that can't be read; one warning counts them and names the first.

    Raises:
        DataError: there are such files and ``strict`` is set, or nothing of a split would be left.
    """
    unreadable = find_unreadable(table, progress)
    if not unreadable:
        return table
    named = [
        f"{readable_name(str(_relative(path, table.root)))} ({reason})"
        for path, reason in list(unreadable.items())[:_NAMED]
    ]
    count = f"{len(unreadable):,} of {len(table):,} files"
    if strict:
        raise DataError(
            f"{count} of {table.root} could not be read, the first being {named[0]}",
            next(iter(unreadable)),
            "Without --strict they are left out",
        )
    kept = table.with_samples(sample for sample in table if sample.path not in unreadable)
    lost = set(table.splits) - set(kept.splits)
    if lost or not kept:
        where = f"the {min(lost)} split of {table.root}" if lost else str(table.root)
        raise DataError(f"No file of {where} could be read, the first being {named[0]}", next(iter(unreadable)))
    dots = ", …" if len(unreadable) > _NAMED else ""
    logger.warning("%s could not be read and are left out: %s%s", count, ", ".join(named), dots)
    return kept


def _problem(path: Path) -> str | None:
    """Why the file can't be read; None when nothing speaks against it."""
    if special := is_special(path):
        return special
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - called for every file
            head = file.read(HEAD)
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - _TAIL, 0))
            tail = file.read()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return error.strerror or str(error)
    if not head:
        return "empty"
    if is_dicom(head) or path.suffix.lower() in DICOM_SUFFIXES:
        return dicom_problem(head)
    if not is_picture(head):
        return f"not an image: {kind}" if (kind := kind_of(head)) else "not an image"
    end = _END_MARKS.get(head[:3])
    # An end mark before the start of a scan is that of a thumbnail.
    if end is None or tail.rfind(end) > tail.rfind(_START_OF_SCAN):
        return None
    return None if _is_whole(path, end) else "truncated"


def _is_whole(path: Path, end: bytes) -> bool:
    """The slow answer, for a file whose last bytes don't tell."""
    try:
        with Image.open(path) as image:
            image.load()
    except Exception:  # Pillow's decoders raise errors of many kinds on damaged files
        return False
    return end in path.read_bytes()


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path
