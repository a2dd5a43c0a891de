"""Tables and folders as public sets and their users write them."""

import logging
from pathlib import Path

import pytest
from pydicom import dcmread

from xraycls.data.class_names import positive_of
from xraycls.data.classes import parse_map, suggested_map, with_mapped_classes, with_positive
from xraycls.data.csv import read_csv
from xraycls.data.dicom.pseudonym import pseudonym
from xraycls.data.folder import read_folder
from xraycls.data.options import ReadOptions
from xraycls.data.patients import patient_of_folder, with_patients
from xraycls.data.phantom import write_phantom
from xraycls.data.source import load_table, read_source
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError

CASES = "field_cases"


def write(folder: Path, text: str, *images: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    for image in images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).touch()
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def labels(table: SampleTable) -> dict[str, str]:
    return {s.path.name: table.classes[s.label] for s in table if s.label is not None}


@pytest.mark.parametrize(
    "written", ["a", "a.jpg", "A.PNG", "a.JPEG", "deep/a", "deep\\a.tif", "/content/x/deep/a.png", "a.dcm"]
)
def test_a_path_of_another_machine_suffix_or_case(tmp_path, written):
    table = read_csv(write(tmp_path, f"path,label\n{written},x\nb.png,y\n", "deep/a.png", "b.png"))
    assert labels(table) == {"a.png": "x", "b.png": "y"}


def test_the_longest_common_end_tells_files_of_one_name_apart(tmp_path):
    rows = "".join(f"C:\\data\\Set\\{c}\\p{n}\\view1.png,{c}\n" for c in "AB" for n in range(2))
    images = [f"{c}/p{n}/view1.png" for c in "AB" for n in range(2)]
    table = read_csv(write(tmp_path, f"path,label\n{rows}", *images))
    assert all(table.classes[s.label] in s.path.parts for s in table if s.label is not None)


def test_the_very_same_name_comes_before_another_suffix(tmp_path):
    table = read_csv(write(tmp_path, "path,label\na.png,x\na.jpg,y\n", "in/a.png", "in/a.jpg"))
    assert labels(table) == {"a.png": "x", "a.jpg": "y"}


def test_two_files_of_one_stem_are_ambiguous(tmp_path):
    with pytest.raises(DataError, match="is both"):
        read_csv(write(tmp_path, "path,label\na,x\n", "in/a.png", "in/a.jpg"))


def test_names_with_dots_and_numbers(tmp_path):
    table = read_csv(write(tmp_path, "dicom_id,label\n1.2.840.1,x\n1.2.840.2,y\n", "1.2.840.1.dcm", "1.2.840.2.png"))
    assert set(labels(table).values()) == {"x", "y"}


@pytest.mark.parametrize("column", ["subject_id", "PatientID", "Patient ID", "person", "MRN", "patientid", "Subject"])
def test_patients_by_their_usual_names(tmp_path, column):
    table = read_csv(write(tmp_path, f"path,label,{column}\na.png,x,7\nb.png,y,8\n", "a.png", "b.png"))
    assert [s.patient for s in table] == ["7", "8"]


@pytest.mark.parametrize("column", ["case_id", "StudyID", "the_patient", "hospital patient nr", "individual"])
def test_a_column_that_looks_like_a_patient_is_told(tmp_path, column, caplog):
    path = write(tmp_path, f"path,label,{column}\na.png,x,7\nb.png,y,8\n", "a.png", "b.png")
    assert [s.patient for s in read_csv(path)] == [None, None]
    assert f"--patient-column {column!r}" in caplog.text
    assert [s.patient for s in read_csv(path, options=ReadOptions(patient_column=column))] == ["7", "8"]


def test_any_column_can_be_named(tmp_path):
    path = write(tmp_path, "nr,what,who,part\na.png,x,1,train\nb.png,y,2,test\n", "a.png", "b.png")
    options = ReadOptions(path_column="nr", label_column="what", patient_column="who", split_column="part")
    table = read_csv(path, options=options)
    assert [(s.patient, s.split) for s in table] == [("1", "train"), ("2", "test")]
    with pytest.raises(DataError, match=r"no column 'age'; it has: nr, what, who, part\. --label-column names one"):
        read_csv(path, options=ReadOptions(label_column="age"))
    with pytest.raises(DataError, match="--path-column"):
        read_csv(path)


