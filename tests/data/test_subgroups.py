"""Groups of images by the columns of public tables and by DICOM headers."""

from pathlib import Path

import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from xraycls.data.subgroups import groupings_of
from xraycls.data.table import SampleTable
from xraycls.errors import UsageError
from xraycls.types import Sample


def table(rows: list[dict[str, str]], names: list[Path] | None = None) -> SampleTable:
    files = names or [Path(f"{number}.png") for number in range(len(rows))]
    samples = (Sample(file, 0, attributes=tuple(row.items())) for file, row in zip(files, rows, strict=True))
    return SampleTable(tuple(samples), ("NORMAL", "SICK"), Path(), "csv")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [
                {"Patient Age": "060Y", "Patient Gender": "M", "View Position": "PA"},
                {"Patient Age": "17", "Patient Gender": "F", "View Position": "AP"},
                {"Patient Age": "011M", "Patient Gender": "F"},
            ],
            {
                "sex": ("male", "female", "female"),
                "age": ("60–79", "0–17", "0–17"),
                "view": ("PA", "AP", None),
            },
        ),
        (
            [
                {"Sex": "Male", "Age": "40", "Frontal/Lateral": "Frontal", "AP/PA": "PA"},
                {"Sex": "Unknown", "Age": "90", "Frontal/Lateral": "Lateral"},
                {"Sex": "Female", "Age": "", "Frontal/Lateral": "Frontal", "AP/PA": "AP"},
            ],
            {
                "sex": ("male", None, "female"),
                "age": ("40–59", "80 and over", None),
                "view": ("PA", "Lateral", "AP"),
            },
        ),
        ([{"Manufacturer_DICOM": "ImagingDynamics", "hospital": "A"}, {"hospital": "A"}], {}),
        (
            [{"scanner": "X", "site": "A"}, {"scanner": "Y", "site": "B"}],
            {"site": ("A", "B"), "scanner": ("X", "Y")},
        ),
    ],
)
def test_groups_are_those_that_the_table_tells(rows, expected):
    assert {each.name: each.values for each in groupings_of(table(rows))} == expected


def test_groups_are_chosen_by_name_and_by_column():
    rows = [{"Sex": "F", "Ward": "1", "number": str(n)} for n in range(30)]
    (ward,) = groupings_of(table(rows), "ward")
    assert ward.groups == ("1",)
    assert groupings_of(table(rows), "none") == []
    with pytest.raises(UsageError, match=r"tells age for --subgroups. Its columns are Sex, Ward, number"):
        groupings_of(table(rows), "sex,age")
    with pytest.raises(UsageError, match="number has 30 values"):
        groupings_of(table(rows), "number")


def test_dicom_headers_tell_what_the_table_does_not(tmp_path):
    files = []
    for number, (sex, age, model) in enumerate([("F", "034Y", "DX-1"), ("M", "081Y", "")]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset = FileDataset(str(tmp_path / f"{number}.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.PatientSex, dataset.PatientAge, dataset.Manufacturer = sex, age, "Maker"
        dataset.ManufacturerModelName = model
        dataset.save_as(tmp_path / f"{number}.dcm")
        files.append(tmp_path / f"{number}.dcm")
    found = {each.name: each.values for each in groupings_of(table([{}, {"sex": "F"}], files))}
    assert found == {
        "age": ("18–39", "80 and over"),
        "scanner": ("Maker DX-1", "Maker"),
    }
    (sex,) = groupings_of(table([{}, {"sex": "F"}], files), "sex")
    assert sex.values == ("female", "female")  # the table's word counts
