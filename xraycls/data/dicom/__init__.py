"""DICOM radiographs: as grey pictures, and the facts of their headers."""

import logging
import warnings

# pydicom's warnings repeat the values that they complain of, names of patients among them. Threads share the filters:
# set once, for good.
warnings.filterwarnings("ignore", module=r"pydicom\b|xraycls\.data\.dicom\b")
logging.getLogger("pydicom").propagate = False