@pytest.mark.parametrize(
    ("column", "cells", "splits"),
    [
        ("split", ("Train", "DEV", "Testing"), ("train", "val", "test")),
        ("partition", ("train_set", "validation", "hold-out"), ("train", "val", "test")),
        ("set", ("Training", "Val", "Test"), ("train", "val", "test")),
        ("is_valid", ("False", "True", "false"), ("train", "val", "train")),
        ("is_test", ("0", "0", "1"), ("train", "train", "test")),
        ("valid", ("no", "yes", "no"), ("train", "val", "train")),
        ("fold", ("0", "1", "2"), (None, None, None)),
        ("set", ("A", "B", "A"), (None, None, None)),
        ("fold", ("train", "val", "test"), ("train", "val", "test")),
    ],
)
def test_splits_as_tables_tell_them(tmp_path, column, cells, splits):
    images = ["a.png", "b.png", "c.png"]
    rows = "".join(f"{image},{label},{cell}\n" for image, label, cell in zip(images, "xyx", cells, strict=True))
    table = read_csv(write(tmp_path, f"path,label,{column}\n{rows}", *images))
    assert tuple(s.split for s in table) == splits


def test_a_column_of_folds_is_told_and_taken_when_asked(tmp_path, caplog):
    images = [f"{n}.png" for n in range(6)]
    rows = "".join(f"{image},{'xy'[n % 2]},{n // 2}\n" for n, image in enumerate(images))
    path = write(tmp_path, f"path,label,fold\n{rows}", *images)
    assert read_csv(path).splits == ()
    assert "numbers folds" in caplog.text
    table = read_csv(path, options=ReadOptions(fold=2))
    assert [s.split for s in table] == ["val", "val", "train", "train", "test", "test"]
    with pytest.raises(DataError, match="no fold 7"):
        read_csv(path, options=ReadOptions(fold=7))


@pytest.mark.parametrize(
    ("cells", "classes", "count"),
    [
        (("nan", "A", "B", "NaN"), ("A", "B"), 2),
        (("-1", "0", "1", "-1.0"), ("0", "1"), 2),
        (("-1", "1", "-1", "1"), ("-1", "1"), 4),
        (("1", "1.0", "0", "0.0"), ("0", "1"), 4),
        (("unknown", "?", "A", "B"), ("A", "B"), 2),
        (("COVID-19", "COVID19", "Normal", "normal "), ("Normal", "COVID-19"), 4),
        (("['A']", "['B']", "A", "B"), ("A", "B"), 4),
        (("Pneumonia/Viral", "No Finding", "No Finding", "No Finding"), ("No Finding", "Pneumonia/Viral"), 4),
    ],
)
def test_cells_of_the_label(tmp_path, cells, classes, count):
    images = [f"{n}.png" for n in range(4)]
    rows = "".join(f"{image},{cell}\n" for image, cell in zip(images, cells, strict=True))
    table = read_csv(write(tmp_path, f"path,label\n{rows}", *images))
    assert (table.classes, len(table)) == (classes, count)


@pytest.mark.parametrize("cell", ["A|B", '"A, B"', "A; B", "A & B", "\"['A', 'B']\"", "A+B"])
def test_several_labels_in_a_cell_are_refused(tmp_path, cell):
    path = write(tmp_path, f"path\tlabel\na.png\t{cell}\nb.png\tA\nc.png\tC\n", "a.png", "b.png", "c.png")
    with pytest.raises(DataError, match=r"Line 2 of .* has several labels .* --label-column"):
        read_csv(path)


