"""A phantom radiograph as a DICOM Secondary Capture image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xraycls.data.files import atomic_write
from xraycls.data.phantom.draw import Radiograph
from xraycls.data.phantom.files import encoded_jpeg

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, slots=True)
class DicomImage:
    """How one image is stored, and what its file says of it.

    Attributes:
        study: identifies the study; equal values give equal UIDs.
        number: of the image within its study, from 1.
        patient: PatientID and, after "Phantom^", PatientName.
        bits: stored, 8–16.
        inverted: MONOCHROME1, where high values are dark.
        windowed: whether a window over the whole range is stored.
        jpeg: encapsulated JPEG baseline, which takes 8 bits; else explicit little endian.
        tags: further elements by their keyword.
    """

    study: tuple[str, ...]
    number: int
    patient: str
    bits: int = 12
    inverted: bool = False
    windowed: bool = True
    jpeg: bool = False
    tags: Mapping[str, str | list[str]] = field(default_factory=dict)

    def write(self, path: Path, radiograph: Radiograph) -> None:
        """Write the radiograph so; its identifiers follow from study and number."""
        from pydicom.dataset import Dataset

        dataset = Dataset()
        self._identify(dataset)
        self._describe(dataset)
        self._fill(dataset, radiograph)
        self._add_tags(dataset)
        with atomic_write(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)

    def _identify(self, dataset: Dataset) -> None:
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage, generate_uid

        origin = ["xraycls phantom", *self.study]
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[*origin, str(self.number)])
        meta.TransferSyntaxUID = JPEGBaseline8Bit if self.jpeg else ExplicitVRLittleEndian
        dataset.file_meta = meta
        dataset.SOPClassUID = meta.MediaStorageSOPClassUID
        dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=[*origin, "study"])
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*origin, "series"])
        dataset.PatientID = self.patient
        dataset.PatientName = f"Phantom^{self.patient}"

    def _describe(self, dataset: Dataset) -> None:
        dataset.PatientBirthDate = dataset.PatientSex = ""
        dataset.StudyDate = dataset.StudyTime = dataset.StudyID = dataset.AccessionNumber = ""
        dataset.ReferringPhysicianName = ""
        dataset.Modality = "DX"
        dataset.ConversionType = "SYN"
        dataset.BodyPartExamined = "CHEST"
        dataset.PatientOrientation = ["L", "F"]
        dataset.BurnedInAnnotation = "NO"  # a marker of the side names no patient
        dataset.SeriesNumber = 1
        dataset.InstanceNumber = self.number

    def _add_tags(self, dataset: Dataset) -> None:
        from pydicom import config
        from pydicom.datadict import dictionary_VR
        from pydicom.dataelem import DataElement

        for keyword, value in self.tags.items():
            # Real sets hold values that break the standard, such as the age "62" without its unit.
            element = DataElement(keyword, dictionary_VR(keyword), value, validation_mode=config.IGNORE)
            dataset.add(element)

    def _fill(self, dataset: Dataset, radiograph: Radiograph) -> None:
        from pydicom.encaps import encapsulate

        pixels = radiograph.grey(self.bits)
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated = 8 * pixels.itemsize
        dataset.BitsStored = self.bits
        dataset.HighBit = self.bits - 1
        dataset.PixelRepresentation = 0
        if self.inverted:
            dataset.PhotometricInterpretation = "MONOCHROME1"
            pixels = (1 << self.bits) - 1 - pixels
        if self.windowed:
            dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
            dataset.WindowCenter, dataset.WindowWidth = 1 << (self.bits - 1), 1 << self.bits
        if self.jpeg:
            dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
            dataset.PixelData = encapsulate([encoded_jpeg(radiograph)])
        else:
            dataset.PixelData = pixels.astype(f"<u{pixels.itemsize}").tobytes()
