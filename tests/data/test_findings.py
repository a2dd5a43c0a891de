"""Tables of several findings an image, as public sets and their users write them."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from xraycls.cli.app import app
from xraycls.data.findings import with_findings, with_mapped_findings
from xraycls.data.findings_sets import CHEXPERT
from xraycls.data.formats.nih import FINDINGS
from xraycls.data.formats.table import write_table_csv
from xraycls.data.options import ReadOptions
from xraycls.data.phantom import write_phantom
from xraycls.data.phantom.findings import FINDINGS as PHANTOM
from xraycls.data.prepare import prepare
from xraycls.data.source import load_table, read_source, read_table
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import SPLITS, UNCERTAIN, Box

NIH = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
CHEXPERT_HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,{','.join(CHEXPERT)}\n"


def draw(*files: Path) -> None:
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 12), 10 + number, np.uint8)).save(file)


def told(table: SampleTable) -> dict[str, dict[str, float | None]]:
    return {s.path.stem: dict(zip(table.findings, s.findings, strict=True)) for s in table}


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    """Five films in two of NIH's folders."""
    names = [f"0000000{patient}_000.png" for patient in range(1, 6)]
    draw(*(tmp_path / f"images_00{1 + at % 2}" / "images" / name for at, name in enumerate(names)))
    cells = ["Cardiomegaly|Effusion", "No Finding", "Hernia", "Effusion", "No Finding"]
    views = ["PA", "AP", "PA", "AP", "PA"]
    rows = "".join(f"{n},{c},0,{i},60,M,{v}\n" for i, (n, c, v) in enumerate(zip(names, cells, views, strict=True), 1))
    (tmp_path / "Data_Entry_2017.csv").write_text(NIH + rows)
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:3]))
    (tmp_path / "test_list.txt").write_text("\n".join(names[3:]))
    return tmp_path / "Data_Entry_2017.csv"


def test_nih_has_the_findings_of_its_cells_and_keeps_the_single_label(nih):
    table = read_table(nih)
    assert table.findings == ("Cardiomegaly", "Effusion", "Hernia")
    assert set(table.findings) <= set(FINDINGS)
    np.testing.assert_array_equal(table.targets, [[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0]])
    assert [table.classes[s.label or 0] for s in table].count("Finding") == 3
    assert (table.outputs, {s.split for s in table}) == (table.findings, {"train", "test"})
    single = read_table(nih, options=ReadOptions(task="single"))
    assert (single.findings, single.outputs) == ((), ("No Finding", "Finding"))
    assert single.labels.tolist() == table.labels.tolist()
    assert single.fingerprint() != table.fingerprint()


def test_findings_are_chosen_renamed_and_merged(nih):
    chosen = read_table(nih, options=ReadOptions(labels="effusion,Hernia"))
    assert chosen.findings == ("effusion", "Hernia")
    assert chosen.targets.tolist()[0] == [1, 0]
    merged = read_table(nih, options=ReadOptions(class_map="Cardiomegaly=Heart,Hernia=Heart"))
    assert merged.findings == ("Heart", "Effusion")
    assert merged.targets.sum(axis=0).tolist() == [2, 2]
    with pytest.raises(UsageError, match="Unknown finding 'Mass'"):
        with_mapped_findings(merged, "Mass=Heart")
    with pytest.raises(DataError, match=r"tells Heart, Effusion, and not Mass"):
        with_findings(merged, ("Mass",))


@pytest.mark.parametrize("wish", [{"positive": "Finding"}, {"class_map": "No Finding=NORMAL,Finding=SICK"}])
def test_who_speaks_of_the_two_classes_gets_one_label(nih, wish):
    table = read_table(nih, options=ReadOptions(**wish))
    assert (table.findings, len(table.classes)) == ((), 2)
    if "positive" in wish:
        with pytest.raises(UsageError, match="goes with one label an image"):
            read_table(nih, options=ReadOptions(task="multi", **wish))


