"""DICOM radiographs as pictures: windows, rescale, MONOCHROME1, and files that can't be shown."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from xraycls.data.dicom import read_dicom
from xraycls.errors import DataError


def write(path: Path, pixels: np.ndarray, **tags: object) -> Path:
    """A small DICOM file of unsigned 16-bit pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PhotometricInterpretation = "MONOCHROME2"
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


RAMP = np.tile(np.arange(0, 4096, 64), (8, 1))


def test_without_a_window_the_stored_range_is_stretched(tmp_path):
    found = read_dicom(write(tmp_path / "a.dcm", RAMP))
    assert np.array_equal(found, np.floor(RAMP * (255 / RAMP.max()) + 0.5))


def test_monochrome1_is_inverted_once(tmp_path):
    plain = read_dicom(write(tmp_path / "a.dcm", RAMP))
    inverted = read_dicom(write(tmp_path / "b.dcm", RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert np.abs(plain.astype(int) + inverted - 255).max() <= 1


def test_rescale_comes_before_the_window(tmp_path):
    tags = {"RescaleSlope": "2", "RescaleIntercept": "-1000", "WindowCenter": "1000", "WindowWidth": "2000"}
    found = read_dicom(write(tmp_path / "a.dcm", RAMP, **tags)).astype(float)
    # PS3.3 C.11.2.1.2: linear between centre - 0.5 - (width - 1) / 2 and centre - 0.5 + (width - 1) / 2.
    expected = np.clip((RAMP * 2.0 - 1000 - 999.5) / 1999 + 0.5, 0, 1) * 255
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(
    ("tags", "pixels"),
    [
        ({"WindowCenter": "10", "WindowWidth": "0"}, RAMP),
        ({"NumberOfFrames": "2"}, np.stack([RAMP, RAMP])),
    ],
)
def test_what_cannot_be_shown_is_one_sentence_that_names_the_file(tmp_path, tags, pixels):
    path = write(tmp_path / "odd.dcm", pixels, **tags)
    with pytest.raises(DataError, match=r"odd\.dcm") as caught:
        read_dicom(path)
    assert caught.value.path == path


def test_other_files_are_refused_by_name(tmp_path):
    path = tmp_path / "text.dcm"
    path.write_text("no picture")
    with pytest.raises(DataError, match=r"text\.dcm is not a DICOM file"):
        read_dicom(path)


def test_real_radiographs_become_pictures(shared):
    files = sorted((shared / "data" / "dicom").rglob("*.dcm"))
    assert files
    for path in files:
        dataset = dcmread(path, stop_before_pixels=True)
        try:
            found = read_dicom(path)
        except DataError as error:  # compressed, and the codec is not among the dependencies
            assert "pip install" in str(error)  # noqa: PT017
            continue
        assert found.shape == (dataset.Rows, dataset.Columns)
        assert np.ptp(found) == 255
