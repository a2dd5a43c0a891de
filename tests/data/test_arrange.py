import csv
import errno
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.data.arrange import METADATA, arrange, read_coronahack
from xraycls.data.files import atomic_write
from xraycls.data.phantom import draw_radiograph
from xraycls.data.source import read_source, read_table
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError, XrayclsError
from xraycls.types import Sample

HEADER = ",X_ray_image_name,Label,Dataset_type,Label_2_Virus_category,Label_1_Virus_category"
ROWS = (
    ("IM-0115-0001.jpeg", "Normal", "TRAIN", "", ""),
    ("NORMAL2-IM-0200-0001.jpeg", "Normal", "TRAIN", "", ""),
    ("IM-0300-0001.jpeg", "Normal", "TEST", "", ""),
    ("person3_bacteria_10.jpeg", "Pnemonia", "TRAIN", "", "bacteria"),
    ("person4_virus_11.jpeg", "Pnemonia", "TRAIN", "", "Virus"),
    ("covid é 1.jpg", "Pnemonia", "TRAIN", "COVID-19", "Virus"),
    ("person5_virus_12.jpeg", "Pnemonia", "TEST", "SARS", "Virus"),
    ("smoke.png", "Pnemonia", "TEST", "", "Stress-Smoking"),
)


@pytest.fixture(scope="module")
def drawn():
    """A radiograph for every row."""
    return [draw_radiograph(7, n + 1, 1, pneumonia=row[1] != "Normal", size=128).grey(8) for n, row in enumerate(ROWS)]


def written(root: Path, drawn, rows=ROWS) -> Path:
    """The set as Kaggle's archive unpacks."""
    inside = root / "Coronahack-Chest-XRay-Dataset" / "Coronahack-Chest-XRay-Dataset"
    for (name, _, split, *_), picture in zip(rows, drawn, strict=True):
        (inside / split.lower()).mkdir(parents=True, exist_ok=True)
        (inside / split.lower() / name).write_bytes(cv2.imencode(Path(name).suffix, picture)[1].tobytes())
    lines = [HEADER, *(",".join((str(number), *row)) for number, row in enumerate(rows))]
    (root / "Chest_xray_Corona_Metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.fixture
def source(tmp_path, drawn):
    return written(tmp_path / "corona hack", drawn)


def file_of(source, name):
    return next(source.rglob(name))


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return {Path(row["original"] if "original" in row else row["path"]).name: row for row in csv.DictReader(handle)}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_table_of_coronahack_is_read_with_its_subtypes(source):
    table = read_coronahack(source)
    assert table.classes == ("NORMAL", "PNEUMONIA")
    told = {s.path.name: (table.classes[s.label], s.split, s.patient, dict(s.attributes)) for s in table}
    assert told == {
        "IM-0115-0001.jpeg": ("NORMAL", "train", "0115", {}),
        "NORMAL2-IM-0200-0001.jpeg": ("NORMAL", "train", "0200", {}),
        "IM-0300-0001.jpeg": ("NORMAL", "test", "0300", {}),
        "person3_bacteria_10.jpeg": ("PNEUMONIA", "train", "person3", {"subtype": "bacteria"}),
        "person4_virus_11.jpeg": ("PNEUMONIA", "train", "person4", {"subtype": "virus"}),
        "covid é 1.jpg": ("PNEUMONIA", "train", None, {"subtype": "virus", "cause": "COVID-19"}),
        "person5_virus_12.jpeg": ("PNEUMONIA", "test", "person5", {"subtype": "virus", "cause": "SARS"}),
        "smoke.png": ("PNEUMONIA", "test", None, {"subtype": "stress-smoking"}),
    }


def test_pictures_go_to_their_split_and_class_and_the_source_stays(source, tmp_path):
    before, out = contents(source), tmp_path / "out"
    made = arrange(read_coronahack(source), out)
    assert contents(source) == before
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.*p*g")} == {
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0200-0001.jpeg",
        "train/PNEUMONIA/person3_bacteria_10.jpeg",
        "train/PNEUMONIA/person4_virus_11.jpeg",
        "train/PNEUMONIA/covid é 1.jpg",
        "test/NORMAL/IM-0300-0001.jpeg",
        "test/PNEUMONIA/person5_virus_12.jpeg",
        "test/PNEUMONIA/smoke.png",
    }
    assert (made.new, made.left_out, made.rejected) == (8, 0, {})
    assert not (out / "rejected.csv").exists()
    rows = rows_of(out / "metadata.csv")
    assert rows["covid é 1.jpg"] == {
        "path": "train/PNEUMONIA/covid é 1.jpg",
        "label": "PNEUMONIA",
        "patient": "",
        "split": "train",
        "original": "Coronahack-Chest-XRay-Dataset/Coronahack-Chest-XRay-Dataset/train/covid é 1.jpg",
        "subtype": "virus",
        "cause": "COVID-19",
    }


