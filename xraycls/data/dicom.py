"""DICOM radiographs as grey pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.errors import DataError

_CODECS = "For compressed files install: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle"


def read_dicom(path: Path) -> npt.NDArray[np.uint8]:
    """The picture of a single-frame DICOM file as a viewer shows it, uint8 [H, W].

    The modality LUT or rescale comes first, then the VOI LUT or window; without one the stored range is
    stretched. MONOCHROME1, where high values are dark, is inverted exactly once.

    Raises:
        DataError: not a DICOM file, no pixels, several frames, colour, or a codec that isn't installed.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    try:
        dataset = dcmread(path)
        if "PixelData" not in dataset:
            raise DataError(f"{path} holds no pixels", path)
        stored = dataset.pixel_array
        if stored.ndim != 2:
            raise DataError(f"{path} holds several frames or colours; one grey picture is expected", path)
        values = np.asarray(apply_voi_lut(apply_modality_lut(stored, dataset), dataset), dtype=np.float64)
    except InvalidDicomError as error:
        raise DataError(f"{path} is not a DICOM file", path) from error
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} could not be decoded: {problem}", path, _CODECS) from error
    low, high = float(values.min()), float(values.max())
    picture = (values - low) * (255.0 / max(high - low, 1e-12))
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        picture = 255.0 - picture
    return np.asarray(picture + 0.5, dtype=np.uint8)
