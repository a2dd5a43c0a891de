"""The ancestor's train.csv and predict.csv: the join, ages, duplicates, and ids without files."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import config
from pydicom.dataelem import DataElement

from tests.data.dicoms import dataset_of
from xraycls.cli import main
from xraycls.data.rsna_features import PREDICT_COLUMNS, TRAIN_COLUMNS, RsnaSources, write_rsna_features
from xraycls.errors import DataError, UsageError

LABELS = """patientId,x,y,width,height,Target
a,,,,,0
b,264.0,152.0,213.5,379.0,1
b,562.0,152.0,256.0,453.0,1
c,,,,,0
gone,,,,,0
"""
CLASSES = """patientId,class
a,Normal
b,Lung Opacity
b,Lung Opacity
c,No Lung Opacity / Not Normal
gone,Normal
"""


def film(path: Path, sex: str = "", age: str = "", view: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = dataset_of(np.zeros((2, 2), np.uint8), PatientSex=sex, ViewPosition=view, PatientID="4711")
    dataset.add(DataElement("PatientAge", "AS", age, validation_mode=config.IGNORE))
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def challenge(tmp_path) -> Path:
    """A folder of the challenge, small."""
    root = tmp_path / "rsna"
    film(root / "stage_2_train_images" / "a.dcm", "M", "61", "AP")
    film(root / "stage_2_train_images" / "b.dcm", "F", "155Y", "PA")
    film(root / "stage_2_train_images" / "c.dcm", age="006M")
    film(root / "stage_2_train_images" / "stranger.dcm")
    film(root / "stage_2_test_images" / "d.dcm", "F", "120", "PA")
    (root / "stage_2_test_images" / "broken.dcm").write_text("no picture")
    (root / "stage_2_train_labels.csv").write_text(LABELS)
    (root / "stage_2_detailed_class_info.csv").write_text(CLASSES)
    return root


def rows(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="") as handle:
        return [tuple(row) for row in csv.reader(handle)]


def test_headers_boxes_and_classes_are_joined(challenge, tmp_path, caplog):
    made = write_rsna_features(RsnaSources.below(challenge), tmp_path / "out")
    assert rows(tmp_path / "out" / "train.csv") == [
        TRAIN_COLUMNS,
        ("a", "M", "61", "AP", "", "", "", "", "0", "Normal"),
        ("b", "F", "", "PA", "264", "152", "213.5", "379", "1", "Lung Opacity"),
        ("b", "F", "", "PA", "562", "152", "256", "453", "1", "Lung Opacity"),
        ("c", "", "0", "", "", "", "", "", "0", "No Lung Opacity / Not Normal"),
    ]
    assert rows(tmp_path / "out" / "predict.csv") == [PREDICT_COLUMNS, ("d", "F", "120", "PA")]
    assert (made.images, made.boxes) == (4, 2)
    assert [path.name for path in made.unreadable] == ["broken.dcm"]
    assert "1 of 5 headers could not be read: broken.dcm" in caplog.text
    assert "left out: gone" in caplog.text
    assert "stranger.dcm" in caplog.text


def test_the_command_takes_the_folder_or_every_file_by_itself(challenge, tmp_path, capfd):
    moved = challenge / "stage_2_detailed_class_info.csv"
    moved = moved.rename(tmp_path / "classes.csv")
    flags = f"--images {challenge}/stage_2_train_images --labels {challenge}/stage_2_train_labels.csv --classes {moved}"
    with pytest.raises(SystemExit) as end:
        main(["data", "rsna-features", *flags.split(), "-o", str(tmp_path / "out"), "--json"])
    assert not end.value.code
    said = json.loads(capfd.readouterr().out)
    assert said["predict"] is None
    assert (said["images"], said["boxes"]) == (3, 2)
    assert len(rows(tmp_path / "out" / "train.csv")) == 5


def test_the_flags_of_the_first_pipeline_make_one_table_at_a_time(challenge, tmp_path):
    flags = {
        "training": f"-i {challenge}/stage_2_train_images -l {challenge} -t training",
        "prediction": f"-i {challenge}/stage_2_test_images -t prediction",
        "train": f"{challenge} --type train",
    }
    for name, words in flags.items():
        with pytest.raises(SystemExit) as end:
            main(["data", "rsna-features", *words.split(), "-o", str(tmp_path / name)])
        assert not end.value.code
    assert {name: sorted(path.name for path in (tmp_path / name).iterdir()) for name in flags} == {
        "training": ["train.csv"],
        "prediction": ["predict.csv"],
        "train": ["train.csv"],
    }
    assert rows(tmp_path / "prediction" / "predict.csv") == [PREDICT_COLUMNS, ("d", "F", "120", "PA")]


def test_other_tables_stay(challenge, tmp_path):
    sources = RsnaSources.below(challenge)
    for _ in range(2):  # its own are replaced
        write_rsna_features(sources, tmp_path / "out")
    for name in ("train.csv", "predict.csv"):
        out = tmp_path / name.removesuffix(".csv")
        out.mkdir()
        (out / name).write_text("path,label\na.png,1\n")
        with pytest.raises(DataError, match=rf"{name} is another table, and is not replaced"):
            write_rsna_features(sources, out)
        assert [path.name for path in out.iterdir()] == [name]
        assert (out / name).read_text().startswith("path,label")


def test_what_is_missing_is_named(challenge, tmp_path):
    with pytest.raises(UsageError, match="There are no images"):
        write_rsna_features(RsnaSources.below(tmp_path), tmp_path)
    with pytest.raises(DataError, match=r"There is no folder .*nowhere"):
        RsnaSources.below(tmp_path / "nowhere")
    sources = RsnaSources.below(challenge)
    with pytest.raises(UsageError, match=r"need stage_2_detailed_class_info\.csv. Name it with --classes"):
        write_rsna_features(RsnaSources(sources.images, sources.labels, None, None), tmp_path)
    sources.classes.write_text(CLASSES.replace("b,Lung Opacity\n", "", 1).replace("b,Lung", "b2,Lung"))
    with pytest.raises(DataError, match=r"no class for .*b"):
        write_rsna_features(sources, tmp_path)
    sources.classes.write_text(CLASSES + "c,Normal\n")
    with pytest.raises(DataError, match=r"Line 7 of .* gives c another class|Lines"):
        write_rsna_features(sources, tmp_path)
    assert not (tmp_path / "train.csv").exists()


@pytest.mark.walkthrough
def test_every_box_and_class_of_the_real_tables_is_there(shared, tmp_path):
    """Forty patients of the real tables, with the facts that Kaggle's users read from their headers."""
    tables = shared / "data" / "labels_csv" / "rsna2018"
    with gzip.open(tables / "kaggle_stage_2_train_images_dicom_headers.csv.gz", "rt") as handle:
        headers = [row for row, _ in zip(csv.DictReader(handle), range(40), strict=False)]
    for row in headers:
        film(tmp_path / "images" / row["Filename"], row["PatientSex"], row["PatientAge"], row["ViewPosition"])
    labels, classes = tables / "stage_2_train_labels.csv", tables / "stage_2_detailed_class_info.csv"
    made = write_rsna_features(RsnaSources(tmp_path / "images", labels, classes, None), tmp_path)
    assert made.images == 40

    by_id = {row["PatientID"]: row for row in headers}
    with labels.open() as handle, classes.open() as details:
        named = {row["patientId"]: row["class"] for row in csv.DictReader(details)}
        expected = set()
        for row in csv.DictReader(handle):
            if (name := row["patientId"]) in by_id:
                facts = by_id[name]["PatientSex"], by_id[name]["PatientAge"], by_id[name]["ViewPosition"]
                box = tuple(row[side] and f"{float(row[side]):g}" for side in ("x", "y", "width", "height"))
                expected.add((name, *facts, *box, row["Target"], named[name]))
    found = rows(tmp_path / "train.csv")[1:]
    assert len(found) == len(expected)
    assert set(found) == expected