def test_the_folder_and_its_table_are_both_data_sources(source, tmp_path):
    arrange(read_coronahack(source), tmp_path / "out")
    by_folder, by_table = read_table(tmp_path / "out"), read_table(tmp_path / "out" / "metadata.csv")
    assert by_folder.classes == by_table.classes == ("NORMAL", "PNEUMONIA")
    assert [(s.path, s.label, s.split) for s in by_folder] == [(s.path, s.label, s.split) for s in by_table]


@pytest.mark.parametrize("copy", [False, True])
def test_files_are_linked_or_copied(copy, source, tmp_path):
    arrange(read_coronahack(source), tmp_path / "out", copy=copy)
    one, other = file_of(source, "smoke.png"), tmp_path / "out/test/PNEUMONIA/smoke.png"
    assert one.read_bytes() == other.read_bytes()
    assert other.samefile(one) is not copy


def test_where_there_are_no_links_files_are_copied(source, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    arrange(read_coronahack(source), tmp_path / "out")
    assert (tmp_path / "out/test/PNEUMONIA/smoke.png").read_bytes() == file_of(source, "smoke.png").read_bytes()


def test_a_central_crop_is_exact_and_lossless(source, tmp_path):
    made = arrange(read_coronahack(source), tmp_path / "out", central_crop=0.8)
    for sample, original in zip(made.table, read_coronahack(source), strict=True):
        whole = cv2.imread(str(original.path), cv2.IMREAD_GRAYSCALE)
        width, height = round(whole.shape[1] * 0.8), round(whole.shape[0] * 0.8)
        left, top = (whole.shape[1] - width) // 2, (whole.shape[0] - height) // 2
        assert sample.path.suffix == ".png"
        cropped = cv2.imread(str(sample.path), cv2.IMREAD_UNCHANGED)
        assert (cropped == whole[top : top + height, left : left + width]).all()


def test_a_crop_of_everything_is_none(source, tmp_path):
    made = arrange(read_coronahack(source), tmp_path / "out", central_crop=1.0)
    assert made.table[0].path.suffix == ".jpeg"


def spoil(source):
    """Plant a fault of every kind; returns the reasons by file name."""
    turned = cv2.rotate(cv2.imread(str(file_of(source, "smoke.png")), 0), cv2.ROTATE_180)
    cv2.imwrite(str(file_of(source, "smoke.png")), turned)
    cv2.imwrite(str(file_of(source, "IM-0115-0001.jpeg")), np.zeros((200, 200), np.uint8))
    shutil.copyfile(file_of(source, "person3_bacteria_10.jpeg"), file_of(source, "person4_virus_11.jpeg"))
    file_of(source, "person5_virus_12.jpeg").write_bytes(b"no picture")
    return {
        "smoke.png": "rotated",
        "IM-0115-0001.jpeg": "blank",
        "person4_virus_11.jpeg": "duplicate",
        "person5_virus_12.jpeg": "unreadable",
    }


def test_bad_pictures_are_listed_with_reasons_and_shown(source, tmp_path):
    reasons = spoil(source)
    made = arrange(read_coronahack(source), tmp_path / "out")
    rows = rows_of(tmp_path / "out/rejected.csv")
    assert {name: row["reasons"] for name, row in rows.items()} == reasons
    assert rows["smoke.png"]["path"] == str(file_of(source, "smoke.png"))
    assert rows["smoke.png"]["label"] == "PNEUMONIA"
    assert made.left_out == 4
    assert made.rejected == dict.fromkeys(reasons.values(), 1)
    assert {s.path.name for s in made.table}.isdisjoint(reasons)
    assert len(list((tmp_path / "out").rglob("*.*p*g"))) == 4 + 1
    sheet = cv2.imread(str(tmp_path / "out/rejected.png"))
    assert sheet.shape[1] == 14 + 2 * (200 + 14)
    # The sheet doesn't disturb who reads the folder.
    assert len(read_table(tmp_path / "out")) == 4


def test_bad_pictures_are_kept_on_request_except_what_cannot_be_read(source, tmp_path):
    reasons = spoil(source)
    made = arrange(read_coronahack(source), tmp_path / "out", keep_bad=True)
    assert made.rejected == {"unreadable": 1}
    told = {Path(dict(s.attributes)["original"]).name: dict(s.attributes).get("quality", "") for s in made.table}
    assert {name: reason for name, reason in told.items() if reason} == {
        name: reason for name, reason in reasons.items() if reason != "unreadable"
    }


@pytest.mark.parametrize("crop", [None, 0.9])
def test_interrupted_the_same_call_goes_on(crop, source, tmp_path, monkeypatch):
    table, out = read_coronahack(source), tmp_path / "out"
    whole = arrange(table, tmp_path / "whole", central_crop=crop)
    done = []

    def stop(count, total):
        done.append(count)
        if len(done) > len(table) + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arrange(table, out, central_crop=crop, progress=stop)
    assert not (out / "metadata.csv").exists()
    there = len(list(out.rglob("*.*p*g")))
    (out / "train/NORMAL/.a.0123abcd.png").write_bytes(b"half a file of a killed run")
    made = arrange(table, out, central_crop=crop)
    assert 0 < there <= len(table)
    assert made.new == len(table) - there
    assert contents(out) == contents(whole.folder)
    assert arrange(table, out, central_crop=crop).new == 0


def test_a_file_that_changed_is_written_again(source, tmp_path):
    arrange(read_coronahack(source), tmp_path / "out", central_crop=0.9)
    file = file_of(source, "smoke.png")
    cv2.imwrite(str(file), 255 - (255 - cv2.imread(str(file), 0)) // 2)
    made = arrange(read_coronahack(source), tmp_path / "out", central_crop=0.9)
    assert made.new == 1
    assert cv2.imread(str(tmp_path / "out/test/PNEUMONIA/smoke.png"), 0).min() >= 127


def test_a_sheet_of_rejected_pictures_goes_when_all_are_good(source, tmp_path, drawn):
    spoil(source)
    arrange(read_coronahack(source), tmp_path / "out")
    written(source, drawn)
    made = arrange(read_coronahack(source), tmp_path / "out")
    assert made.left_out == 0
    assert not list((tmp_path / "out").glob("rejected.*"))


def test_any_source_with_labels_can_be_arranged(draw_folder, tmp_path):
    source = draw_folder(tmp_path / "source", {"train": 2, "val": 1}, side=120)
    copy = source / "train/NORMAL/more/train-NORMAL-0.jpeg"
    copy.parent.mkdir()
    cv2.imwrite(str(copy), cv2.imread(str(source / "train/NORMAL/train-NORMAL-1.jpeg"), 0) // 2 + 40)
    made = arrange(read_source(source), tmp_path / "out", keep_bad=True)
    assert [s.path.relative_to(tmp_path / "out").as_posix() for s in made.table.split("train")] == [
        "train/NORMAL/train-NORMAL-0.jpeg",
        "train/NORMAL/train-NORMAL-1.jpeg",
        "train/NORMAL/train-NORMAL-0-2.jpeg",
        "train/PNEUMONIA/train-PNEUMONIA-0.jpeg",
        "train/PNEUMONIA/train-PNEUMONIA-1.jpeg",
    ]
    assert (tmp_path / "out/train/NORMAL/train-NORMAL-0-2.jpeg").samefile(copy)


def test_a_name_of_200_characters_with_accents_and_spaces(tmp_path, drawn):
    name = "é " * 25 + "x" * 145 + ".jpeg"
    source = written(tmp_path / "in", drawn[:1], [(name, "Normal", "TRAIN", "", "")])
    made = arrange(read_coronahack(source), tmp_path / "out")
    assert made.table[0].path.name == name
    assert len(read_table(tmp_path / "out" / "metadata.csv")) == 1


LABELS = {
    "No Lung Opacity / Not Normal": "No Lung Opacity - Not Normal",
    "../../../up": "-..-..-up",
    "..": "-",
    ".hidden ": "hidden",
    "C:\\x": "C--x",
    "è ü": "è ü",
}


def labelled(tmp_path, drawn, labels):
    """A data set that has a picture of each of these labels."""
    samples = [Sample(tmp_path / "in" / f"{number}.png", number) for number in range(len(labels))]
    for sample, picture in zip(samples, drawn, strict=False):
        sample.path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(sample.path), picture)
    return SampleTable(tuple(samples), tuple(labels), tmp_path / "in", "csv")


def test_every_class_is_one_folder_whatever_its_name(tmp_path, drawn):
    made = arrange(labelled(tmp_path, drawn, LABELS), tmp_path / "a" / "b" / "out")
    assert {path.name for path in made.folder.iterdir() if path.is_dir()} == set(LABELS.values())
    assert {path.name for path in tmp_path.iterdir()} == {"in", "a"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"b"}
    assert {row["label"] for row in rows_of(made.folder / "metadata.csv").values()} == set(LABELS)
    assert set(read_table(made.folder).classes) == set(LABELS.values())


def test_classes_that_would_share_a_folder_are_refused(tmp_path, drawn):
    with pytest.raises(DataError, match=r"The classes 'a/b' and 'A-b' of .*in would share a folder\. Rename one"):
        arrange(labelled(tmp_path, drawn, ["a/b", "c", "A-b"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_table_keeps_patients_that_names_of_files_do_not_tell(tmp_path, drawn):
    table = labelled(tmp_path, drawn, ["NORMAL", "PNEUMONIA"])
    table = table.with_samples(replace(s, patient=f"p{s.label}", attributes=(("subtype", "x"),)) for s in table)
    read = read_table(arrange(table, tmp_path / "out").folder / METADATA)
    assert [s.patient for s in read] == ["p0", "p1"]
    assert {dict(s.attributes)["subtype"] for s in read} == {"x"}


def one_more(tmp_path, source, what):
    out = tmp_path / "out"
    arrange(read_coronahack(source), out)
    (out / "train/NORMAL" / what).write_bytes(b"")
    return out


MISTAKES = {
    "into the source": (lambda tmp, source: source, {}, "corona hack lies inside .*corona hack, which stays as it is"),
    "below the source": (lambda tmp, source: source / "new", {}, "new lies inside"),
    "into a file": (lambda tmp, source: source / "../file", {}, "file is a file"),
    "among other things": (lambda tmp, source: tmp, {}, "holds something else"),
    "with a stranger": (
        lambda tmp, source: one_more(tmp, source, "x.png"),
        {},
        "1 pictures that don't belong .* x.png",
    ),
    "in another way": (lambda tmp, source: one_more(tmp, source, "x.txt"), {"keep_bad": True}, "in another way"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_folders_that_are_refused(mistake, source, tmp_path):
    (tmp_path / "file").write_text("")
    place, arguments, message = MISTAKES[mistake]
    folder = place(tmp_path, source)
    before = contents(tmp_path)
    with pytest.raises(DataError, match=message):
        arrange(read_coronahack(source), folder, **arguments)
    assert contents(tmp_path) == before


def test_other_mistakes_are_one_sentence(source, tmp_path):
    table = read_coronahack(source)
    with pytest.raises(UsageError, match=r"--central-crop 90"):
        arrange(table, tmp_path / "out", central_crop=90)
    inside = SampleTable((Sample(tmp_path / "x.npz", 0, member="images", row=3),), ("a",), tmp_path, "medmnist")
    with pytest.raises(DataError, match=r"x\.npz:images\[3\] is no file of its own"):
        arrange(inside, tmp_path / "out")
    with pytest.raises(DataError, match="has no label"):
        arrange(SampleTable((Sample(table[0].path),), (), source, "files"), tmp_path / "out")
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.zeros((200, 200), np.uint8))
    with pytest.raises(DataError, match=r"has no good picture: .*blank\.png is blank"):
        arrange(SampleTable((Sample(blank, 0),), ("a",), blank, "files"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence_and_the_same_call_goes_on(source, tmp_path, monkeypatch):
    def full(one, other):
        with atomic_write(other):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("xraycls.data.arrange.write.share_file", full)
        with pytest.raises(XrayclsError, match="The disk is full"):
            arrange(read_coronahack(source), tmp_path / "out")
    assert arrange(read_coronahack(source), tmp_path / "out").new == 8


TABLES = {
    "no folder": (lambda source: source / "no", "There is no folder .*no"),
    "no table": (lambda source: source / "Coronahack-Chest-XRay-Dataset", "holds no Chest_xray_Corona_Metadata.csv"),
}


@pytest.mark.parametrize("mistake", TABLES)
def test_what_is_not_coronahack(mistake, source):
    place, message = TABLES[mistake]
    with pytest.raises(DataError, match=message):
        read_coronahack(place(source))


def test_two_tables_and_other_labels_are_refused(source):
    table = source / "Chest_xray_Corona_Metadata.csv"
    (source / "copy").mkdir()
    shutil.copy(table, source / "copy")
    with pytest.raises(DataError, match="more than once"):
        read_coronahack(source)
    shutil.rmtree(source / "copy")
    table.write_text(table.read_text(encoding="utf-8").replace("Normal", "Healthy"), encoding="utf-8")
    with pytest.raises(DataError, match="has the label 'Healthy'"):
        read_coronahack(source)


def test_rows_without_pictures_and_pictures_without_rows_are_counted(source, caplog):
    file_of(source, "smoke.png").unlink()
    shutil.copy(file_of(source, "IM-0115-0001.jpeg"), file_of(source, "IM-0115-0001.jpeg").with_name("stranger.jpeg"))
    with caplog.at_level("INFO"):
        table = read_coronahack(source)
    assert len(table) == 7
    assert "smoke.png" in caplog.text
    assert "stranger.jpeg" in caplog.text


@pytest.mark.exhaustive
def test_the_real_paediatric_films_pass(shared, tmp_path):
    made = arrange(read_source(shared / "data/kermany_native"), tmp_path / "out", central_crop=0.9)
    assert (len(made.table), made.left_out) == (120, 0)
