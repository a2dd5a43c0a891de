"""One image file: its upright size without decoding, and its grey pixels at a reduced scale.

A 2,000-pixel JPEG that becomes 224 pixels needs no full decode: the JPEG decoder's inverse DCT gives
1/2, 1/4 or 1/8 of the size directly, antialiased, and saves up to a third of the time.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from xraycls.errors import DataError
from xraycls.types import Sample

GreyImage = npt.NDArray[np.uint8]
Reduce = Literal[1, 2, 4, 8]

_JPEG_FLAGS = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
# Pillow warns of large images, but only their header is read here. Threads share the filters: set once, for good.
warnings.filterwarnings("ignore", category=PillowImage.DecompressionBombWarning)

_JPEG_MAGIC = b"\xff\xd8\xff"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, but not Huffman tables and the like
_APP1 = 0xE1
_EXIF_ORIENTATION = 274
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Image:
    """An image whose size is known; a JPEG's pixels are not decoded yet.

    Attributes:
        width: pixels, upright (EXIF orientation applied).
        height: pixels, upright.
        decode: gives uint8 [ceil(height / reduce), ceil(width / reduce)] grey levels for the largest of the
            scales 1, 2, 4, 8 that the format offers and that isn't above the one asked for; raises DataError.
        scales: the reductions that the format offers; (1,) for all but JPEG.
    """

    width: int
    height: int
    decode: Callable[[int], GreyImage]
    scales: tuple[int, ...] = (1,)


def open_image(sample: Sample) -> Image:
    """Read the header of a sample's image.

    Raises:
        DataError: the file is missing, empty or not an image; names the file.
    """
    if sample.member is not None:
        from xraycls.data.medmnist import read_pixels

        return _decoded(read_pixels(sample.path, sample.member, sample.row or 0))
    if sample.path.suffix.lower() == ".dcm":
        from xraycls.data.dicom import read_dicom

        return _decoded(read_dicom(sample.path))
    try:
        with sample.path.open("rb", buffering=0) as handle:  # read whole: a buffer would only be copied from
            encoded = handle.readall()
    except OSError as error:
        raise DataError(f"{sample.path} could not be read: {error.strerror}", sample.path) from error
    return open_encoded(encoded, sample.path)


def read_grey(path: Path) -> GreyImage:
    """All pixels of one image file, uint8 [H, W]; raises DataError."""
    return open_image(Sample(path)).decode(1)


def open_encoded(encoded: bytes, path: Path) -> Image:
    """Read the header of an encoded image; ``path`` only names it in errors."""
    if not encoded:
        raise DataError(f"{path} is empty (0 bytes)", path)
    size = _jpeg_size(encoded) or _upright_size(encoded) if encoded.startswith(_JPEG_MAGIC) else None
    if size is None:  # nothing is to be gained by decoding later
        return _decoded(_decode(encoded, path, 1))
    return Image(*size, lambda reduce: _decode(encoded, path, reduce), tuple(_JPEG_FLAGS))


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG without EXIF, ten times as fast as Pillow; None where it takes more to tell.

    A JPEG is a row of segments, marker and length, up to the frame header (ITU-T T.81, B.1.1.4 and B.2.2).
    """
    start = 2
    while start + 9 <= len(encoded) and encoded[start] == 0xFF:
        marker = encoded[start + 1]
        if marker in _FRAMES:
            height, width = (int.from_bytes(encoded[start + at : start + at + 2]) for at in (5, 7))
            return (width, height) if width and height else None
        if marker == _APP1:  # EXIF may turn the picture
            return None
        start += 2 + int.from_bytes(encoded[start + 2 : start + 4])
    return None


def _upright_size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height with the EXIF orientation applied; None when Pillow can't tell."""
    try:
        with PillowImage.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            sideways = image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
        return None
    return (height, width) if sideways else (width, height)


def _decode(encoded: bytes, path: Path, reduce: int) -> GreyImage:
    flags = _JPEG_FLAGS[reduce] if reduce > 1 else cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{path} could not be decoded: {error.err}", path) from error
    if pixels is None:
        raise DataError(f"{path} is not an image that OpenCV can read, or it is damaged", path)
    return to_uint8(pixels)


def _decoded(pixels: GreyImage) -> Image:
    return Image(pixels.shape[1], pixels.shape[0], lambda _: pixels)


def to_uint8(pixels: npt.NDArray[np.generic]) -> GreyImage:
    """Grey levels of any depth to 0–255.

    16-bit files often hold 10 or 12 significant bits, so the full scale is taken as the smallest of
    8, 10, 12, 14 and 16 bits that holds the largest value. Floating-point files are stretched to their own range.
    """
    if pixels.dtype == np.uint8:
        return pixels.view(np.uint8)
    values = pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        top = next((2**bits - 1 for bits in (8, 10, 12, 14, 16) if values.max() < 2**bits), values.max())
        return np.asarray(np.clip(values * (255.0 / top) + 0.5, 0, 255), dtype=np.uint8)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return np.asarray(np.clip(np.nan_to_num(scaled) + 0.5, 0, 255), dtype=np.uint8)
