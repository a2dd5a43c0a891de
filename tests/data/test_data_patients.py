from pathlib import Path

import pytest

from xraycls.data.folder import read_folder
from xraycls.data.patients import patient_of, with_patients
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


def test_every_name_of_the_paediatric_set_tells_its_patient(shared):
    table = with_patients(read_folder(shared / "data/kermany_224"))
    assert all(s.patient is not None and s.patient.removeprefix("person") in s.path.name for s in table)
    assert {len(s.patient) for s in table if s.label == 0} == {4}
