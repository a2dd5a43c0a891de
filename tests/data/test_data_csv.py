import csv
import io
import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from xraycls.data.class_names import is_no_class, plain_class
from xraycls.data.csv import COLUMNS, read_csv
from xraycls.data.rows import cell_text
from xraycls.data.table import SampleTable
from xraycls.errors import DataError

CORONAHACK = ",X_ray_image_name,Label,Dataset_type,Label_2_Virus_category,Label_1_Virus_category\n"


def write(folder: Path, text: str, *images: str, encoding: str = "utf-8") -> Path:
    for name in images:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def rows(table: SampleTable) -> list[tuple[str, str, str | None, str | None]]:
    return [
        (s.path.relative_to(table.root).as_posix(), table.classes[s.label], s.patient, s.split)
        for s in table
        if s.label is not None
    ]


def test_all_columns(tmp_path):
    path = write(
        tmp_path,
        "path,label,patient,split\nx/b.png,sick,p1,train\na.png,well,,TEST\nx/c.png, sick ,p2,Valid\n",
        "a.png",
        "x/b.png",
        "x/c.png",
    )
    table = read_csv(path)
    assert rows(table) == [
        ("a.png", "well", None, "test"),
        ("x/b.png", "sick", "p1", "train"),
        ("x/c.png", "sick", "p2", "val"),
    ]
    assert (table.classes, table.source) == (("well", "sick"), "csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_byte_order_marks_and_line_ends(tmp_path, delimiter, encoding, newline):
    text = newline.join(["File Name,CLASS", '"a, b.png","x;y"', "c.png,z"]).replace(",C", f"{delimiter}C")
    text = text.replace('","', f'"{delimiter}"').replace("g,z", f"g{delimiter}z")
    table = read_csv(write(tmp_path, text, "a, b.png", "c.png", encoding=encoding))
    assert [row[:2] for row in rows(table)] == [("a, b.png", "x;y"), ("c.png", "z")]


@pytest.mark.parametrize("role", COLUMNS)
def test_every_alias_in_any_case(tmp_path, role):
    values = {"path": "a.png", "label": "x", "patient": "p", "split": "test"}
    for alias in COLUMNS[role]:
        for name in (alias, alias.upper(), alias.lower().replace("_", " ")):
            header = ",".join(name if each == role else each for each in values)
            path = write(tmp_path, f"{header}\n{','.join(values.values())}\n", "a.png")
            assert rows(read_csv(path)) == [("a.png", "x", "p", "test")]


def test_the_first_alias_wins(tmp_path):
    path = write(tmp_path, "image,path,class,label\n1,a.png,2,x\n", "a.png")
    assert rows(read_csv(path)) == [("a.png", "x", None, None)]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("Finding", "No Finding"), ("No Finding", "Finding")),
        (("bacteria", "NORMAL", "virus"), ("NORMAL", "bacteria", "virus")),
        (("Abnormal", "normal_"), ("normal_", "Abnormal")),
        (("No Lung Opacity / Not Normal", "Mass"), ("Mass", "No Lung Opacity / Not Normal")),
    ],
)
def test_healthy_classes_come_first(tmp_path, labels, expected):
    for label in range(len(labels)):
        (tmp_path / f"{label}.png").touch()
    rows = "".join(f"{number}.png,{label}\n" for number, label in enumerate(labels))
    (tmp_path / "set.csv").write_text("path,label\n" + rows)
    table = read_csv(tmp_path / "set.csv")
    assert table.classes == expected
    assert [table.classes[sample.label] for sample in table] == list(labels)


def test_numeric_classes_are_sorted_by_value(tmp_path):
    names = ["a.png", "b.png", "c.png"]
    path = write(tmp_path, "path,label\na.png,10\nb.png,2\nc.png,0\n", *names)
    assert read_csv(path).classes == ("0", "2", "10")


