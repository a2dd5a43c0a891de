import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from xraycls.cli.app import main
from xraycls.data.folder import read_folder
from xraycls.data.open import read_grey
from xraycls.data.patients import patient_of
from xraycls.data.phantom import draw_radiograph, write_phantom
from xraycls.data.phantom.layouts import LAYOUTS
from xraycls.data.phantom.plan import plan
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError

SMALL = 96
IMAGES = 40


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SampleTable]:
    root = tmp_path_factory.mktemp("layouts")
    return {name: write_phantom(root / name, images=IMAGES, seed=4, size=SMALL, layout=name) for name in LAYOUTS}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_holds_the_same_pictures(laid_out, name):
    table = laid_out[name]
    assert len(table) == IMAGES
    planned = {(image.patient_name, image.label) for image in plan(IMAGES, seed=4)}
    assert {(sample.patient, sample.label) for sample in table} == planned
    boxes = Counter((s.patient, s.boxes) for s in laid_out["folder"])
    assert Counter((s.patient, s.boxes) for s in table) == boxes
    for sample in table:
        assert bool(sample.boxes) == bool(sample.label)
        assert read_grey(sample.path).shape[1] > 60


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_bytes_whatever_the_threads(name, tmp_path):
    for folder, threads in (("a", 1), ("b", 3)):
        write_phantom(tmp_path / folder, images=8, seed=1, size=SMALL, layout=name, threads=threads)
    one, other = (
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert one == other


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_missing_is_made_again(name, tmp_path):
    def draw() -> int:
        calls = []
        write_phantom(tmp_path, images=6, size=SMALL, layout=name, progress=lambda *done: calls.append(done))
        return len(calls)

    assert draw() == 6
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    tables = [p for p in before if p.suffix in (".csv", ".txt") and "labels" not in p.parts]
    for table in tables:
        table.write_text("wrong")
    assert draw() == 0
    next(p for p in sorted(before) if p.suffix in (".dcm", ".png", ".jpeg")).unlink()
    assert draw() == 1
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_two_layouts_do_not_share_a_folder(tmp_path):
    write_phantom(tmp_path, images=9, size=SMALL, layout="nih")
    with pytest.raises(DataError, match="in the layout 'nih'"):
        write_phantom(tmp_path, images=6, size=SMALL, layout="kermany")
    with pytest.raises(DataError, match="not of this phantom"):
        write_phantom(tmp_path, images=6, size=SMALL, layout="nih")


def test_wrong_layouts_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"Unknown layout 'sim' for --layout. Did you mean siim"):
        write_phantom(tmp_path, layout="sim")
    with pytest.raises(UsageError, match="--dicom does not go with --layout rsna"):
        write_phantom(tmp_path, layout="rsna", dicom=True)
    assert not any(tmp_path.iterdir())


def test_siim(laid_out):
    table = laid_out["siim"]
    images = {row["id"]: row for row in rows(table.root / "train_image_level.csv")}
    assert len(images) == IMAGES
    for sample in table:
        study, _series, name = sample.path.relative_to(table.root / "train").parts
        row = images[name.replace(".dcm", "_image")]
        assert row["StudyInstanceUID"] == study
        corners = [word for at, word in enumerate(row["label"].split()) if at % 6 > 1]
        if sample.boxes:
            assert [float(c) for c in corners] == [c for b in sample.boxes for c in (b.left, b.top, b.right, b.bottom)]
            assert row["boxes"].startswith("[{'x': ")
        else:
            assert (row["boxes"], row["label"]) == ("", "none 1 0 0 1 1")
    studies = {row.pop("id"): row for row in rows(table.root / "train_study_level.csv")}
    assert list(studies) == sorted({f"{s.path.parts[-3]}_study" for s in table})
    for sample in table:
        marks = studies[f"{sample.path.parts[-3]}_study"]
        assert sorted(marks.values()) == ["0", "0", "0", "1"]
        assert marks["Negative for Pneumonia"] == str(1 - sample.label)


