"""Compressed frames that other decoders than pydicom's turn into the picture, faster or on a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.dicom.codecs import frame_of
from xraycls.data.dicom.grey import grey_picture, is_inverted, is_stretched
from xraycls.data.image import Encoded, Image, Levels, open_encoded

if TYPE_CHECKING:
    from pydicom import Dataset

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
# GPU decoders before nvJPEG 13 fill lossless JPEG of 9 to 15 bits with zeros and report success (nvImageCodec, issue
# 50), so 16-bit frames of it are decoded here.
_LOSSLESS = "1.2.840.10008.1.2.4.70"
# JPEG lossless (first order) and JPEG 2000.
_COMMON = ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_LEVELS = np.arange(256, dtype=np.uint8)


def jpeg_frame(dataset: Dataset, path: Path) -> Image | None:
    """A grey 8-bit JPEG frame as the image that it is, at all scales; None for other files.

    Most radiographs of public collections are such frames. What the header says of grey levels becomes one table.
    """
    if dataset.file_meta.TransferSyntaxUID != _JPEG_BASELINE or not _is_plain(dataset, bits=8):
        return None
    image = open_encoded(frame_of(dataset), path)
    if image.encoded is None or (image.width, image.height) != (dataset.Columns, dataset.Rows):
        return None  # cut short, or not what the header says
    curve = grey_picture(_LEVELS, dataset)
    if np.array_equal(curve, _LEVELS):
        return image
    decode = image.decode
    return replace(image, decode=lambda reduce: np.asarray(cv2.LUT(decode(reduce), curve), np.uint8), encoded=None)


def encoded_frame(dataset: Dataset) -> Encoded | None:
    """The frame, where decoding alone gives the picture, or decoding and stretching; else None."""
    if dataset.file_meta.TransferSyntaxUID not in _COMMON:
        return None
    if _is_plain(dataset, bits=8) and np.array_equal(grey_picture(_LEVELS, dataset), _LEVELS):
        return Encoded(_array(dataset))
    if dataset.file_meta.TransferSyntaxUID == _LOSSLESS or not _is_plain(dataset, bits=16) or not is_stretched(dataset):
        return None
    return Encoded(_array(dataset), Levels.INVERTED if is_inverted(dataset) else Levels.STRETCHED)


def _is_plain(dataset: Dataset, bits: int) -> bool:
    """Grey, unsigned, and of this many bits allocated; for 8, all of them stored."""
    monochrome = dataset.SamplesPerPixel == 1 and dataset.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")
    depth = dataset.BitsAllocated == bits and (bits == 16 or dataset.BitsStored == bits)
    return bool(monochrome and depth and dataset.PixelRepresentation == 0)


def _array(dataset: Dataset) -> npt.NDArray[np.uint8]:
    return np.frombuffer(frame_of(dataset), np.uint8)