def test_findings_that_a_table_lacks_are_unknown(nih, caplog):
    table = with_findings(read_table(nih), ("Effusion", "Edema"))
    assert np.isnan(table.targets[:, 1]).all()
    assert "tells nothing of Edema" in caplog.text


def test_views_are_kept_by_group_and_by_name(nih, caplog):
    caplog.set_level(logging.INFO)
    assert len(read_table(nih, options=ReadOptions(views="frontal"))) == 5
    assert len(read_table(nih, options=ReadOptions(views="PA"))) == 3
    assert "--views PA leaves out 2 of 5 images (3 PA, 2 AP)" in caplog.text
    with pytest.raises(DataError, match=r"No image of .* is lateral: it has 3 PA, 2 AP"):
        read_table(nih, options=ReadOptions(views="lateral"))


def test_views_need_a_column(tiny):
    with pytest.raises(UsageError, match="needs a column of projections"):
        read_source(tiny, options=ReadOptions(views="frontal"))


def chexpert(folder: Path, rows: dict[str, str], name: str = "train.csv") -> Path:
    draw(*(folder / path for path in rows))
    lines = (f"CheXpert-v1.0-small/{path},Female,60,{rest}\n" for path, rest in rows.items())
    (folder / name).write_text(CHEXPERT_HEADER + "".join(lines))
    return folder / name


@pytest.fixture
def films(tmp_path: Path) -> Path:
    blank = "," * (len(CHEXPERT) - 1)
    values = {"Cardiomegaly": "1.0", "Edema": "-1.0", "Pneumonia": "0.0"}
    cells = ",".join(values.get(name, "") for name in CHEXPERT)
    rows = {
        "train/patient00001/study1/view1_frontal.jpg": f"Frontal,AP,,{cells}",
        "train/patient00001/study1/view2_lateral.jpg": f"Lateral,,,{cells}",
        "train/patient00002/study1/view1_frontal.jpg": f"Frontal,PA,1.0,{blank}1.0",
    }
    return chexpert(tmp_path / "set", rows)


def test_chexpert_tells_present_absent_uncertain_and_unknown(films):
    table = read_table(films)
    assert table.findings == CHEXPERT
    ill, _, healthy = table
    values = dict(zip(CHEXPERT, ill.findings, strict=True))
    assert [values[n] for n in ("Cardiomegaly", "Edema", "Pneumonia", "Fracture")] == [1, UNCERTAIN, 0, None]
    values = dict(zip(CHEXPERT, healthy.findings, strict=True))
    assert values.pop("Support Devices") == 1
    assert set(values.values()) == {0}, "without a finding all but devices are absent"
    assert (ill.patient, healthy.patient, ill.split) == ("patient00001", "patient00002", None)
    assert len(read_table(films, options=ReadOptions(views="frontal"))) == 2


def test_chexperts_folder_holds_two_splits(films, tmp_path):
    chexpert(films.parent, {"valid/patient64541/study1/view1_frontal.jpg": "Frontal,AP,0.0" + ",0.0" * 13}, "valid.csv")
    table = read_table(films.parent)
    assert [s.split for s in table] == ["train"] * 3 + ["val"]
    assert table.targets[3].tolist() == [0] * len(CHEXPERT)


def test_brax_has_chexperts_columns(tmp_path):
    draw(tmp_path / "Anonymized_PNGs" / "a.png", tmp_path / "Anonymized_PNGs" / "b.png")
    header = f"DicomPath,PngPath,PatientID,PatientSex,No Finding,{','.join(CHEXPERT)},ViewPosition\n"
    rows = "".join(f"x.dcm,Anonymized_PNGs/{n}.png,{n},M,,1{',' * len(CHEXPERT)}PA\n" for n in "ab")
    (tmp_path / "master_spreadsheet_update.csv").write_text(header + rows)
    table = read_table(tmp_path / "master_spreadsheet_update.csv", options=ReadOptions(views="PA"))
    assert [s.patient for s in table] == ["a", "b"]
    assert table.targets[0, 0] == 1
    assert np.isnan(table.targets[0, 1:]).all()


