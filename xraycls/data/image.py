"""One image file: its upright size without decoding, and its grey pixels at a reduced scale.

A 2,000-pixel JPEG that becomes 224 pixels needs no full decode: the JPEG decoder's inverse DCT gives
1/2, 1/4 or 1/8 of the size directly, antialiased, and saves up to a third of the time.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.depth import DEPTHS
from xraycls.errors import DataError

GreyImage = npt.NDArray[np.uint8]
Reduce = Literal[1, 2, 4, 8]

_JPEG_FLAGS = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
# Pillow warns of large images, but only their header is read here. Threads share the filters: set once, for good.
warnings.filterwarnings("ignore", message=r"Image size \(\d+ pixels\) exceeds limit")

JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_PNG_DEPTH = 24  # offset of the bit depth; the colour type follows
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND"
_TAIL = 1024  # bytes within which a whole file ends, whatever a camera appended
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, but not Huffman tables and the like
_APP1 = 0xE1
_EXIF_MAGICS = (b"Exif\0\0II*\0", b"Exif\0\0MM\0*")
_EXIF_ORIENTATION = 274
_PHOTOMETRIC = 262
_TURNED, _SIDEWAYS = range(2, 9), range(5, 9)
MOST_PIXELS = 178_956_970  # where Pillow, too, takes a file for a decompression bomb


class Levels(IntEnum):
    """What becomes of the grey levels of a decoded file.

    ``AS_THEY_ARE`` for 8 bits. The others start from 16 bits: ``BY_DEPTH`` as :func:`to_uint8`, ``STRETCHED`` from the
    smallest and largest value to 0–255, ``INVERTED`` the same and then bright for dark.
    """

    AS_THEY_ARE = 0
    BY_DEPTH = 1
    STRETCHED = 2
    INVERTED = 3


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file that any sound decoder turns into the same pixels.

    Attributes:
        data: uint8 [n].
        levels: what comes after decoding.
    """

    data: npt.NDArray[np.uint8]
    levels: Levels = Levels.AS_THEY_ARE


@dataclass(frozen=True, slots=True)
class Image:
    """An image whose size is known; its pixels may not be decoded yet.

    Attributes:
        width: pixels, upright (EXIF orientation applied).
        height: pixels, upright.
        decode: gives uint8 [ceil(height / reduce), ceil(width / reduce)] grey levels for the largest of the
            scales 1, 2, 4, 8 that the format offers and that isn't above the one asked for; raises DataError.
        scales: the reductions that the format offers; (1,) for all but JPEG.
        grid: decoded pixels (at reduce 1) a pixel of the upright source, across and down; below 1 for a picture that
            was stored smaller than it was.
        encoded: for another decoder, which gives ``decode(1)`` to within rounding: a whole, upright JPEG, PNG or DICOM
            frame without alpha, palette or CMYK; else None.
    """

    width: int
    height: int
    decode: Callable[[int], GreyImage]
    scales: tuple[int, ...] = (1,)
    grid: tuple[float, float] = (1.0, 1.0)
    encoded: Encoded | None = None

    def pixels(self) -> GreyImage:
        """All pixels for people to look at, uint8 [H, W], in the proportions of the source."""
        pixels = self.decode(1)
        if self.grid == (1.0, 1.0):
            return pixels
        longer = max(pixels.shape) / max(self.width, self.height)
        shape = max(round(self.width * longer), 1), max(round(self.height * longer), 1)
        return np.asarray(cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA), np.uint8)