def test_the_coronahack_metadata_as_it_is(tmp_path):
    body = "0,IM-0128-0001.jpeg,Normal,TRAIN,,\n1,person1_virus_6.jpeg,Pnemonia,TEST,,Virus\n"
    body += "2,IM-0001-0001.jpeg,Normal,TRAIN,,\n3,IM-0001-0001.jpeg,Normal,TEST,,\n"
    inner = "Coronahack-Chest-XRay-Dataset/Coronahack-Chest-XRay-Dataset"
    write(tmp_path, "", *(f"{inner}/train/{n}" for n in ("IM-0128-0001.jpeg", "IM-0001-0001.jpeg")))
    path = write(tmp_path, CORONAHACK + body, f"{inner}/test/person1_virus_6.jpeg", f"{inner}/test/IM-0001-0001.jpeg")
    table = read_csv(path)
    assert table.classes == ("Normal", "Pnemonia")
    assert rows(table) == [
        (f"{inner}/test/IM-0001-0001.jpeg", "Normal", None, "test"),
        (f"{inner}/test/person1_virus_6.jpeg", "Pnemonia", None, "test"),
        (f"{inner}/train/IM-0001-0001.jpeg", "Normal", None, "train"),
        (f"{inner}/train/IM-0128-0001.jpeg", "Normal", None, "train"),
    ]


def test_the_paediatric_set_through_coronahack_columns(tmp_path, shared):
    root = shared / "data/kermany_224"
    files = [f for split in ("train", "test") for f in sorted((root / split).rglob("*.jpeg"))]
    lines = [f"{i},{f.name},{f.parent.name},{f.parts[-3].upper()},,\n" for i, f in enumerate(files)]
    table = read_csv(write(tmp_path, CORONAHACK + "".join(lines)), images=root)
    assert [tuple(table.split(s).counts().values()) for s in table.splits] == [(1341, 3875), (234, 390)]
    assert {s.path for s in table} == set(files)


def test_paths_start_from_the_images_folder_then_from_the_csv(tmp_path):
    path = write(tmp_path, "path,label\na.png,x\nb.png,y\n", "a.png", "b.png", "pictures/a.png")
    (tmp_path / "absolute.png").touch()
    with path.open("a") as file:
        file.write(f"{tmp_path / 'absolute.png'},x\npictures\\a.png,x\n")
    with pytest.raises(DataError, match="Lines 2 and 5"):  # a.png, found in two ways, with other labels
        read_csv(write(tmp_path, path.read_text().replace("a.png,x", "a.png,y", 1)), images=tmp_path / "pictures")
    table = read_csv(path)
    assert [s.path.relative_to(tmp_path).as_posix() for s in table] == [
        "a.png",
        "absolute.png",
        "b.png",
        "pictures/a.png",
    ]


def test_a_path_that_starts_further_down_is_told_apart_by_its_folders(tmp_path):
    path = write(tmp_path, "path,label\none/a.png,x\ntwo/a.png,y\n", "data/one/a.png", "data/two/a.png")
    assert [row[:2] for row in rows(read_csv(path))] == [("data/one/a.png", "x"), ("data/two/a.png", "y")]


def test_an_ambiguous_name_is_an_error_that_names_both(tmp_path):
    path = write(tmp_path, "path,label\na.png,x\n", "one/a.png", "two/a.png")
    with pytest.raises(DataError, match=r"Line 2 .* names a\.png, which is both .*one/a\.png and .*two/a\.png"):
        read_csv(path)


def test_missing_images_are_left_out_and_told(tmp_path, caplog):
    body = "".join(f"missing{i}.png,x\n" for i in range(6)) + "a.png,x\n" + "n" * 300 + ".png,x\n"
    path = write(tmp_path, "path,label\n" + body, "a.png")
    with caplog.at_level(logging.WARNING):
        assert len(read_csv(path)) == 1
    assert "7 of 8 images" in caplog.text
    assert "missing0.png, missing1.png, missing2.png, missing3.png, missing4.png, …; they are left out." in caplog.text
    with pytest.raises(DataError, match="7 of 8 images"):
        read_csv(path, strict=True)


def test_incomplete_and_repeated_rows_are_left_out_and_told(tmp_path, caplog):
    path = write(tmp_path, "path,label\na.png,x\n\nb.png,\n,y\nb.png\na.png,x\n", "a.png", "b.png")
    with caplog.at_level(logging.WARNING):
        assert rows(read_csv(path)) == [("a.png", "x", None, None)]
    assert "3 of 5 rows" in caplog.text
    assert "the first on line 4" in caplog.text
    assert "1 rows" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("path,label\n", "no row with a path and a label"),
        ("path,label\na.png,\n", "no row with a path and a label"),
        ("name,label\na.png,x\n", r"no column for the path; it has: name, label\. Name one of: path, .*Image Index"),
        ("path,kind\na.png,x\n", r"no column for the label; it has: path, kind\. Name one of: label, class"),
        ("\npath,label\na.png,x\n", "it has: no names on its first line"),
        ("path,label,split\na.png,x,train\nb.png,x,7\n", r"Line 3 .* has the split '7'\. Use train, val or test"),
        ("path,label\na.png,Edema|Mass\n", r"Line 2 .* several labels \(Edema\|Mass\)"),
        ("path,label\na.png,x\na.png,y\n", r"Lines 2 and 3 .* disagree about a\.png"),
        ("path,label,split\na.png,x,train\na.png,x,test\n", "Lines 2 and 3"),
        ("path,label\nnone.png,x\n", "1 of 1 images .* missing"),
        (f"path,label\na.png,{'x' * 200_000}\n", "Line 2 .* is not CSV: field larger"),
    ],
)
def test_csvs_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_csv(write(tmp_path, text, "a.png", "b.png"))


