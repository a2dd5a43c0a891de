"""What the headers of pictures tell: nothing is decoded, so thousands of files take a second."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from PIL import Image as PillowImage

from xraycls.data.dicom.header import read_header
from xraycls.data.dicom.sniff import DICOM_SUFFIXES, is_dicom
from xraycls.data.encoded import picture_within
from xraycls.data.files import require_regular
from xraycls.data.open import open_image
from xraycls.data.processors import available_processors, in_threads
from xraycls.data.signatures import HEAD
from xraycls.errors import DataError
from xraycls.types import Sample

T = TypeVar("T")

_EXIF_ORIENTATION = 274
_SIDEWAYS = range(5, 9)
_PNG_DEPTH = 24  # offset in the file
_DEPTHS = {"1": 1, "I;16": 16, "I;16B": 16, "I": 32, "F": 32}  # of Pillow's modes; all others have 8
_PALETTE = ("P", "PA")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureHeader:
    """What is known of a picture before it is decoded.

    Attributes:
        bytes: size of the file; of a row in a container, of its pixels.
        width: of the upright picture, pixels.
        height: likewise.
        depth: bits a sample in the file, such as 8, 12 or 16.
        channels: in the file: 1, 2 (grey and alpha), 3 or 4; a palette counts as 3.
        format: such as "JPEG", "PNG", "DICOM"; "array" for a row of a container.
        attributes: of a DICOM file, as :attr:`xraycls.data.dicom.Header.attributes`.
        burnt_in: whether a DICOM file says that text is part of the picture.
    """

    bytes: int
    width: int
    height: int
    depth: int
    channels: int
    format: str
    attributes: tuple[tuple[str, str], ...] = ()
    burnt_in: bool = False


def picture_headers(
    samples: Sequence[Sample], *, progress: Callable[[int, int], None] | None = None, threads: int | None = None
) -> list[PictureHeader | DataError]:
    """The header of every picture, in order; where there is none to read, the error that says why."""
    return of_each(header_of, samples, progress, threads)


def header_of(sample: Sample) -> PictureHeader:
    """The header of one picture.

    Raises:
        DataError: the file is missing, empty or not an image.
    """
    if (data := picture_within(sample)) is not None:
        return _of_encoded(io.BytesIO(data), data[:HEAD], len(data)) or _of_decoded(sample, len(data))
    if sample.member is not None:
        image = open_image(sample)
        size = image.decode(1).nbytes  # a view: rows of containers are decoded already
        return PictureHeader(bytes=size, width=image.width, height=image.height, depth=8, channels=1, format="array")
    require_regular(sample.path)
    try:
        with sample.path.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            head = handle.read(HEAD)
            if is_dicom(head) or sample.path.suffix.lower() in DICOM_SUFFIXES:
                return _of_dicom(sample.path, size)
            handle.seek(0)
            return _of_encoded(handle, head, size) or _of_decoded(sample, size)
    except OSError as error:
        raise DataError(f"{sample.path} could not be read: {error.strerror}", sample.path) from error


def of_each(
    work: Callable[[Sample], T],
    samples: Sequence[Sample],
    progress: Callable[[int, int], None] | None,
    threads: int | None,
) -> list[T | DataError]:
    """What ``work`` gives for every sample, in order, in threads; a DataError stands for itself."""

    def result(sample: Sample) -> T | DataError:
        try:
            return work(sample)
        except DataError as error:
            return error

    found = []
    for done, each in enumerate(in_threads(result, samples, threads or available_processors()), start=1):
        found.append(each)
        if progress:
            progress(done, len(samples))
    return found


def _of_encoded(handle: BinaryIO, head: bytes, size: int) -> PictureHeader | None:
    """As Pillow reads it; None for a format that it doesn't know."""
    try:
        with PillowImage.open(handle) as image:
            width, height = image.size
            if image.format == "JPEG" and image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS:
                width, height = height, width
            palette = image.mode in _PALETTE
            # Of 16-bit colours Pillow keeps 8, so a PNG is asked itself.
            depth = head[_PNG_DEPTH] if image.format == "PNG" and not palette else _DEPTHS.get(image.mode, 8)
            channels = 3 if palette else len(image.getbands())
            kind = image.format or "?"
    except Exception:  # Pillow's parsers raise errors of many kinds on damaged headers
        return None
    return PictureHeader(bytes=size, width=width, height=height, depth=depth, channels=channels, format=kind)


def _of_decoded(sample: Sample, size: int) -> PictureHeader:
    image = open_image(sample)
    kind = sample.path.suffix[1:].upper()
    return PictureHeader(bytes=size, width=image.width, height=image.height, depth=8, channels=1, format=kind)


def _of_dicom(path: Path, size: int) -> PictureHeader:
    header = read_header(path)
    if not (header.width and header.height):
        raise DataError(f"{path} holds no picture", path)
    return PictureHeader(
        bytes=size,
        width=header.width,
        height=header.height,
        depth=header.bits or 8,
        channels=1,
        format="DICOM",
        attributes=header.attributes,
        burnt_in=header.burnt_in,
    )