def test_excels_first_line_utf16_and_lists_of_words(tmp_path):
    text = "path;label\r\na.png;x\r\nb.png;y\r\n"
    assert len(read_csv(write(tmp_path, "sep=;\r\n" + text, "a.png", "b.png"))) == 2
    assert len(read_csv(write(tmp_path, text.replace(";", "\t"), encoding="utf-16"))) == 2
    covidx = read_csv(write(tmp_path, "p1 a.png normal rsna\np2 b.png COVID-19 cohen\n", name="train.txt"))
    assert [(s.patient, s.attributes) for s in covidx] == [
        ("p1", (("source", "rsna"),)),
        ("p2", (("source", "cohen"),)),
    ]
    assert labels(read_csv(write(tmp_path, "a.png 0\nb.png 1\n", name="list.txt"))) == {"a.png": "0", "b.png": "1"}
    with pytest.raises(DataError):
        read_csv(write(tmp_path, "just some words\n", name="notes.txt"))


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("train/patient00001/study1/view1_frontal.jpg", "patient00001"),
        ("p10/p10000032/s50414267/x.jpg", "p10000032"),
        ("sub-01/ses-1/x.png", "sub-01"),
        ("A/Patient 12/x.png", "Patient 12"),
        ("A/subject_7/x.png", "subject_7"),
        ("A/case-0012/x.png", "case-0012"),
        ("train/NORMAL/x.png", None),
        ("p10/x.png", None),
        ("patients/x.png", None),
        ("study1/x.png", None),
    ],
)
def test_folders_named_after_patients(path, patient):
    assert patient_of_folder(Path(path)) == patient


def test_the_placeholder_of_de_identified_files_is_no_patient(tmp_path, caplog):
    for identifier in ("REMOVED", "XXXXXX", "00000000", "4711"):
        folder = tmp_path / identifier
        write_phantom(folder / "films", images=6, size=64, dicom=True, threads=1)
        for n, file in enumerate(sorted((folder / "films/dicom").rglob("*.dcm"))):
            dataset = dcmread(file)
            dataset.PatientID = identifier
            target = folder / "set" / "AB"[n % 2] / f"{n}.dcm"
            target.parent.mkdir(parents=True, exist_ok=True)
            dataset.save_as(target)
        assert {s.patient for s in with_patients(read_folder(folder / "set"))} == {None}
        assert "looks like a placeholder" in caplog.text
        caplog.clear()


def test_real_patients_beside_a_placeholder_stay():
    samples = read_table_of(["REMOVED", "REMOVED", "a", "a", "b"])
    assert [s.patient for s in with_patients(samples)] == [None, None, "a", "a", "b"]
    assert [s.patient for s in with_patients(read_table_of([pseudonym("XXXX"), "a", "b"]))] == [None, "a", "b"]


def read_table_of(names: list[str]) -> SampleTable:
    from xraycls.types import Sample

    samples = tuple(Sample(Path(f"{n}.png"), patient=name) for n, name in enumerate(names))
    return SampleTable(samples, ("x",), Path(), "csv")


@pytest.fixture
def three(tmp_path) -> Path:
    images = [f"{c}/{n}.png" for c in ("COVID-19", "No Finding", "Viral Pneumonia") for n in range(3)]
    write(tmp_path, "", *images, name="unused.md")
    return tmp_path


def test_classes_are_renamed_and_merged(three, caplog):
    options = ReadOptions(class_map="covid19=PNEUMONIA, viral pneumonia = PNEUMONIA,No_Finding=NORMAL")
    with caplog.at_level(logging.INFO):
        table = read_source(three, options=options)
    assert table.counts() == {"NORMAL": 3, "PNEUMONIA": 6}
    assert "COVID-19 (3) to PNEUMONIA" in caplog.text
    merged = with_mapped_classes(read_folder(three), "COVID-19=Viral_Pneumonia")
    assert merged.counts() == {"No Finding": 3, "Viral Pneumonia": 6}


@pytest.mark.parametrize("text", ["a", "a=", "=b", "a=b,a=c", "", "cow=PNEUMONIA"])
def test_a_map_that_cannot_be_used(three, text):
    with pytest.raises(UsageError, match="--map"):
        with_mapped_classes(read_folder(three), text)


def test_the_positive_class_is_chosen_by_name(tmp_path):
    write(tmp_path, "", "COVID/1.png", "Non-COVID/1.png", "Non-COVID/2.png", name="unused.md")
    table = read_folder(tmp_path)
    assert table.classes == ("Non-COVID", "COVID")
    turned = with_positive(table, "non covid")
    assert (turned.classes, turned.counts()) == (("COVID", "Non-COVID"), {"COVID": 1, "Non-COVID": 2})
    with pytest.raises(UsageError, match="--positive"):
        with_positive(table, "TB")


def test_a_guess_is_told(tmp_path, caplog):
    write(tmp_path, "", *(f"{c}/{n}.png" for c in ("bacteria", "virus") for n in range(9)), name="unused.md")
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + str(path).encode() + b"IEND\xaeB`\x82")
    load_table(tmp_path)
    assert "Nothing tells which of bacteria and virus is positive" in caplog.text
    caplog.clear()
    load_table(tmp_path, options=ReadOptions(positive="bacteria"))
    assert "is positive" not in caplog.text


