"""Open the picture of any sample, wherever its pixels lie: a file, a row of a container, or memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.depth import bits_of
from xraycls.data.dicom.sniff import DICOM_SUFFIXES, is_dicom
from xraycls.data.files import read_whole, require_regular
from xraycls.data.image import MOST_PIXELS, GreyImage, Image, decoded, open_encoded, to_uint8, too_large
from xraycls.errors import DataError
from xraycls.types import PIXELS, Sample

if TYPE_CHECKING:
    from xraycls.types import Content


def open_image(sample: Sample) -> Image:
    """Read the header of a sample's image.

    Raises:
        DataError: the file is missing, empty, not an image or has too many pixels; names the file.
    """
    if sample.content is not None:
        return open_content(sample.content, sample.path)
    if sample.member is not None:
        return _open_member(sample, sample.member)
    require_regular(sample.path)
    try:
        return open_file(sample, read_whole(sample.path))
    except OSError as error:
        raise DataError(f"{sample.path} could not be read: {error.strerror}", sample.path) from error


def open_file(sample: Sample, encoded: bytes) -> Image:
    """Read the header of a sample's image in the bytes of its own file, which were read; raises DataError."""
    return _open_bytes(encoded, sample.path, bits_of(sample))


def open_content(content: Content, name: Path) -> Image:
    """Open a picture that is in memory.

    Args:
        content: the bytes of a file, an array or a dataset of pydicom. Arrays hold grey levels [H, W] or [H, W, 1] of
            any depth, scaled as :func:`~xraycls.data.image.to_uint8`, or colours [H, W, 3] or [H, W, 4] in the order
            red, green, blue and alpha; alpha is ignored.
        name: names the picture in errors; its suffix counts as that of a file.

    Raises:
        DataError: not an image, damaged, or with too many pixels.
    """
    if isinstance(content, bytes):
        return _open_bytes(content, name)
    if isinstance(content, np.ndarray):
        return _open_array(content, name)
    from xraycls.data.dicom.open import open_dataset

    return open_dataset(content, name)


def read_grey(path: Path) -> GreyImage:
    """All pixels of one image file, uint8 [H, W]; raises DataError."""
    return open_image(Sample(path)).decode(1)


def _open_member(sample: Sample, member: str) -> Image:
    """Open what lies within another file; readers of such files take longer to import than a picture takes to open."""
    from xraycls.data.encoded import picture_within
    from xraycls.data.medmnist import read_pixels
    from xraycls.data.store import open_stored

    if sample.path.name == PIXELS:
        return open_stored(sample)
    if (encoded := picture_within(sample)) is not None:
        return _open_bytes(encoded, Path(sample.name))
    return decoded(read_pixels(sample.path, member, sample.row or 0))


def _open_bytes(encoded: bytes, path: Path, bits: int | None = None) -> Image:
    if is_dicom(encoded) or path.suffix.lower() in DICOM_SUFFIXES:
        from xraycls.data.dicom.open import open_dicom

        return open_dicom(path, encoded)
    return open_encoded(encoded, path, bits=bits)


def _open_array(pixels: npt.NDArray[np.generic], name: Path) -> Image:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or not pixels.size:
        raise DataError(
            f"{name} is an array of shape {list(pixels.shape)}, and a picture is [H, W], [H, W, 1], [H, W, 3] or "
            "[H, W, 4]",
            hint="Give several pictures as a list of arrays",
        )
    if not (np.issubdtype(pixels.dtype, np.integer) or np.issubdtype(pixels.dtype, np.floating)):
        raise DataError(f"{name} is an array of {pixels.dtype}, and grey levels are whole or floating-point numbers")
    if pixels.shape[0] * pixels.shape[1] > MOST_PIXELS:
        raise too_large(name)
    eight = np.ascontiguousarray(to_uint8(pixels[..., :3] if channels == 4 else pixels))
    grey = eight.reshape(eight.shape[:2]) if channels == 1 else cv2.cvtColor(eight, cv2.COLOR_RGB2GRAY)
    return decoded(np.asarray(grey, np.uint8))
