"""Small DICOM files for tests, and dcmtk's rendering of them."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

# The folder of the files that come with pydicom.
PYDICOM = Path(get_testdata_file("CT_small.dcm", download=False)).parent

RAMP = np.tile(np.arange(0, 4096, 16, dtype=np.uint16), (8, 1))
SIGNED_RAMP = RAMP.astype(np.int16) - 2048

needs_dcmtk = pytest.mark.skipif(
    shutil.which("dcmj2pnm") is None, reason="needs dcmj2pnm of dcmtk, as in: apt install dcmtk"
)


def dataset_of(pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **tags: object) -> Dataset:
    """A Secondary Capture of integers [H, W], 12 of 16 bits or 8 of 8, or of 8-bit RGB [H, W, 3]."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = 12 if pixels.itemsize == 2 else 8
    dataset.HighBit = dataset.BitsStored - 1
    for name, value in tags.items():
        setattr(dataset, name, value)
    order = "<" if syntax.is_little_endian else ">"
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    return dataset


def write(path: Path, pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **tags: object) -> Path:
    """A DICOM file of :func:`dataset_of`."""
    dataset_of(pixels, syntax, **tags).save_as(path, enforce_file_format=True)
    return path


def table(entries: np.ndarray, first: int, bits: int, vr: str = "OW") -> Sequence:
    """A modality, VOI or presentation LUT sequence of one table."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries) % 65536, first, bits])
    words = np.asarray(entries, "<u2")
    item.add_new("LUTData", vr, words.tobytes() if vr == "OW" else words.tolist())
    return Sequence([item])


def by_dcmtk(path: Path, *options: str) -> np.ndarray:
    """What dcmj2pnm draws, uint8 [H, W], without overlays."""
    with tempfile.NamedTemporaryFile(suffix=".pgm") as target:
        command = ["dcmj2pnm", "-O", "+G", "--write-raw-pnm", *options, str(path), target.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        drawn = cv2.imread(target.name, cv2.IMREAD_UNCHANGED)
    assert drawn is not None, done.stderr
    return drawn


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """Median absolute difference, grey levels."""
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    return float(np.median(np.abs(found.astype(float) - expected)))