def test_another_encoding_names_the_line(tmp_path):
    with pytest.raises(DataError, match=r"not UTF-8 text \(line 3\)"):
        read_csv(write(tmp_path, "path,label\na.png,x\nb.png,Lungenentzündung\n", encoding="latin-1"))


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"folder of images .* does not exist"):
        read_csv(write(tmp_path, "path,label\na.png,x\n"), images=tmp_path / "nowhere")
    with pytest.raises(DataError, match="could not be read: No such file"):
        read_csv(tmp_path / "nowhere.csv")


quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# An apostrophe before a formula is what keeps spreadsheets from running it, and no part of the cell.
cells = st.text(st.characters(codec="utf-8", exclude_characters="|\0"), min_size=1).map(str.strip)
cells = cells.filter(lambda cell: cell and cell_text(cell) == cell)

# What may be several labels or none at all has tests of its own.
classes = cells.filter(lambda cell: not (set(cell) & set(";,&+[()") or is_no_class(cell)))


@quick
@given(st.text(st.characters(codec="utf-8")), st.booleans())
def test_any_text_gives_a_table_or_one_sentence(tmp_path, text, with_header):
    path = write(tmp_path, "path,label\na.png,x\n" + text if with_header else text, "a.png")
    try:
        names = [s.path.name for s in read_csv(path)]
    except DataError as error:
        names = [name for name in ("a.png",) if error.path == path and str(path) in str(error)]
    assert names == ["a.png"]


@quick
@given(st.binary())
def test_any_bytes_give_a_table_or_one_sentence(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError):  # no folder beside it has images
        read_csv(path)


@quick
@given(
    st.lists(st.tuples(classes, cells, st.sampled_from(["train", "val", "test", ""])), min_size=1, max_size=20),
    st.sampled_from(",;\t"),
)
def test_what_the_csv_module_writes_is_read_back(tmp_path, records, delimiter):
    labels = {label for label, _, _ in records}
    assume(len({plain_class(label) for label in labels}) == len(labels))  # two spellings of one class become one
    images = [f"{i}.png" for i in range(len(records))]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["path", "label", "patient", "split"])
    writer.writerows([image, *record] for image, record in zip(images, records, strict=True))
    table = read_csv(write(tmp_path, text.getvalue(), *images))
    expected = [
        (image, label, patient, split or None) for image, (label, patient, split) in zip(images, records, strict=True)
    ]
    assert rows(table) == sorted(expected)
    assert set(table.classes) == labels


def test_upper_and_lower_case_make_no_class_of_their_own(tmp_path, caplog):
    path = write(
        tmp_path,
        "path,label\na.png,Normal\nb.png,NORMAL\nc.png,Normal\nd.png,covid\n",
        *"a.png b.png c.png d.png".split(),
    )
    with caplog.at_level(logging.WARNING):
        table = read_csv(path)
    assert table.counts() == {"Normal": 3, "covid": 1}
    assert "several ways: Normal (2), NORMAL (1); all count as Normal." in caplog.text


def test_images_without_a_row_are_told_by_number_and_name(tmp_path, caplog):
    extra = [f"extra{i}.png" for i in range(7)]
    path = write(tmp_path, "path,label\na.png,x\n", "a.png", *extra)
    with caplog.at_level(logging.INFO):
        assert len(read_csv(path)) == 1
    assert "7 images beside those" in caplog.text
    assert "extra0.png, extra1.png, extra2.png, extra3.png, extra4.png, …." in caplog.text


def test_other_columns_become_attributes(tmp_path):
    (sample,) = read_csv(write(tmp_path, "\ufeffpath;age;label;sex\na.png;61;x;\n", "a.png"))
    assert sample.attributes == (("age", "61"),)