def open_encoded(encoded: bytes, path: Path, *, bits: int | None = None) -> Image:
    """Read the header of an encoded image; ``path`` only names it in errors.

    Alpha is ignored and of several frames the first is taken, as by Pillow's ``convert("L")``. A TIFF of which white is
    zero is inverted. Of 16-bit grey levels ``bits`` are significant: those that a PNG's sBIT chunk says, where it has
    one, and without either those that hold the largest value of the picture.

    Raises:
        DataError: the image is empty, can't be read or has more pixels than any radiograph.
    """
    if not encoded:
        raise DataError(f"{path} is empty (0 bytes)", path)
    is_jpeg = encoded.startswith(JPEG_MAGIC)
    simple = jpeg_frame(encoded) if is_jpeg else _png_size(encoded)
    size, plain = (simple[:2], True) if simple else _header(encoded, path, is_jpeg)
    if size and size[0] * size[1] > MOST_PIXELS:
        raise too_large(path)
    if size is None or not (is_jpeg or plain):  # nothing is to be gained by decoding later
        return decoded(_decode(encoded, path, 1, bits))
    scales = tuple(_JPEG_FLAGS) if is_jpeg else (1,)
    end = _JPEG_END if is_jpeg else _PNG_END
    common = None
    is_deep = not is_jpeg and encoded[_PNG_DEPTH] == 16
    if is_deep:
        bits = _significant_bits(encoded) or bits
    if plain and encoded.rfind(end, -_TAIL) >= 0 and not (is_deep and bits):
        levels = Levels.BY_DEPTH if is_deep else Levels.AS_THEY_ARE
        common = Encoded(np.frombuffer(encoded, np.uint8), levels)
    return Image(*size, lambda reduce: _decode(encoded, path, reduce if is_jpeg else 1, bits), scales, encoded=common)


def jpeg_frame(encoded: bytes) -> tuple[int, int, int] | None:
    """Width, height and channels of a grey or YCbCr JPEG that is stored upright, ten times as fast as Pillow.

    None for other JPEGs, and where the first bytes alone don't reach to the frame header. A JPEG is a row of segments,
    marker and length, up to that header (ITU-T T.81, B.1.1.4 and B.2.2).
    """
    start = 2
    while start + 10 <= len(encoded) and encoded[start] == 0xFF:
        marker = encoded[start + 1]
        if marker in _FRAMES:
            height, width = (int.from_bytes(encoded[start + at : start + at + 2]) for at in (5, 7))
            channels = encoded[start + 9]
            return (width, height, channels) if width and height and channels in (1, 3) else None
        end = start + 2 + int.from_bytes(encoded[start + 2 : start + 4])
        if marker == _APP1 and not _is_upright(encoded[start + 4 : end]):
            return None
        start = end
    return None


def _is_upright(segment: bytes) -> bool:
    """Whether an APP1 segment is EXIF that surely doesn't turn the picture; XMP may do so, too."""
    if not segment.startswith(_EXIF_MAGICS):
        return False
    try:
        return _tiff_number(segment[6:], _EXIF_ORIENTATION) in (None, 1)
    except struct.error:
        return False


def _png_size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height of a grey or 8-bit RGB PNG without transparency and EXIF; None for others (PNG, §11.2.2)."""
    depth_and_colour = tuple(encoded[_PNG_DEPTH : _PNG_DEPTH + 2])
    if not encoded.startswith(_PNG_MAGIC) or depth_and_colour not in ((8, 0), (16, 0), (8, 2)):
        return None
    if b"tRNS" in encoded or b"eXIf" in encoded:
        return None
    width, height = int.from_bytes(encoded[16:20]), int.from_bytes(encoded[20:24])
    return (width, height) if width and height else None


def _header(encoded: bytes, path: Path, is_jpeg: bool) -> tuple[tuple[int, int] | None, bool]:
    """What Pillow reads: width and height upright, None when it can't tell, and whether it is a plain JPEG."""
    from PIL import Image as PillowImage  # takes longer to import than a plain picture takes to open

    try:
        with PillowImage.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            # In other formats EXIF may follow the pixels, and those tell the size soon enough.
            orientation = image.getexif().get(_EXIF_ORIENTATION) if is_jpeg else None
            plain = is_jpeg and image.mode in ("L", "RGB") and orientation not in _TURNED
    except PillowImage.DecompressionBombError as error:
        raise too_large(path) from error
    except Exception:  # Pillow's parsers raise errors of many kinds on damaged headers
        return None, False
    return ((height, width) if orientation in _SIDEWAYS else (width, height)), plain