def test_siim_files_are_of_all_kinds_and_show_the_same(laid_out):
    stored = {sample.path: dcmread(sample.path) for sample in laid_out["siim"]}
    assert {d.PhotometricInterpretation for d in stored.values()} == {"MONOCHROME1", "MONOCHROME2"}
    assert {d.BitsStored for d in stored.values()} == {12, 16}
    assert {"WindowCenter" in d for d in stored.values()} == {True, False}
    assert len({d.SOPInstanceUID for d in stored.values()}) == IMAGES
    for path, dataset in stored.items():
        # Bones are white: the corners, air or shutters, are darker than the spine in the middle.
        grey = read_grey(path)
        middle = grey[:, grey.shape[1] // 2 - 3 : grey.shape[1] // 2 + 3].mean()
        assert middle > grey[:4, :4].mean(), (path, dataset.PhotometricInterpretation)


def test_rsna(laid_out):
    table = laid_out["rsna"]
    labels = rows(table.root / "stage_2_train_labels.csv")
    classes = rows(table.root / "stage_2_detailed_class_info.csv")
    assert [row["patientId"] for row in labels] == [row["patientId"] for row in classes]
    assert {row["class"] for row in classes} == {"Normal", "No Lung Opacity / Not Normal", "Lung Opacity"}
    assert all((row["class"] == "Lung Opacity") == (r["Target"] == "1") for row, r in zip(classes, labels, strict=True))
    for sample in table:
        found = [row for row in labels if row["patientId"] == sample.path.stem]
        if sample.split == "test":
            assert sample.path.parent.name == "stage_2_test_images"
            assert not found
        elif sample.boxes:
            assert [float(row["x"]) for row in found] == [box.left for box in sample.boxes]
            assert [float(row["height"]) for row in found] == [box.bottom - box.top for box in sample.boxes]
        else:
            assert [row["Target"] for row in found] == ["0"]


def test_rsna_headers(laid_out):
    table = laid_out["rsna"]
    headers = [dcmread(sample.path) for sample in table]
    assert {h.file_meta.TransferSyntaxUID.name for h in headers} == {"JPEG Baseline (Process 1)"}
    assert {(h.Modality, h.BitsStored) for h in headers} == {("CR", 8)}
    assert {h.PatientSex for h in headers} == {"F", "M"}
    ages = [int(h.PatientAge) for h in headers]
    assert any(148 <= age <= 155 for age in ages)
    assert sum(age > 120 for age in ages) < IMAGES / 4
    sick, sound = (
        [h.ViewPosition for h, s in zip(headers, table, strict=True) if bool(s.label) == ill] for ill in (True, False)
    )
    assert sick.count("AP") / len(sick) > sound.count("AP") / len(sound)


def test_rsna_pixels_are_the_drawing(laid_out):
    sample = next(s for s in laid_out["rsna"] if s.patient == "p0001")
    drawings = [draw_radiograph(4, 1, n, pneumonia=bool(sample.label), size=SMALL).grey(8) for n in (1, 2, 3, 4)]
    grey = dcmread(sample.path).pixel_array.astype(float)
    assert min(np.abs(d - grey).mean() for d in drawings if d.shape == grey.shape) < 4


def test_nih(laid_out):
    table = laid_out["nih"]
    lines = (table.root / "BBox_List_2017.csv").read_text().splitlines()
    assert lines[0] == "Image Index,Finding Label,Bbox [x,y,w,h],,,"
    entries = (table.root / "Data_Entry_2017.csv").read_text().splitlines()
    assert entries[0].startswith("Image Index,Finding Labels,Follow-up #,Patient ID,")
    assert len(entries) == IMAGES + 1
    findings = {line.split(",")[0]: line.split(",")[1] for line in entries[1:]}
    boxed = Counter(line.split(",")[0] for line in lines[1:])
    lists = {name: (table.root / f"{name}_list.txt").read_text().split() for name in ("train_val", "test")}
    for sample in table:
        assert (findings[sample.path.name] == "No Finding") == (not sample.label)
        assert boxed[sample.path.name] == len(sample.boxes)
        assert sample.path.name in lists["test" if sample.split == "test" else "train_val"]
        assert int(patient_of(sample.path)) == int(sample.patient.removeprefix("p"))
    assert any("|" in found for found in findings.values())


def test_coronahack(laid_out):
    table = laid_out["coronahack"]
    metadata = {row["X_ray_image_name"]: row for row in rows(table.root / "Chest_xray_Corona_Metadata.csv")}
    assert len(metadata) == IMAGES
    assert list(metadata.values())[3][""] == "3"
    for sample in table:
        row = metadata[sample.path.name]
        assert row["Label"] == ("Normal", "Pnemonia")[sample.label]
        assert row["Dataset_type"] == sample.split.upper()
        assert sample.path.parent.name == sample.split
        assert bool(row["Label_1_Virus_category"]) == bool(sample.label)
    assert {row["Label_2_Virus_category"] for row in metadata.values()} == {"", "COVID-19"}
    assert {row["Label_1_Virus_category"] for row in metadata.values()} == {"", "Virus", "bacteria"}


def test_kermany_reads_as_an_image_folder(laid_out):
    drawn = laid_out["kermany"]
    table = read_folder(drawn.root)
    assert table.classes == drawn.classes
    assert [(s.path, s.label, s.split) for s in drawn] == sorted((s.path, s.label, s.split) for s in table)
    names = {s.patient: patient_of(s.path) for s in drawn}
    assert len(set(names.values())) == len(names)
    assert None not in names.values()


def test_the_command(tmp_path, capsys):
    arguments = ["--images", "6", "--size", "96", "--layout", "siim", "--seed", "2"]
    with pytest.raises(SystemExit) as end:
        main(["data", "phantom", str(tmp_path / "s"), *arguments])
    assert end.value.code == 0
    assert "Wrote 6 synthetic radiographs" in capsys.readouterr().out
    assert len(list((tmp_path / "s").glob("train/*/*/*.dcm"))) == 6
