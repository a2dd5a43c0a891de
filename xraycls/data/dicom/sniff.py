"""What the first bytes of a file tell: whether it is DICOM, and whether it can hold a picture."""

from __future__ import annotations

import os
import re
from pathlib import Path

from xraycls.data.signatures import HEAD

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})

_MAGIC, _MAGIC_AT = b"DICM", 128
# Without the preamble a file starts with an element of group 2 or 8, little or big endian.
_FIRST_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")
_SOP_CLASS = re.compile(rb"\x02\0\x02\0UI..([0-9.]+)", re.DOTALL)
# By the start of the SOP class (PS3.6, A).
_WITHOUT_PICTURE = {
    b"1.2.840.10008.1.3.10": "a DICOMDIR, the index of a medium",
    b"1.2.840.10008.5.1.4.1.1.9.": "a waveform",
    b"1.2.840.10008.5.1.4.1.1.11.": "a presentation state",
    b"1.2.840.10008.5.1.4.1.1.88.": "a structured report",
    b"1.2.840.10008.5.1.4.1.1.104.": "an encapsulated document",
    b"1.2.840.10008.5.1.4.1.1.481.3": "a structure set of radiotherapy",
    b"1.2.840.10008.5.1.4.1.1.481.5": "a plan of radiotherapy",
}


def is_dicom(head: bytes) -> bool:
    """Whether a file says that it is DICOM, whatever its name; ``head`` is its first 132 bytes or more."""
    return head[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def is_dicom_file(path: Path) -> bool:
    """:func:`is_dicom` of a file on disk; False where it can't be read."""
    try:
        with path.open("rb", buffering=0) as handle:
            return is_dicom(handle.read(_MAGIC_AT + len(_MAGIC)))
    except OSError:
        return False


def named_like_dicom(name: str) -> bool:
    """Whether a file is called as DICOM files are: with their suffix, without one, or as 1.2.840.113619.2."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path a file is slow
    return suffix in DICOM_SUFFIXES or not suffix or suffix[1:].isdigit()


def other_object(path: Path) -> str | None:
    """What a DICOM file holds instead of a picture, as :func:`dicom_problem`; None for pictures and all other files."""
    try:
        with path.open("rb", buffering=0) as handle:
            head = handle.read(HEAD)
    except OSError:
        return None
    return dicom_problem(head) if is_dicom(head) else None


def could_be_dicom(head: bytes) -> bool:
    """Whether a file is DICOM or starts as one without the preamble, as old ones do."""
    return is_dicom(head) or head.startswith(_FIRST_GROUPS)


def dicom_problem(head: bytes) -> str | None:
    """Why a file holds no DICOM picture, such as "a structured report"; None when nothing speaks against it.

    Args:
        head: the first ``HEAD`` bytes, or all of a shorter file.
    """
    if not could_be_dicom(head):
        return "not a DICOM file"
    sop_class = _SOP_CLASS.search(head)
    if sop_class is None:
        return None
    return next((kind for prefix, kind in _WITHOUT_PICTURE.items() if sop_class[1].startswith(prefix)), None)
