"""DICOM radiographs as grey pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xraycls.data.image import Encoded, Image, Levels
from xraycls.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

# JPEG baseline, JPEG lossless (first order) and JPEG 2000: what decoders outside of pydicom know.
_COMMON = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
)

_CODECS = "For compressed files install: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle"


def open_dicom(path: Path) -> Image:
    """Read the header of a single-frame grey DICOM file.

    Raises:
        DataError: not a DICOM file, no pixels, several frames or colour.
    """
    from pydicom import dcmread

    with _explained(path):
        dataset = dcmread(path)
        if "PixelData" not in dataset:
            raise DataError(f"{path} holds no pixels", path)
        if int(dataset.get("NumberOfFrames") or 1) != 1 or dataset.SamplesPerPixel != 1:
            raise DataError(f"{path} holds several frames or colours; one grey picture is expected", path)
        return Image(dataset.Columns, dataset.Rows, lambda _: _picture(dataset, path), encoded=_encoded(dataset))


def read_dicom(path: Path) -> npt.NDArray[np.uint8]:
    """The picture of a single-frame DICOM file as a viewer shows it, uint8 [H, W].

    The modality LUT or rescale comes first, then the VOI LUT or window; without one the stored range is
    stretched. MONOCHROME1, where high values are dark, is inverted exactly once.

    Raises:
        DataError: not a DICOM file, no pixels, several frames, colour, or a codec that isn't installed.
    """
    return open_dicom(path).decode(1)


def _encoded(dataset: Dataset) -> Encoded | None:
    """The compressed frame, where decoding and stretching it gives the picture."""
    from pydicom.encaps import get_frame

    windowed = any(name in dataset for name in ("WindowCenter", "VOILUTSequence", "ModalityLUTSequence"))
    if dataset.file_meta.TransferSyntaxUID not in _COMMON or windowed:
        return None
    if dataset.PixelRepresentation != 0 or dataset.get("RescaleSlope", 1) <= 0:
        return None
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    return Encoded(np.frombuffer(frame, np.uint8), Levels.INVERTED if inverted else Levels.STRETCHED)


def _picture(dataset: Dataset, path: Path) -> npt.NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    with _explained(path):
        stored = dataset.pixel_array
        values = np.asarray(apply_voi_lut(apply_modality_lut(stored, dataset), dataset), dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    picture = (values - low) * (255.0 / max(high - low, 1e-12))
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        picture = 255.0 - picture
    return np.asarray(picture + 0.5, dtype=np.uint8)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever pydicom and its codecs raise into one sentence."""
    from pydicom.errors import InvalidDicomError

    try:
        yield
    except InvalidDicomError as error:
        raise DataError(f"{path} is not a DICOM file", path) from error
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} could not be decoded: {problem}", path, _CODECS) from error
