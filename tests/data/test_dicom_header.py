"""Headers without pixels, pseudonyms, and what the first bytes tell."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataelem import DataElement

from tests.data.dicoms import PYDICOM, RAMP, dataset_of, write
from xraycls.data.dicom.header import Header, patient_from_dicom, read_header
from xraycls.data.dicom.pseudonym import KEY_VARIABLE, pseudonym
from xraycls.data.folder import image_files, read_folder
from xraycls.data.open import open_image
from xraycls.data.pictures import list_images
from xraycls.data.source import read_table
from xraycls.data.verify import find_unreadable
from xraycls.errors import DataError
from xraycls.types import Sample

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # pytest lifts the package's own filter


def written(path: Path, **tags: tuple[str, object]) -> Path:
    """A film with elements as they are given, valid or not: keyword=(VR, value)."""
    dataset = dataset_of(RAMP)
    for keyword, (vr, value) in tags.items():
        dataset.add(DataElement(keyword, vr, value, validation_mode=config.IGNORE))
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_a_header_tells_size_spacing_and_person_without_naming_it(tmp_path):
    path = write(
        tmp_path / "a.dcm", RAMP, PatientID="4711", PatientName="Mustermann^Max", PatientSex="F", PatientAge="062Y",
        ViewPosition="PA", Modality="DX", PixelSpacing=["0.143", "0.15"], ImagerPixelSpacing=["0.2", "0.2"],
    )  # fmt: skip
    found = read_header(path)
    assert found == Header(256, 8, 12, (0.143, 0.15), "DX", "PA", "F", 62.0, pseudonym("4711"))
    assert "4711" not in repr(found)
    assert found.attributes == (
        ("age", "62"),
        ("sex", "F"),
        ("view", "PA"),
        ("modality", "DX"),
        ("spacing", "0.143\\0.15"),
    )


@pytest.mark.parametrize(
    ("age", "years"),
    [
        ("062Y", 62), ("61", 61), ("006M", 0.5), ("026W", 26 * 7 / 365.25), ("010D", 10 / 365.25), ("155Y", 155),
        ("", None), ("old", None), ("Y", None), ("062X", None), ("-5", None),
    ],
)  # fmt: skip
def test_ages(tmp_path, age, years):
    found = read_header(written(tmp_path / "a.dcm", PatientAge=("AS", age))).age
    assert found == (None if years is None else pytest.approx(years))


@pytest.mark.parametrize(
    ("written_as", "sex"), [("M", "M"), (" f ", "F"), ("O", "O"), ("female", "F"), ("Max", None), ("", None)]
)
def test_sexes(tmp_path, written_as, sex):
    assert read_header(written(tmp_path / "a.dcm", PatientSex=("CS", written_as))).sex == sex


def test_free_text_where_a_code_belongs_is_not_passed_on(tmp_path):
    wrong = ("CS", "Mustermann, Max: PA")
    found = read_header(written(tmp_path / "a.dcm", PatientSex=wrong, ViewPosition=wrong, Modality=wrong))
    assert found.attributes == ()


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        (["0.2", "0.3"], (0.2, 0.3)), (["0.2"], (0.5, 0.5)), (["0", "0"], (0.5, 0.5)), ("", (0.5, 0.5)),
        (["1", "2", "3"], (0.5, 0.5)),
    ],
)  # fmt: skip
def test_spacing_of_the_detector_stands_in(tmp_path, spacing, expected):
    path = written(tmp_path / "a.dcm", PixelSpacing=("DS", spacing), ImagerPixelSpacing=("DS", ["0.5", "0.5"]))
    assert read_header(path).spacing == expected


def test_headers_without_facts_are_empty():
    found = read_header(PYDICOM / "test-SR.dcm")
    assert (found.width, found.height, found.bits, found.spacing, found.age) == (None,) * 5


def test_a_real_header(shared):
    path = shared / "data" / "dicom" / "rsna" / "16d7f894-55d7-4d95-8957-d18987f0e981.dcm"
    found = read_header(path)
    assert (found.width, found.height, found.bits, found.sex, found.age, found.view) == (1024, 1024, 8, "M", 62, "PA")
    assert found.patient == pseudonym(path.stem) == patient_from_dicom(path)


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 200])
def test_a_header_that_is_none_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.dcm is (empty|not a DICOM file)"):
        read_header(path)
    assert patient_from_dicom(path) is None
    with pytest.raises(DataError, match="could not be read: No such file"):
        read_header(tmp_path / "none.dcm")


def test_pseudonyms_tell_patients_apart_and_depend_on_the_key(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    names = {pseudonym(str(number)) for number in range(2000)}
    assert len(names) == 2000
    assert all(name.startswith("anon-") and len(name) == 17 for name in names)
    assert pseudonym("4711 ") == pseudonym("4711")
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    assert pseudonym("4711") not in names


@pytest.mark.parametrize("nobody", ["", " ", "0", "Anonymous", "ANONYMIZED", "unknown"])
def test_what_stands_for_everybody_is_no_patient(tmp_path, nobody):
    assert patient_from_dicom(written(tmp_path / "a.dcm", PatientID=("LO", nobody))) is None


def test_folders_hold_dicom_under_any_name(tmp_path):
    names = ["a.dcm", "b.DICOM", "c.IMA", "IM000001", "1.2.840.113619.2.5"]
    (tmp_path / "A").mkdir()
    for name in names:
        write(tmp_path / "A" / name, RAMP)
    for name in ("README", "notes.txt", "labels.2", ".hidden"):
        (tmp_path / "A" / name).write_text("words")
    (tmp_path / "A" / "DICOMDIR").write_bytes((PYDICOM / "dicomdirtests" / "DICOMDIR").read_bytes())
    assert [path.name for path in image_files(tmp_path)] == sorted(names)
    assert len(list_images([tmp_path])) == 5
    assert [sample.path.name for sample in read_table(tmp_path)] == sorted(names)


def presentation_state(path: Path) -> Path:
    """A file that hospitals export beside the pictures: it tells how somebody looked at one."""
    dataset = dataset_of(RAMP, PatientID="4711")
    del dataset.PixelData
    kind = "1.2.840.10008.5.1.4.1.1.11.1"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("name", ["PR000001", "PR000001.dcm"])
def test_what_hospitals_export_beside_pictures_is_passed_over_and_no_fault(tmp_path, caplog, name):
    for folder in ("A", "B"):
        (tmp_path / folder / "study").mkdir(parents=True)
        write(tmp_path / folder / "study" / "IM000001", RAMP)
        presentation_state(tmp_path / folder / "study" / name)
    (tmp_path / "A" / "dicomdir").write_bytes((PYDICOM / "dicomdirtests" / "DICOMDIR").read_bytes())
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "SR1").write_bytes((PYDICOM / "test-SR.dcm").read_bytes())
    with caplog.at_level(logging.INFO):
        table = read_table(tmp_path, strict=True)
    assert table.classes == ("A", "B")
    assert [sample.path.name for sample in table] == ["IM000001", "IM000001"]
    assert [sample.path.name for sample in list_images([tmp_path])] == ["IM000001", "IM000001"]
    assert "3 DICOM files of" in caplog.text
    assert f"A/study/{name} (a presentation state)" in caplog.text
    assert "could not be read" not in caplog.text
    with pytest.raises(DataError, match="holds no images, but DICOM objects of other kinds"):
        read_folder(only_reports(tmp_path / "only"))
    (given,) = list_images([tmp_path / "A" / "study" / name])  # what a user names is looked at
    with pytest.raises(DataError, match=r"it is a DICOM object of the kind Grayscale Softcopy Presentation State"):
        open_image(given)


def only_reports(folder: Path) -> Path:
    for name in ("A", "B"):
        (folder / name).mkdir(parents=True)
        (folder / name / "SR1").write_bytes((PYDICOM / "test-SR.dcm").read_bytes())
    return folder


def test_objects_without_a_picture_are_found_before_training():
    names = {
        "test-SR.dcm": "a structured report",
        "waveform_ecg.dcm": "a waveform",
        "rtplan.dcm": "a plan of radiotherapy",
        "dicomdirtests/DICOMDIR": "a DICOMDIR, the index of a medium",
    }
    samples = [Sample(PYDICOM / name) for name in (*names, "CT_small.dcm", "MR_small_RLE.dcm")]
    assert find_unreadable(samples) == {PYDICOM / name: kind for name, kind in names.items()}


LOUD = """
import logging, sys, warnings
logging.basicConfig(level=logging.DEBUG)
warnings.simplefilter("always")
from pathlib import Path
from xraycls.data.dicom.header import read_header
from xraycls.data.dicom.open import read_dicom
read_header(Path(sys.argv[1])), read_dicom(Path(sys.argv[1]))
"""


def test_pydicoms_warnings_and_log_stay_silent(tmp_path):
    secret = "Mustermann-" * 9
    path = written(tmp_path / "a.dcm", PatientID=("LO", secret), PatientAge=("AS", secret), PatientSex=("CS", secret))
    done = subprocess.run([sys.executable, "-c", LOUD, path], capture_output=True, text=True, check=True)
    assert "Mustermann" not in done.stdout + done.stderr
    assert not logging.getLogger("pydicom").propagate


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_header_or_one_error(tmp_path, data):
    encoded = bytearray((PYDICOM / "CT_small.dcm").read_bytes()[:6000])
    for _ in range(data.draw(st.integers(1, 20))):
        encoded[data.draw(st.integers(100, 2000))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.dcm"
    path.write_bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    try:
        header = read_header(path)
    except DataError as error:
        assert error.path == path  # noqa: PT017 - either way is right
    else:
        assert isinstance(header.attributes, tuple)
