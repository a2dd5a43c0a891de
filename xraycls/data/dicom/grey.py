"""Stored values to the grey levels that a viewer shows: PS3.3, C.11 and PS3.4, N.2.

modality LUT or rescale → VOI LUT or window → presentation LUT → 0–255, inverted at most once

All that counts is in the image's own file. Presentation states in files beside it (PS3.3, A.33) are somebody's view of
it, of which there may be several, and aren't looked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xraycls.data.dicom.dataset import value_of
from xraycls.data.image import GreyImage

if TYPE_CHECKING:
    from pydicom import Dataset

_DISPLAY_BITS = 8
_MOST_LEVELS = 1 << 16

Stored = npt.NDArray[np.integer]

Values = npt.NDArray[np.float64]


def grey_picture(stored: Stored, dataset: Dataset) -> GreyImage:
    """The picture of stored values, uint8 of the same shape.

    The first VOI LUT is taken, else the first window. Without either, values of up to 8 bits keep their full range,
    as a PNG of them would, and deeper ones are stretched from the smallest to the largest in the picture. Padding is
    black and doesn't take part in that.

    Args:
        stored: integers [H, W].
        dataset: the header.
    """
    padding = _padding(stored, dataset)
    seen = stored if padding is None or padding.all() else stored[~padding]
    low, high = _stored_range(dataset) or (float(seen.min()), float(seen.max()))
    bottom = int(stored.min())
    if int(stored.max()) - bottom < _MOST_LEVELS:  # a level at a time is faster than a pixel at a time
        levels = np.arange(bottom, int(stored.max()) + 1, dtype=np.float64)
        curve = grey_levels(levels, dataset, low, high)
        picture = curve[np.subtract(stored, bottom, dtype=np.int32 if stored.itemsize <= 2 else np.int64)]
    else:
        picture = grey_levels(stored.astype(np.float64), dataset, low, high)
    if padding is not None:
        picture[padding] = 0
    return np.asarray(picture)


def grey_levels(stored: Values, dataset: Dataset, low: float, high: float) -> GreyImage:
    """The grey level of each stored value, uint8 of the same shape.

    Args:
        stored: of any shape.
        dataset: the header.
        low: the stored value at one end of the range that is shown where neither VOI LUT nor window says so.
        high: the one at its other end.
    """
    modality, of_interest = _modality(dataset), _of_interest(dataset)
    if of_interest is None:
        ends = modality(np.array([low, high]))
        of_interest = partial(_linear, bottom=float(ends.min()), top=float(ends.max()))
    shown = of_interest(modality(stored))
    if presentation := lookup_table(dataset, "PresentationLUTSequence"):
        shown = presentation(shown * (len(presentation.entries) - 1)) / presentation.top
    if is_inverted(dataset):
        shown = 1 - shown
    return np.asarray(shown * 255 + 0.5, dtype=np.uint8)


def is_inverted(dataset: Dataset) -> bool:
    """Whether low values are bright.

    The presentation LUT shape says so where the file has one, as in dcmtk and dcm4che, for it comes last; else
    MONOCHROME1 does. A MONOCHROME1 film of shape INVERSE says the same thing twice and is inverted once.
    """
    shape = value_of(dataset, "PresentationLUTShape", str)
    if shape in ("IDENTITY", "INVERSE"):
        return shape == "INVERSE"
    return bool(dataset.PhotometricInterpretation == "MONOCHROME1")


def is_stretched(dataset: Dataset) -> bool:
    """Whether the picture is the stored range from end to end, so that nothing but the pixels has to be known."""
    plain = _of_interest(dataset) is None and _stored_range(dataset) is None
    tables = ("ModalityLUTSequence", "PresentationLUTSequence")
    slope = value_of(dataset, "RescaleSlope", _finite)
    return (
        plain
        and (slope is None or slope > 0)
        and not any(dataset.get(name) for name in tables)
        and value_of(dataset, "PixelPaddingValue", int) is None
    )


def _modality(dataset: Dataset) -> Callable[[Values], Values]:
    """Stored values to those of the modality, such as Hounsfield units."""
    if table := lookup_table(dataset, "ModalityLUTSequence"):
        return table
    slope, intercept = value_of(dataset, "RescaleSlope", _finite), value_of(dataset, "RescaleIntercept", _finite)
    return lambda values: values * (slope or 1.0) + (intercept or 0.0)


def _of_interest(dataset: Dataset) -> Callable[[Values], Values] | None:
    """Values of the modality to 0–1, by the first VOI LUT or the first window; None without either."""
    if table := lookup_table(dataset, "VOILUTSequence"):
        return lambda values: table(values) / table.top
    center, width = value_of(dataset, "WindowCenter", _finite), value_of(dataset, "WindowWidth", _finite)
    if center is None or width is None or width <= 0:
        return None
    function = value_of(dataset, "VOILUTFunction", str)
    if function == "SIGMOID":
        return partial(_sigmoid, center=center, width=width)
    if function != "LINEAR_EXACT" and width >= 1:  # narrower windows make sense as exact ones only
        center, width = center - 0.5, width - 1
    return partial(_linear, bottom=center - width / 2, top=center + width / 2)


def _finite(value: Any) -> float | None:
    return number if math.isfinite(number := float(value)) else None


def _linear(values: Values, bottom: float, top: float) -> Values:
    return np.clip((values - bottom) / max(top - bottom, 1e-9), 0, 1)


def _sigmoid(values: Values, center: float, width: float) -> Values:
    exponent = np.clip(-4 * (values - center) / width, -500, 500)
    return np.asarray(1 / (1 + np.exp(exponent)))


def _stored_range(dataset: Dataset) -> tuple[float, float] | None:
    """The range of the stored bits, where these are levels of a display already."""
    if dataset.BitsStored > _DISPLAY_BITS:
        return None
    top = (1 << dataset.BitsStored) - 1
    lowest = -(top // 2) - 1 if dataset.PixelRepresentation else 0
    return lowest, lowest + top


def _as_stored(dataset: Dataset, keyword: str) -> int | None:
    """A value as pixels are stored: programs write 63536 as US where the pixels are signed and SS -2000 is meant."""
    value = value_of(dataset, keyword, int)
    if value is None or not -(1 << 15) <= value < 1 << 16:
        return value
    if dataset.PixelRepresentation:
        return value - (1 << 16) if value >= 1 << 15 else value
    return value + (1 << 16) if value < 0 else value


def _padding(stored: Stored, dataset: Dataset) -> npt.NDArray[np.bool_] | None:
    """Which pixels were filled in around the picture; None where the header names no such value (C.7.5.1.1.2)."""
    value, limit = (_as_stored(dataset, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if value is None:
        return None
    low, high = sorted((value, value if limit is None else limit))
    return np.asarray((stored >= low) & (stored <= high))


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table of output values.

    Attributes:
        entries: float64 [n], as stored.
        first: the input value that gets the first entry.
    """

    entries: Values
    first: int

    def __call__(self, values: Values) -> Values:
        """The entry of each value; values before and after the table get its first and last one."""
        positions = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return np.asarray(self.entries[positions.astype(np.intp)])

    @property
    def top(self) -> float:
        """The largest value of as many bits as the largest entry has.

        The bits of the descriptor aren't asked: 16 is often written where 12 are meant, and the reverse.
        """
        return float((1 << max(int(self.entries.max()).bit_length(), 1)) - 1)


def lookup_table(dataset: Dataset, keyword: str) -> LookupTable | None:
    """The first table of a sequence such as "VOILUTSequence"; None where there is none with entries.

    Raises:
        ValueError: the descriptor is no such thing.
    """
    items = dataset.get(keyword) or ()
    item = next((item for item in items if item.get("LUTDescriptor") and item.get("LUTData") not in (None, b"")), None)
    if item is None:
        return None
    count, first = (int(value) for value in item.LUTDescriptor[:2])
    count = count % 65536 or 65536
    # Read as unsigned, a negative first value would leave most of the table out of reach.
    first -= 65536 * (first >= 32768 and first + count > 65536)
    data = item.LUTData
    order = "<" if dataset.original_encoding[1] is not False else ">"
    raw = data if isinstance(data, bytes) else np.atleast_1d(data).astype(f"{order}u2").tobytes()
    # Entries of 8 bits may be packed two a word.
    entries = np.frombuffer(raw, np.uint8 if len(raw) < 2 * count - 1 else f"{order}u2", count=-1)[:count]
    return LookupTable(entries.astype(np.float64), first)
