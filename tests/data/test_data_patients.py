import shutil
from pathlib import Path

import pytest
from pydicom import dcmread

from xraycls.data.dicom.pseudonym import pseudonym
from xraycls.data.folder import read_folder
from xraycls.data.patients import patient_of, with_patients
from xraycls.data.phantom import write_phantom
from xraycls.data.table import SampleTable
from xraycls.types import Sample


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person12_virus_34.jpeg", "person12"),
        ("person1_bacteria_2.jpeg", "person1"),
        ("person447_virus_921_1.jpeg", "person447"),
        ("person12_virus_34_flipped.png", "person12"),
        ("IM-0115-0001.jpeg", "0115"),
        ("IM-0666-0001-0002.jpeg", "0666"),
        ("NORMAL2-IM-1423-0001.jpeg", "1423"),
        ("NORMAL2-IM-0173-0001-0002.jpeg", "0173"),
        ("00000013_005.png", "00000013"),
        ("p0012_1.jpeg", "p0012"),
        ("0004cfab-14fd-4e49-80ba-63a80b6bddd6.dcm", "0004cfab-14fd-4e49-80ba-63a80b6bddd6"),
        ("0004cfab-14fd-4e49-80ba-63a80b6bddd6_flipped.png", "0004cfab-14fd-4e49-80ba-63a80b6bddd6"),
        ("0004cfab-14fd-4e49-80ba-63a80b6bddd60.png", None),
        ("20200131_142501.jpg", None),  # a date and a time, not NIH's number and follow-up
        ("personal_virus_1.jpeg", None),
        ("scan.jpeg", None),
        ("IM-0115.jpeg", None),
        ("pneumoniamnist.npz", None),
    ],
)
def test_file_name_rules(name, patient):
    assert patient_of(Path("anywhere") / name) == patient


def test_patients_of_the_source_come_first():
    named = Sample(Path("p0012_1.jpeg"), patient="from the CSV")
    unnamed = Sample(Path("p0013_1.jpeg"))
    table = SampleTable((named, unnamed), ("a",), Path(), "csv")
    assert with_patients(table) == table
    filled = with_patients(table.with_samples([unnamed]))
    assert filled[0].patient == "p0013"


def test_the_tags_of_dicom_files_come_before_their_names(tmp_path):
    write_phantom(tmp_path / "films", images=6, size=64, dicom=True, threads=1)
    source = next((tmp_path / "films/dicom").rglob("p0001_1.dcm"))
    names = ("IM-0001-0001.dcm", "IM-0001-0002", "1.2.840.10008.7", "p0042_1.dcm", "p0042_2.jpeg")
    for name in names:
        shutil.copy(source, tmp_path / name)
    (tmp_path / "p0042_1.dcm").write_bytes(b"no DICOM")
    samples = tuple(Sample(tmp_path / name) for name in names)
    patients = [s.patient for s in with_patients(SampleTable(samples, ("a",), tmp_path, "files"))]
    told = pseudonym(str(dcmread(source).PatientID))
    assert patients == [told, told, told, "p0042", "p0042"]


@pytest.mark.walkthrough
def test_every_name_of_the_paediatric_set_tells_its_patient(shared):
    table = with_patients(read_folder(shared / "data/kermany_224"))
    assert all(s.patient is not None and s.patient.removeprefix("person") in s.path.name for s in table)
    assert {len(s.patient) for s in table if s.label == 0} == {4}
