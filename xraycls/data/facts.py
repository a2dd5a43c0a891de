"""What one decode of a picture tells: size, depth, colour, brightness, frame, marker and thumbnail.

A JPEG is decoded at a reduced scale, so that thousands of radiographs take seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.depth import bits_of
from xraycls.data.dicom.open import open_dicom
from xraycls.data.headers import PictureHeader, header_of, of_each
from xraycls.data.image import GreyImage, Image, open_encoded
from xraycls.data.markers import Marker, find_marker
from xraycls.data.open import open_image
from xraycls.data.processors import one_thread_a_picture
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample

SIDE = 64
"""Of a thumbnail, pixels."""

_NEEDED = 512  # pixels of the longer side that are worth decoding: a burnt-in letter has 2 % of them
_FLAT = 6  # grey levels within which a row counts as constant: what JPEG leaves of a black frame
_COLOUR_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts(PictureHeader):
    """What is known of one picture once it is decoded, beside its header.

    Attributes:
        colour: mean chroma, the largest less the smallest of red, green and blue, in grey levels; 0 for a grey picture,
            stored as grey or as RGB.
        thumbnail: uint8 [64, 64], the whole picture squeezed.
        mean: of the picture, grey levels 0–255.
        contrast: standard deviation of its grey levels.
        border: share of the area that is a frame of constant brightness, 0–1; 1 for a blank picture.
        marker: the burnt-in letter R or L; None without one.
        digest: of the file's bytes, or of a row's pixels, hexadecimal.
    """

    colour: float
    thumbnail: GreyImage
    mean: float
    contrast: float
    border: float
    marker: Marker | None
    digest: str


def picture_facts(
    table: SampleTable, *, progress: Callable[[int, int], None] | None = None, threads: int | None = None
) -> list[PictureFacts | DataError]:
    """The facts of every picture, in the order of the table; where one can't be read, the error that says why.

    Args:
        table: of any source.
        progress: called with the number of pictures done and their total.
        threads: that decode; None for one a processor.
    """
    with one_thread_a_picture():
        return of_each(facts_of, table.samples, progress, threads)


def facts_of(sample: Sample) -> PictureFacts:
    """The facts of one picture; raises DataError."""
    header = header_of(sample)
    if sample.member is not None:
        image = open_image(sample)
        grey = image.decode(1)
        return _facts(header, image, grey, 0.0, grey.tobytes())
    try:
        encoded = sample.path.read_bytes()
    except OSError as error:
        raise DataError(f"{sample.path} could not be read: {error.strerror}", sample.path) from error
    if header.format == "DICOM":
        image = open_dicom(sample.path, encoded)
    else:
        image = open_encoded(encoded, sample.path, bits=bits_of(sample))
        if header.channels >= 3 and (pixels := _in_colour(encoded, _reduction(image))) is not None:
            grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
            return _facts(header, image, grey, _chroma(pixels), encoded)
    return _facts(header, image, image.decode(_reduction(image)), 0.0, encoded)


def border_share(grey: GreyImage) -> float:
    """Share of the area that is a frame of constant brightness: rows and columns from each edge inwards, 0–1."""
    inside = grey
    for _ in range(4):  # rows and columns of what is left, twice: sides may differ in brightness
        ends = np.flatnonzero(np.ptp(inside, axis=1) > _FLAT)
        if not len(ends):
            return 1.0
        inside = inside[ends[0] : ends[-1] + 1].T
    return 1.0 - inside.size / grey.size


def _facts(header: PictureHeader, image: Image, grey: GreyImage, colour: float, content: bytes) -> PictureFacts:
    mean, deviation = cv2.meanStdDev(grey)
    return PictureFacts(
        bytes=header.bytes,
        width=image.width,
        height=image.height,
        depth=header.depth,
        channels=header.channels,
        format=header.format,
        attributes=header.attributes,
        burnt_in=header.burnt_in,
        colour=colour,
        thumbnail=np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8),
        mean=float(mean[0, 0]),
        contrast=float(deviation[0, 0]),
        border=border_share(grey),
        marker=find_marker(grey),
        digest=hashlib.blake2b(content, digest_size=16).hexdigest(),
    )


def _reduction(image: Image) -> int:
    """The largest scale that leaves enough pixels."""
    longer = max(image.width, image.height)
    return max((scale for scale in image.scales if longer >= scale * _NEEDED), default=1)


def _in_colour(encoded: bytes, reduce: int) -> npt.NDArray[np.uint8] | None:
    """Blue, green and red, uint8 [H, W, 3]; None where it fails: the grey decoder then says why."""
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), _COLOUR_FLAGS[reduce])
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _chroma(pixels: npt.NDArray[np.uint8]) -> float:
    blue, green, red = cv2.split(pixels)
    high, low = cv2.max(cv2.max(blue, green), red), cv2.min(cv2.min(blue, green), red)
    return float(cv2.mean(cv2.subtract(high, low))[0])