@pytest.mark.parametrize(
    ("strangers", "known", "mapping"),
    [
        (["COVID-19", "No Finding"], ["NORMAL", "PNEUMONIA"], "COVID-19=PNEUMONIA,No Finding=NORMAL"),
        (["Viral Pneumonia", "healthy"], ["NORMAL", "PNEUMONIA"], "Viral Pneumonia=PNEUMONIA,healthy=NORMAL"),
        (["cat"], ["dog", "horse"], None),
    ],
)
def test_the_map_that_would_fit(strangers, known, mapping):
    assert suggested_map(strangers, known) == mapping
    if mapping:
        assert set(parse_map(mapping)) == set(strangers)


@pytest.mark.parametrize("case", ["list.csv"])
def test_chexperts_layout_is_grouped_by_patient(shared, case):
    table = read_source(shared / CASES / "c05-chexpert-patient-in-the-folder" / case)
    assert len({s.patient for s in table}) == 16


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("nan", {"Normal": 12, "Pneumonia": 12}),
        ("uncertain", {"0": 12, "1": 12}),
        ("mixed_numbers", {"0": 15, "1": 15}),
        ("spelling", {"No Finding": 15, "COVID-19": 15}),
    ],
)
def test_labels_that_are_no_classes(shared, name, counts):
    folder = shared / CASES / "c07-labels-that-are-no-classes"
    assert read_csv(folder / f"{name}.csv", images=folder / "imgs").counts() == counts


@pytest.mark.parametrize(
    "name",
    "no_suffix other_suffix suffix_case image_id fold_numbers is_valid split_dev covid_chestxray excel_sep".split(),
)
def test_tables_that_were_not_taken(shared, name):
    folder = shared / CASES / "c08-csv-that-is-not-taken"
    table = read_csv(folder / f"{name}.csv", images=folder / "imgs")
    assert list(table.counts().values()) == [15, 15]
    assert positive_of(table.classes) == (table.classes[1], True)


def test_lists_and_renamed_folders_that_were_not_taken(shared):
    folder = shared / CASES / "c08-csv-that-is-not-taken"
    assert len({s.patient for s in read_csv(folder / "covidx.txt", images=folder / "imgs")}) == 15
    assert len(read_source(folder / "chexren/chexpert_renamed.csv")) == 8
    colab = read_csv(folder / "colab/colab.csv")
    assert all(s.path.parent.name == colab.classes[s.label] for s in colab if s.label is not None)


def test_published_splits_below_the_class(shared):
    table = read_folder(shared / CASES / "c10-thumbnail-folders/inside")
    assert {split: len(table.split(split)) for split in table.splits} == {"train": 16, "test": 8}


@pytest.mark.parametrize(
    "layout",
    [
        "{split}/{name}",
        "{name}/{split}",
        "{name}/images/{split}",
        "archive/version/{split}/{name}",
        "archive/version/{name}/{split}",
        "part{part}/{split}/{name}",
        "part{part}/inner/{split}/{name}/images",
    ],
)
@pytest.mark.parametrize("spelt", [("train", "val", "test"), ("Train", "Val", "Test"), ("TRAINING", "dev", "Test_Set")])
def test_splits_at_any_level_and_in_any_case(tmp_path, layout, spelt):
    number = 0
    for part in range(2):
        for split in spelt:
            for name in ("NORMAL", "SICK"):
                number += 1
                path = layout.format(split=split, name=name, part=part)
                write(tmp_path, "", f"{path}/{number}.png", name="unused.md")
    table = read_folder(tmp_path)
    assert {split: tuple(table.split(split).counts().items()) for split in ("train", "val", "test")} == dict.fromkeys(
        ("train", "val", "test"), (("NORMAL", 2), ("SICK", 2))
    )


def test_patients_below_splits_are_no_classes(tmp_path):
    images = [f"{c}/{split}/p{c}{split}{n}/1.png" for c in "AB" for split in ("train", "test") for n in range(3)]
    write(tmp_path, "", *images, name="unused.md")
    assert read_folder(tmp_path).counts() == {"A": 6, "B": 6}
