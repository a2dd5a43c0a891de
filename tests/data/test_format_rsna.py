import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xraycls.data.formats import detect_format
from xraycls.data.formats.rsna import read_rsna, write_rsna
from xraycls.data.phantom import write_phantom
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, XrayclsError
from xraycls.types import Box, Sample

HEADER = "patientId,x,y,width,height,Target\n"
NORMAL, OTHER, OPACITY = "Normal", "No Lung Opacity / Not Normal", "Lung Opacity"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return write_phantom(tmp_path_factory.mktemp("rsna"), images=30, seed=1, size=96, layout="rsna")


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The path of a table for the pictures a.png and b.dcm, which hold nothing."""
    for name in ("a.png", "b.dcm"):
        (tmp_path / name).touch()
    return tmp_path / "stage_2_train_labels.csv"


def test_the_phantom_reads_back(drawn):
    table = read_rsna(drawn.root)
    assert table.classes == (NORMAL, OTHER, OPACITY)
    assert (table.source, table.root) == ("rsna", drawn.root / "stage_2_train_images")
    wanted = {s.path: tuple(replace(b, label=OPACITY) for b in s.boxes) for s in drawn if s.split == "train"}
    assert {s.path: s.boxes for s in table} == wanted
    assert all((s.label == 2) == bool(s.boxes) for s in table)
    assert all(s.patient == s.path.stem and s.split is None for s in table)
    assert set(table.labels) == {0, 1, 2}


def test_without_details_the_target_tells_the_class(drawn, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes((drawn.root / "stage_2_train_labels.csv").read_bytes())
    table = read_rsna(path, images=drawn.root)
    assert table.classes == ("NEGATIVE", "POSITIVE")
    assert [s.label for s in table] == [int(bool(s.boxes)) for s in table]


def test_detection(drawn, tmp_path):
    assert detect_format(drawn.root).name == "rsna"
    assert detect_format(drawn.root / "stage_2_train_labels.csv").name == "rsna"
    other = tmp_path / "other.csv"
    other.write_text("path,label\na.png,1\n")
    assert detect_format(other) is None
    other.write_bytes(b"\xff\xfe\x00")
    assert detect_format(other) is None


def test_round_trip(drawn, tmp_path):
    table = read_rsna(drawn.root)
    write_rsna(table, tmp_path)
    again = read_rsna(tmp_path, images=table.root)
    assert again == table
    for name in ("stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"):
        assert (tmp_path / name).read_text() == (drawn.root / name).read_text()


def test_other_tables_keep_boxes_and_classes(tmp_path):
    boxes = (Box("mass", 1.25, 2, 30.5, 40, score=0.5), Box("node", -3, 1, 4, 5))
    paths = [tmp_path / f"{name}.png" for name in ("a b", "é", "x" * 200)]
    for path in paths:
        path.touch()
    samples = [Sample(path, at % 2, boxes=boxes[: at % 2 * 2]) for at, path in enumerate(paths)]
    write_rsna(SampleTable(tuple(samples), ("ILL", "WELL"), tmp_path, "test"), tmp_path)
    table = read_rsna(tmp_path)
    read = {s.path: s for s in table}
    for sample in samples:
        again = read[sample.path]
        assert table.classes[again.label] == ("ILL", "WELL")[sample.label]
        assert again.boxes == tuple(Box(OPACITY, b.left, b.top, b.right, b.bottom) for b in sample.boxes)


def test_a_picture_without_a_class_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"a\.png has no class"):
        write_rsna(SampleTable((Sample(tmp_path / "a.png"),), ("a", "b"), tmp_path, "test"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpatientId;x;y;width;height;Target\r\na;1.5;2;3;4;1\r\nb;;;;;0\r\n",
        'Target\tpatientid\tY\tX\tHEIGHT\tWidth\n1\t"a"\t2\t1.5\t4\t3\n0\tb\t\t\t\t\n',
    ],
)
def test_other_separators_and_orders(two, text):
    two.write_text(text, encoding="utf-8")
    table = read_rsna(two)
    assert [s.path.name for s in table] == ["a.png", "b.dcm"]
    assert table[0].boxes == (Box(OPACITY, 1.5, 2, 4.5, 6),)
    assert table[1].boxes == ()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,1,2,3,4,2\n", "Line 2 of .* has the Target '2'"),
        ("a,1,2,3,,1\n", "Line 2 of .* has the height '', which is no number"),
        ("a,1,2,nan,4,1\n", "Line 2 of .* has the width 'nan'"),
        ("b,,,,,0\na,1,2,3,4,0\n", "Line 3 of .* has a box, but the Target 0"),
        ("a,,,,,0\na,1,2,3,4,1\n", "Lines 2 and 3 of .* both name a, but not two boxes"),
        ("a,,,,,0\na,,,,,0\n", "Lines 2 and 3 of .* both name a"),
        (",1,2,3,4,1\n", "Line 2 of .* has no patientId"),
        ("", "has no rows"),
        ("c,,,,,0\nd,,,,,0\n", "2 of 2 images that .* names are missing below .*: c, d. Give the folder .* --images"),
    ],
)
def test_wrong_rows_are_one_sentence(two, rows, words):
    two.write_text(HEADER + rows)
    with pytest.raises(DataError, match=words):
        read_rsna(two)


def test_a_missing_column_is_named(two):
    two.write_text("patientId,x,y,width,Target\na,1,2,3,1\n")
    with pytest.raises(DataError, match="no column for the height; it has: patientId, x, y, width, Target"):
        read_rsna(two)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ("a,Normal\n", "no class for 1 of 2 patients: b"),
        ("a,Lung Opacity\nb,Normal\nb,Lung Opacity\n", "Lines 3 and 4 of .* give b two classes"),
        ("a,Normal\nb,Normal\n", "Line 2 of .* calls a 'Normal', but it has 1 boxes"),
        ("a,Lung Opacity\nb,LUNG OPACITY\n", "Line 3 of .* calls b 'Lung Opacity', but it has 0 boxes"),
    ],
)
def test_details_that_contradict_are_one_sentence(two, details, words):
    two.write_text(HEADER + "a,1,2,3,4,1\nb,,,,,0\n")
    (two.parent / "stage_2_detailed_class_info.csv").write_text("patientId,class\n" + details)
    with pytest.raises(DataError, match=words):
        read_rsna(two)


def test_classes_in_upper_and_lower_case(two):
    two.write_text(HEADER + "a,1,2,3,4,1\nb,,,,,0\n")
    (two.parent / "stage_2_detailed_class_info.csv").write_text("patientId,class\na,lung opacity\nb,NORMAL\n")
    assert read_rsna(two).classes == (NORMAL, OPACITY)


def test_ids_without_files_and_files_without_ids_are_counted(two, caplog):
    for number in range(7):
        (two.parent / f"stranger{number}.jpg").touch()
    two.write_text(HEADER + "a,,,,,0\n" + "".join(f"gone{number},,,,,0\n" for number in range(6)))
    assert [s.path.name for s in read_rsna(two)] == ["a.png"]
    missing, strangers = caplog.messages
    assert missing.startswith("6 of 7 images")
    assert missing.endswith("left out: gone0, gone1, gone2, gone3, gone4, …")
    assert strangers.startswith("8 images below")
    assert "b.dcm, stranger0.jpg, stranger1.jpg, stranger2.jpg, stranger3.jpg, …" in strangers


def test_two_files_of_one_id_are_named(two):
    (two.parent / "deeper").mkdir()
    (two.parent / "deeper" / "a.jpg").touch()
    two.write_text(HEADER + "a,,,,,0\n")
    with pytest.raises(DataError, match=r"a of .* is both .*a.png and .*a.jpg. Name one folder with --images"):
        read_rsna(two)


def test_missing_tables_and_folders(tmp_path, two):
    with pytest.raises(DataError, match="There is no file"):
        read_rsna(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"has no stage_2_train_labels\.csv"):
        read_rsna(tmp_path)
    two.write_text(HEADER + "a,,,,,0\n")
    with pytest.raises(DataError, match=r"The folder of images .* does not exist"):
        read_rsna(two, images=tmp_path / "none")


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(),
        st.lists(st.lists(st.sampled_from(["a", "b", "", "0", "1", "1e999", '"', "é", "-3.5"]), max_size=8)).map(
            lambda rows: HEADER + "\n".join(",".join(row) for row in rows)
        ),
    )
)
def test_any_text_is_a_table_or_one_error(two, text):
    two.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        table = read_rsna(two)
    except XrayclsError:
        return
    assert 1 <= len(table) <= 2


def real_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.walkthrough
def test_the_real_table(shared, tmp_path):
    tables = shared / "data" / "labels_csv" / "rsna2018"
    labels = real_rows(tables / "stage_2_train_labels.csv")
    kept = {row["patientId"] for row in labels[::40]}
    for name in kept:
        (tmp_path / f"{name}.dcm").touch()
    table = read_rsna(tables / "stage_2_train_labels.csv", images=tmp_path)
    classes = {row["patientId"]: row["class"] for row in real_rows(tables / "stage_2_detailed_class_info.csv")}
    corners = defaultdict(set)
    for row in labels:
        if row["Target"] == "1":
            corners[row["patientId"]].add(tuple(float(row[name]) for name in ("x", "y", "width", "height")))
    assert {s.patient for s in table} == kept
    for sample in table:
        assert table.classes[sample.label] == classes[sample.patient]
        assert {(b.left, b.top, b.right - b.left, b.bottom - b.top) for b in sample.boxes} == corners[sample.patient]


def test_the_real_table_without_its_pictures_is_one_sentence(shared):
    tables = shared / "data" / "labels_csv" / "rsna2018"
    with pytest.raises(DataError, match=r"26,684 of 26,684 images .* are missing .* with --images") as caught:
        read_rsna(tables, images=shared / "data" / "dicom" / "rsna")
    assert len(str(caught.value)) < 600


def test_real_boxes_lie_in_their_pictures(shared, tmp_path):
    data = shared / "data" / "nih_rsna_bbox"
    rows = real_rows(data / "rsna_labels_subset.csv")
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER.strip().split(","))
        for row in rows:
            name = row["image"].removesuffix(".png")
            writer.writerow([name, row["x"], row["y"], row["width"], row["height"], row["Target"].split(".")[0]])
    table = read_rsna(tmp_path / "labels.csv", images=data / "images")
    assert sum(bool(s.boxes) for s in table) == len({row["image"] for row in rows if row["x"]})
    assert sum(len(s.boxes) for s in table) == sum(bool(row["x"]) for row in rows)
    assert all(0 <= b.left < b.right <= 1024 and 0 <= b.top < b.bottom <= 1024 for s in table for b in s.boxes)
