"""The files of one phantom radiograph: JPEG, KITTI boxes, DICOM."""

from __future__ import annotations

from pathlib import Path

import cv2

from xraycls.data.files import atomic_write
from xraycls.data.phantom.draw import Radiograph
from xraycls.types import Box

_QUALITY = 90
_DICOM_BITS = 12


def write_jpeg(path: Path, radiograph: Radiograph) -> None:
    """A grey JPEG of quality 90."""
    _, encoded = cv2.imencode(".jpeg", radiograph.grey(8), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def write_kitti(path: Path, boxes: tuple[Box, ...]) -> None:
    """A KITTI label file, 15 fields a box of which only the class and the box mean anything; empty for no box."""
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{_kitti_line(box)}\n" for box in boxes), encoding="ascii")


def _kitti_line(box: Box) -> str:
    corners = f"{box.left:.2f} {box.top:.2f} {box.right:.2f} {box.bottom:.2f}"
    return f"{box.label} 0.00 0 0.00 {corners}" + " 0.00" * 7


def write_dicom(path: Path, radiograph: Radiograph, *, seed: int, patient: str, image: int) -> None:
    """A Secondary Capture image, MONOCHROME2, 12 bits in 16; its identifiers follow from the arguments."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    origin = ["xraycls phantom", str(seed), patient]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[*origin, str(image)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian

    pixels = radiograph.grey(_DICOM_BITS)
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[*origin, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*origin, "series"])
    dataset.PatientID = patient
    dataset.PatientName = f"Phantom^{patient}"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyDate = dataset.StudyTime = dataset.StudyID = dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.Modality = "DX"
    dataset.ConversionType = "SYN"
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientOrientation = ["L", "F"]
    dataset.BurnedInAnnotation = "YES"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = image
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = _DICOM_BITS
    dataset.HighBit = _DICOM_BITS - 1
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = 1 << (_DICOM_BITS - 1), 1 << _DICOM_BITS
    dataset.PixelData = pixels.astype("<u2").tobytes()
    with atomic_write(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
