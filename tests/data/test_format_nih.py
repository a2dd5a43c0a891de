import csv
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xraycls.data.formats import detect_format
from xraycls.data.formats.nih import read_nih, write_nih
from xraycls.data.phantom import write_phantom
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, XrayclsError
from xraycls.types import Box, Sample

BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
ENTRIES = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age\n"
CLASSES = ("No Finding", "Finding")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return write_phantom(tmp_path_factory.mktemp("nih"), images=30, seed=1, size=96, layout="nih")


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with two pictures that hold nothing."""
    (tmp_path / "images").mkdir()
    for name in ("00000001_000.png", "00000001_001.png"):
        (tmp_path / "images" / name).touch()
    return tmp_path


def test_the_phantom_reads_back(drawn):
    table = read_nih(drawn.root)
    assert table.classes == CLASSES
    assert (table.source, table.root) == ("nih", drawn.root / "images")
    for sample, original in zip(table, drawn, strict=True):
        assert (sample.path, sample.label, sample.split) == (original.path, original.label, original.split)
        assert sample.boxes == tuple(replace(box, label="Pneumonia") for box in original.boxes)
        assert sample.patient == sample.path.name[:8]
    assert any(("Finding Labels", "Infiltration|Pneumonia") in sample.attributes for sample in table)
    assert {name for name, _ in table[0].attributes} >= {"Finding Labels", "Patient Age", "View Position"}


def test_either_table_reads_the_same(drawn):
    table = read_nih(drawn.root)
    assert read_nih(drawn.root / "BBox_List_2017.csv") == table
    assert read_nih(drawn.root / "Data_Entry_2017.csv") == table


def test_boxes_alone(drawn, tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_bytes((drawn.root / "BBox_List_2017.csv").read_bytes())
    table = read_nih(path, images=drawn.root)
    assert {s.path for s in table} == {s.path for s in drawn if s.boxes}
    assert {(s.label, s.split, s.attributes) for s in table} == {(1, None, ())}


def test_detection(drawn, tmp_path):
    for path in (drawn.root, drawn.root / "BBox_List_2017.csv", drawn.root / "Data_Entry_2017.csv"):
        assert detect_format(path).name == "nih"
    # One finding an image under a name of one's own is a plain CSV with as many classes.
    chosen = tmp_path / "chosen.csv"
    chosen.write_text(ENTRIES + "00000001_000.png,Mass,0,1,60\n")
    assert detect_format(chosen) is None


def test_round_trip(drawn, tmp_path):
    table = read_nih(drawn.root)
    write_nih(table, tmp_path)
    assert read_nih(tmp_path, images=table.root) == table
    assert (tmp_path / "BBox_List_2017.csv").read_text() == (drawn.root / "BBox_List_2017.csv").read_text()
    assert (tmp_path / "test_list.txt").read_text() == (drawn.root / "test_list.txt").read_text()


def test_other_tables_keep_boxes_patients_and_splits(tmp_path):
    boxes = (Box("Mass", 1.25, 2, 30.5, 40), Box("Nodule", -3, 1, 4, 5))
    samples = [
        Sample(tmp_path / "a b.png", 1, "p7", "train", boxes),
        Sample(tmp_path / "é.jpeg", 0, "p8", "val"),
        Sample(tmp_path / "z.png", 1, "p9", "test"),
    ]
    for sample in samples:
        sample.path.touch()
    write_nih(SampleTable(tuple(samples), ("NORMAL", "PNEUMONIA"), tmp_path, "test"), tmp_path)
    table = read_nih(tmp_path)
    assert [(s.path.name, s.label, s.patient, s.split, s.boxes) for s in table] == [
        ("a b.png", 1, "p7", "train", boxes),
        ("z.png", 1, "p9", "test", ()),
        ("é.jpeg", 0, "p8", "train", ()),
    ]
    assert [dict(s.attributes)["Finding Labels"] for s in table] == ["Mass|Nodule", "PNEUMONIA", "No Finding"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("BBox_List_2017.csv", BOXES + "00000001_000.png,Mass,1,2,,4\n", "Line 2 of .* has the width ''"),
        ("BBox_List_2017.csv", BOXES + "00000001_000.png,,1,2,3,4\n", "Line 2 of .* has no image or no finding"),
        ("BBox_List_2017.csv", BOXES, "has no rows"),
        ("BBox_List_2017.csv", "Image Index,Finding Label,x,y,w\na,b,1,2,3\n", "has no column for the height"),
        ("Data_Entry_2017.csv", ENTRIES + "00000001_000.png,,0,1,60\n", "Line 2 of .* has no image or no finding"),
        ("Data_Entry_2017.csv", ENTRIES + "00000001_000.png,Mass,0,1,60\n" * 2, "Lines 2 and 3 of .* both name"),
        ("Data_Entry_2017.csv", ENTRIES + "7.png,Mass,0,1,60\n", "1 of 1 images .* are missing below .*images: 7"),
    ],
)
def test_wrong_tables_are_one_sentence(two, name, text, words):
    (two / name).write_text(text)
    with pytest.raises(DataError, match=words):
        read_nih(two)


def test_findings_in_other_cases_and_with_a_semicolon(two):
    (two / "sample_labels.csv").write_text(
        "\ufeffImage Index;Finding Labels\n00000001_000.png;no finding\n00000001_001.png;Mass|Nodule\n"
    )
    assert list(read_nih(two).labels) == [0, 1]


def test_an_image_without_an_entry_is_told(two, caplog):
    (two / "sample_labels.csv").write_text(ENTRIES + "00000001_000.png,Mass,0,1,60\n00000009_000.png,Mass,0,9,60\n")
    assert len(read_nih(two)) == 1
    assert "1 of 2 images" in caplog.text
    assert "00000001_001.png" in caplog.text


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["BBox_List_2017.csv", "Data_Entry_2017.csv"]),
    st.text()
    | st.tuples(
        st.sampled_from([BOXES, ENTRIES]),
        st.lists(st.lists(st.sampled_from(["00000001_000.png", "", "Mass|x", "1", "-1e400", '"', "é"]), max_size=8)),
    ).map(lambda parts: parts[0] + "\n".join(",".join(row) for row in parts[1])),
)
def test_any_text_is_a_table_or_one_error(two, name, text):
    for path in two.glob("*.csv"):
        path.unlink()
    (two / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        table = read_nih(two)
    except XrayclsError:
        return
    assert 1 <= len(table) <= 2


def test_real_boxes(shared, caplog):
    folder = shared / "data" / "nih_rsna_bbox"
    table = read_nih(folder)
    with (folder / "BBox_List_2017.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    there = {path.name for path in (folder / "images").iterdir()}
    wanted = defaultdict(list)
    for name, finding, *numbers in rows:
        wanted[name].append((finding, *map(float, numbers[:4])))
    assert {s.path.name for s in table} == there & set(wanted)
    for sample in table:
        found = [(b.label, b.left, b.top, b.right - b.left, b.bottom - b.top) for b in sample.boxes]
        assert [name for name, *_ in found] == [name for name, *_ in wanted[sample.path.name]]
        flat = [number for _, *numbers in found for number in numbers]
        assert flat == pytest.approx([number for _, *numbers in wanted[sample.path.name] for number in numbers])
        assert sample.patient == sample.path.name[:8]
    assert f"{len(wanted) - len(table)} of {len(wanted)} images" in caplog.text


def test_real_findings(shared, tmp_path):
    path = shared / "data" / "labels_csv" / "nih_cxr14" / "sample_labels.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))[::20]
    for row in rows:
        (tmp_path / row["Image Index"]).touch()
    table = read_nih(path, images=tmp_path)
    truth = Counter(row["Finding Labels"] != "No Finding" for row in rows)
    assert table.counts() == {"No Finding": truth[False], "Finding": truth[True]}
    assert {s.path.name: (s.patient, dict(s.attributes)["Finding Labels"]) for s in table} == {
        row["Image Index"]: (row["Patient ID"], row["Finding Labels"]) for row in rows
    }
