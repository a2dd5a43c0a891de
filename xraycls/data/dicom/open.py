"""One DICOM file: its size at once, its picture on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.dicom.codecs import decoder_of, frame_of, stored_values
from xraycls.data.dicom.dataset import header_of, name_of, read_dataset, transferable
from xraycls.data.dicom.grey import grey_picture, is_inverted, is_stretched
from xraycls.data.image import MOST_PIXELS, Encoded, GreyImage, Image, Levels, open_encoded, too_large
from xraycls.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

_REQUIRED = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
)

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
# GPU decoders before nvJPEG 13 fill lossless JPEG of 9 to 15 bits with zeros and report success (nvImageCodec, issue
# 50), so 16-bit frames of it are decoded here.
_LOSSLESS = "1.2.840.10008.1.2.4.70"
# JPEG lossless (first order) and JPEG 2000.
_COMMON = ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_LEVELS = np.arange(256, dtype=np.uint8)


def open_dicom(path: Path, encoded: bytes | None = None) -> Image:
    """Read the header of a DICOM file of one picture; colours become grey.

    Args:
        path: the file.
        encoded: its bytes, where they were read already.

    Raises:
        DataError: unreadable, no DICOM file, no pixels, several frames, or no codec for its compression.
    """
    if encoded is None:
        try:
            encoded = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} could not be read: {error.strerror}", path) from error
    return _opened(read_dataset(path, encoded), path)


def open_dataset(dataset: Dataset, name: Path) -> Image:
    """The picture of a dataset of pydicom, which ``name`` stands for in errors; raises DataError as :func:`open_dicom`.

    A dataset that was never read and names no transfer syntax counts as uncompressed and little endian.
    """
    with header_of(name):
        named = transferable(dataset)
    return _opened(named, name)


def _opened(dataset: Dataset, path: Path) -> Image:
    with header_of(path):
        _refuse_what_is_no_picture(dataset, path)
        width, height = int(dataset.Columns), int(dataset.Rows)
        if width * height > MOST_PIXELS:
            raise too_large(path)
        if width < 1 or height < 1:
            raise DataError(f"{path} has no size: {width} × {height} pixels", path)
        decoder_of(dataset, path)
        if jpeg := jpeg_frame(dataset, path):
            return jpeg
        return Image(width, height, _decoder(dataset, path), encoded=encoded_frame(dataset))


def read_dicom(path: Path) -> GreyImage:
    """The picture of a DICOM file as a viewer shows it, uint8 [H, W].

    What the grey levels are is told in :func:`xraycls.data.dicom.grey.grey_picture`.

    Raises:
        DataError: as :func:`open_dicom`, or pixels that are cut short or damaged.
    """
    return open_dicom(path).decode(1)


def _decoder(dataset: Dataset, path: Path) -> Callable[[int], GreyImage]:
    def decode(_: int) -> GreyImage:
        stored = stored_values(dataset, path)
        with header_of(path):
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                from pydicom.pixels.processing import apply_color_lut

                return _grey_of_colours(apply_color_lut(stored, dataset), 0)
            if stored.ndim == 3:
                return _grey_of_colours(stored, dataset.BitsStored)
            return grey_picture(stored, dataset)

    return decode


def _grey_of_colours(colours: npt.NDArray[np.integer], bits: int) -> GreyImage:
    """Grey levels of RGB [H, W, 3]; 0 bits for all that the type has."""
    top = (1 << (bits or 8 * colours.itemsize)) - 1
    eight = np.asarray(colours * (255 / top) + 0.5, np.uint8)
    return np.asarray(cv2.cvtColor(eight, cv2.COLOR_RGB2GRAY), np.uint8)


def _refuse_what_is_no_picture(dataset: Dataset, path: Path) -> None:
    if dataset.file_meta.TransferSyntaxUID.name.startswith(("MPEG", "HEVC")):
        raise DataError(f"{path} is a video; one picture is expected", path)
    if "PixelData" not in dataset:
        raise DataError(f"{path} holds no pixels{_instead_of_pixels(dataset)}", path)
    if absent := [keyword for keyword in _REQUIRED if dataset.get(keyword) in (None, "")]:
        raise DataError(f"The DICOM header of {path} lacks {', '.join(absent)}", path)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DataError(
            f"{path} holds {frames:,} frames; one picture is expected",
            path,
            "Export the frame that is meant as a file of its own",
        )


def _instead_of_pixels(dataset: Dataset) -> str:
    sop_class = dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID")
    kind = sop_class and name_of(sop_class)
    if not kind or "Image" in kind:
        return ", or is cut short"
    return f": it is a DICOM object of the kind {kind}"


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