def own(folder: Path, text: str) -> Path:
    draw(*(folder / f"{name}.png" for name in "abcd"))
    (folder / "own.csv").write_text(text)
    return folder / "own.csv"


COLUMNS = "image,edema,Mass,age\na.png,1,0,50\nb.png,-1,,60\nc.png,0.0,1.0,70\nd.png,,,80\n"


def test_columns_of_ones_and_zeros(tmp_path, caplog):
    path = own(tmp_path, COLUMNS)
    table = read_table(path, options=ReadOptions(labels="Edema, Mass"))
    assert told(table) == {
        "a": {"Edema": 1, "Mass": 0},
        "b": {"Edema": UNCERTAIN, "Mass": None},
        "c": {"Edema": 0, "Mass": 1},
        "d": {"Edema": None, "Mass": None},
    }
    assert [s.label for s in table] == [1, None, 1, None]
    assert "1 of 4 images" in caplog.text
    assert len(table.labelled()) == 3
    filled = read_table(path, options=ReadOptions(labels="edema,Mass", blank="absent"))
    assert told(filled)["d"] == {"edema": 0, "Mass": 0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": "edema,Effusion"}, "has no column 'Effusion'; it has: image, edema, Mass, age"),
        ({"labels": "age"}, "Line 2 of .* has '50' in age, which is no label of a finding"),
        ({"labels": "edema", "task": "many"}, "Unknown task 'many'"),
        ({"labels": "edema", "blank": "no"}, "Unknown meaning 'no'"),
    ],
)
def test_columns_that_are_no_labels(tmp_path, options, words):
    with pytest.raises((DataError, UsageError), match=words):
        read_table(own(tmp_path, COLUMNS), options=ReadOptions(**options))


def test_labels_that_are_all_blank(tmp_path):
    path = own(tmp_path, "image,edema,mass\na.png,,\nb.png,,\n")
    with pytest.raises(DataError, match=r"Nothing is known of edema, mass in .*--blank absent"):
        read_table(path, options=ReadOptions(labels="edema,mass"))


def test_one_cell_with_separators(tmp_path):
    path = own(tmp_path, "image,label\na.png,Mass;Edema\nb.png,normal\nc.png,unknown\nd.png,Edema\n")
    table = read_table(path, options=ReadOptions(label_separator=";"))
    assert told(table)["a"] == {"Edema": 1, "Mass": 1}
    assert told(table)["b"] == {"Edema": 0, "Mass": 0}
    assert told(table)["c"] == {"Edema": None, "Mass": None}


def test_one_label_an_image_stays_one_label(tmp_path):
    path = own(tmp_path, "image,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n")
    assert read_table(path).findings == ()
    with pytest.raises(UsageError, match="tells one label an image"):
        read_table(path, options=ReadOptions(task="multi"))