def too_large(path: Path) -> DataError:
    """The error for a picture of more than ``MOST_PIXELS``."""
    most = MOST_PIXELS // 1_000_000
    return DataError(f"{path} has more than {most} million pixels, so it is no radiograph and is not decoded", path)


def _significant_bits(encoded: bytes) -> int | None:
    """What the sBIT chunk of a grey PNG says (PNG, §11.3.2.7), which stands before the pixels; None without one."""
    at = encoded.find(b"sBIT", 0, encoded.find(b"IDAT"))
    return encoded[at + 4] if at >= 0 and 1 <= encoded[at + 4] <= 16 else None


def _white_is_zero(encoded: bytes) -> bool:
    """Whether a TIFF's PhotometricInterpretation is 0, which OpenCV minds in 8 bits only.

    The first directory is read as TIFF 6.0, section 2, and BigTIFF lay it out: Pillow doesn't open all such files.
    """
    try:
        return _tiff_number(encoded, _PHOTOMETRIC) == 0
    except struct.error:  # cut short
        return False


def _tiff_number(tiff: bytes, tag: int) -> int | None:
    """A number of 16 bits in the first directory of a TIFF or of EXIF, which is one; None where it isn't there.

    Raises:
        struct.error: the directory is cut short.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return None
    is_big = tiff[2:4] in (b"+\0", b"\0+")
    entry = f"{order}HHQQ" if is_big else f"{order}HHII"
    (start,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", tiff, 8 if is_big else 4)
    (count,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}H", tiff, start)
    first, size = start + (8 if is_big else 2), struct.calcsize(entry)
    for at in range(first, min(first + count * size, len(tiff)), size):
        if struct.unpack_from(f"{order}H", tiff, at)[0] == tag:
            return int(struct.unpack_from(f"{order}H", tiff, at + (12 if is_big else 8))[0])
    return None


def _decode(encoded: bytes, path: Path, reduce: int, bits: int | None = None) -> GreyImage:
    flags = _JPEG_FLAGS[reduce] if reduce > 1 else cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{path} could not be decoded: {error.err}", path) from error
    if pixels is None:
        raise DataError(f"{path} is not an image that OpenCV can read, or it is damaged", path)
    if pixels.dtype != np.uint8 and _white_is_zero(encoded):
        return to_uint8(*_inverted(pixels, bits))
    return to_uint8(pixels, bits)


def _inverted(pixels: npt.NDArray[np.generic], bits: int | None) -> tuple[npt.NDArray[np.generic], int | None]:
    """Bright for dark, and the bits that integers had before."""
    if not np.issubdtype(pixels.dtype, np.integer):
        return np.asarray(-pixels.astype(np.float32)), bits
    bits = bits or next((depth for depth in DEPTHS if pixels.max() < 2**depth), 32)
    return np.asarray(np.maximum(2**bits - 1 - pixels.astype(np.int64), 0)), bits


def decoded(pixels: GreyImage) -> Image:
    """The image of grey levels [H, W] that are there already."""
    return Image(pixels.shape[1], pixels.shape[0], lambda _: pixels)


def to_uint8(pixels: npt.NDArray[np.generic], bits: int | None = None) -> GreyImage:
    """Grey levels of any depth to 0–255.

    16-bit files often hold 10 or 12 significant bits. Where nothing says how many, the full scale is taken as the
    smallest of 8, 10, 12, 14 and 16 bits that holds the largest value. Floating-point files are stretched to their own
    range.

    Args:
        pixels: of any shape.
        bits: of integers, how many are significant, 1–16; larger values are white.
    """
    if pixels.dtype == np.uint8:
        return pixels.view(np.uint8)
    values = pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        depths = DEPTHS if bits is None else (bits,)
        top = next((2**depth - 1 for depth in depths if bits or values.max() < 2**depth), values.max())
        return np.asarray(np.clip(values * (255.0 / top) + 0.5, 0, 255), dtype=np.uint8)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return np.asarray(np.clip(np.nan_to_num(scaled) + 0.5, 0, 255), dtype=np.uint8)
