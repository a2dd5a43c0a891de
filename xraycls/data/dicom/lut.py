"""Lookup tables of DICOM: modality, values of interest and presentation are all stored alike (PS3.3, C.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom import Dataset

Values = npt.NDArray[np.float64]


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