def test_chestmnist_has_fourteen_named_findings(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        arrays[f"{split}_images"] = rng.integers(0, 255, (count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = rng.integers(0, 2, (count, 14))
    np.savez(tmp_path / "chestmnist.npz", **arrays)
    table = read_table(tmp_path / "chestmnist.npz")
    assert (table.findings[0], table.findings[-1], len(table.findings)) == ("atelectasis", "hernia", 14)
    np.testing.assert_array_equal(table.split("val").targets, arrays["val_labels"])


def test_a_prepared_store_keeps_findings(films, tmp_path):
    prepare(films, tmp_path / "store", size=8)
    stored = read_source(tmp_path / "store")
    original = read_table(films)
    assert (stored.findings, [s.findings for s in stored]) == (original.findings, [s.findings for s in original])


def test_drawn_splits_hold_a_share_of_every_finding(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"p{number:04d}_1.png" for number in range(120)]
    draw(*(tmp_path / name for name in names))
    rows = [f"{name},{int(n % 3 == 0)},{int(n % 10 == 0)},{rng.integers(0, 2)}\n" for n, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("path,common,rare,even\n" + "".join(rows))
    table = load_table(tmp_path / "t.csv", options=ReadOptions(labels="common,rare,even"))
    for split in ("val", "test"):
        share = table.split(split).targets.sum(axis=0) / table.targets.sum(axis=0)
        assert (np.abs(share - 0.15) < 0.08).all(), share


def test_data_list_counts_every_finding(films):
    printed = CliRunner().invoke(app, ["data", "list", str(films)]).stdout
    assert "  Edema: 1 absent, 2 uncertain" in printed.splitlines()
    found = json.loads(CliRunner().invoke(app, ["data", "list", str(films), "--json"]).stdout)
    assert found["parts"]["all"]["findings"]["Edema"] == {"present": 0, "absent": 1, "uncertain": 2, "unknown": 0}


def mimic(folder: Path) -> Path:
    films = {"a" * 8: ("10000032", "50414267"), "b" * 8: ("10000032", "50414267"), "c" * 8: ("11000011", "51029426")}
    paths = {name: f"files/p{subject[:2]}/p{subject}/s{study}/{name}.jpg" for name, (subject, study) in films.items()}
    draw(*(folder / path for path in paths.values()))
    names = ("Atelectasis", *(name for name in CHEXPERT if name != "Atelectasis"), "No Finding")
    blank = "," * (len(CHEXPERT) - 1)
    rows = f"10000032,50414267,1.0{blank},\n11000011,51029426,-1.0,0.0{blank[1:]},\n"
    labels = folder / "mimic-cxr-2.0.0-chexpert.csv"
    labels.write_text(f"subject_id,study_id,{','.join(names)}\n{rows}")
    views = zip(films.items(), ("PA", "LATERAL", "AP"), strict=True)
    rows = "".join(f"{name},{subject},{study},{view}\n" for (name, (subject, study)), view in views)
    (folder / "mimic-cxr-2.0.0-metadata.csv").write_text(f"dicom_id,subject_id,study_id,ViewPosition\n{rows}")
    splits = zip(films.items(), ("train", "train", "validate"), strict=True)
    rows = "".join(f"{name},{study},{subject},{split}\n" for (name, (subject, study)), split in splits)
    (folder / "mimic-cxr-2.0.0-split.csv").write_text(f"dicom_id,study_id,subject_id,split\n{rows}")
    return labels


def test_mimic_joins_studies_films_and_splits(tmp_path):
    table = read_table(mimic(tmp_path))
    assert [s.path.stem for s in table] == ["a" * 8, "b" * 8, "c" * 8]
    assert [(s.patient, s.split) for s in table] == [("p10000032", "train")] * 2 + [("p11000011", "val")]
    at = table.findings.index("Atelectasis")
    assert [s.findings[at] for s in table] == [1, 1, UNCERTAIN]
    assert len(read_table(tmp_path, options=ReadOptions(views="frontal"))) == 2
    (tmp_path / "mimic-cxr-2.0.0-metadata.csv").unlink()
    with pytest.raises(DataError, match=r"no \*metadata\.csv beside it tells their films"):
        read_table(tmp_path)


def test_padchest_lists_labels_and_leaves_out_what_is_no_chest(tmp_path):
    draw(*(tmp_path / "0" / f"{name}.png" for name in "abcd"))
    header = ",ImageID,ImageDir,StudyID,PatientID,Projection,Labels\n"
    cells = ("['pleural effusion', 'nodule']", "['normal']", "['exclude']", "['nodule', 'unchanged', '']")
    rows = "".join(f'{n},{"abcd"[n]}.png,0,s{n},{n},PA,"{cell}"\n' for n, cell in enumerate(cells))
    (tmp_path / "padchest.csv").write_text(header + rows)
    table = read_table(tmp_path / "padchest.csv", options=ReadOptions(views="PA"))
    assert table.findings == ("nodule", "pleural effusion")
    assert [s.findings for s in table] == [(1, 1), (0, 0), (None, None), (1, 0)]
    assert [s.patient for s in table] == list("0123")


def test_vindr_counts_the_readers_of_each_film(tmp_path):
    draw(tmp_path / "a.png", tmp_path / "b.png")
    lines = ["a,Nodule/Mass,8,R1,1,2,3,4", "a,Nodule/Mass,8,R2,1,2,3,4", "a,Cardiomegaly,3,R2,5,6,7,8"]
    lines += ["a,No finding,14,R3,,,,", *(f"b,No finding,14,R{n},,,," for n in (1, 2, 3))]
    header = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
    (tmp_path / "train.csv").write_text(header + "\n".join(lines) + "\n")
    table = read_table(tmp_path / "train.csv")
    assert table.findings == ("Cardiomegaly", "Nodule/Mass")
    assert [s.findings for s in table] == [(UNCERTAIN, 1), (0, 0)]
    assert [s.boxes for s in table] == [(Box("Nodule/Mass", 1, 2, 3, 4),) * 2, ()]  # one reader's alone isn't present
    columns = "image_id,rad_id,Cardiomegaly,Nodule/Mass,No finding\na,R1,0,1,0\na,R2,1,1,0\na,R3,0,0,1\n"
    (tmp_path / "image_labels_train.csv").write_text(columns + "".join(f"b,R{n},0,0,1\n" for n in (1, 2, 3)))
    labels = read_table(tmp_path / "image_labels_train.csv")
    assert (labels.findings, [s.findings for s in labels]) == (table.findings, [s.findings for s in table])
    (tmp_path / "train.csv").write_text(header + "\n".join([*lines, "b,Cardiomegaly,3,R1,5,,7,8"]) + "\n")
    with pytest.raises(DataError, match=r"Line 9 of .*train\.csv has 5, nothing, 7, 8 in x_min, .* is no box"):
        read_table(tmp_path / "train.csv")


def test_a_table_of_splits_keeps_chexperts_findings(tmp_path):
    rows = {f"train/patient0000{n}/study1/view1_frontal.jpg": "Frontal,AP," + f",{n - 1}.0" * 13 for n in (1, 2)}
    table = read_table(chexpert(tmp_path / "set", rows))
    splits = dict(zip(("patient00001", "patient00002"), SPLITS, strict=False))
    write_table_csv(
        table.with_samples(replace(s, split=splits[s.patient or ""]) for s in table), tmp_path / "split.csv"
    )
    again = read_table(tmp_path / "split.csv")
    assert [s.findings for s in again] == [s.findings for s in table]
    assert [s.split for s in again] == ["train", "val"]


def test_a_phantom_of_several_findings_reads_back_with_its_boxes(tmp_path):
    drawn = write_phantom(tmp_path, images=40, seed=3, size=96, layout="nih", findings=5)
    table = read_table(tmp_path)
    assert set(table.findings) == set(PHANTOM)
    for sample, original in zip(table, drawn, strict=True):
        shown = {name for name, value in zip(table.findings, sample.findings, strict=True) if value == 1}
        assert {box.label for box in sample.boxes} <= shown
        assert bool(shown) == (original.label == 1)
    boxed = {box.label for sample in table for box in sample.boxes}
    assert boxed == set(PHANTOM)
    assert max(sum(value or 0 for value in sample.findings) for sample in table) > 1


def test_a_phantom_of_findings_needs_tables_that_tell_them(tmp_path):
    with pytest.raises(UsageError, match="--findings goes with --layout nih"):
        write_phantom(tmp_path, images=6, findings=5)
    with pytest.raises(UsageError, match="Ask for 2 to 5"):
        write_phantom(tmp_path, images=6, layout="nih", findings=1)
