"""DICOM radiographs: as grey pictures, and the facts of their headers."""

import logging
import warnings

from xraycls.data.dicom.header import Header, patient_from_dicom, read_header, scanner_of
from xraycls.data.dicom.open import open_dataset, open_dicom, read_dicom
from xraycls.data.dicom.pseudonym import pseudonym
from xraycls.data.dicom.sniff import (
    DICOM_SUFFIXES,
    dicom_problem,
    is_dicom,
    is_dicom_file,
    named_like_dicom,
    other_object,
)
from xraycls.data.signatures import HEAD

__all__ = [
    "DICOM_SUFFIXES",
    "HEAD",
    "Header",
    "dicom_problem",
    "is_dicom",
    "is_dicom_file",
    "named_like_dicom",
    "open_dataset",
    "open_dicom",
    "other_object",
    "patient_from_dicom",
    "pseudonym",
    "read_dicom",
    "read_header",
    "scanner_of",
]

# pydicom's warnings repeat the values that they complain of, names of patients among them. Threads share the filters:
# set once, for good.
warnings.filterwarnings("ignore", module=r"pydicom\b|xraycls\.data\.dicom\b")
logging.getLogger("pydicom").propagate = False
