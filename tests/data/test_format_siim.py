import ast
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xraycls.data.formats import detect_format
from xraycls.data.formats.siim import APPEARANCES, parse_boxes, read_siim, write_siim
from xraycls.data.phantom import write_phantom
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, XrayclsError
from xraycls.types import Box, Sample

HEADER = "id,boxes,label,StudyInstanceUID\n"
# As published: the first two rows of the competition's table.
PUBLISHED = (
    "000a312787f2_image,\"[{'x': 789.28836, 'y': 582.43035, 'width': 1026.65662, 'height': 1917.30292}, "
    "{'x': 2245.91208, 'y': 591.20528, 'width': 1094.66162, 'height': 1761.54944}]\","
    "opacity 1 789.28836 582.43035 1815.94498 2499.73327 opacity 1 2245.91208 591.20528 3340.5737 2352.75472,"
    "5776db0cec75\n000c3a3f293f_image,,none 1 0 0 1 1,ff0879eb20ed\n"
)
FOUND = (
    Box("opacity", 789.28836, 582.43035, 789.28836 + 1026.65662, 582.43035 + 1917.30292),
    Box("opacity", 2245.91208, 591.20528, 2245.91208 + 1094.66162, 591.20528 + 1761.54944),
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return write_phantom(tmp_path_factory.mktemp("siim"), images=30, seed=1, size=96, layout="siim")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The path of a table for the published rows, whose pictures hold nothing."""
    for study, name in (("5776db0cec75", "000a312787f2"), ("ff0879eb20ed", "000c3a3f293f")):
        folder = tmp_path / "train" / study / "81456c9c5423"
        folder.mkdir(parents=True)
        (folder / f"{name}.dcm").touch()
    return tmp_path / "train_image_level.csv"


def test_the_phantom_reads_back(drawn):
    table = read_siim(drawn.root)
    assert table.classes == APPEARANCES
    assert (table.source, table.root) == ("siim", drawn.root / "train")
    wanted = {s.path: tuple(replace(box, label="opacity") for box in s.boxes) for s in drawn}
    assert {s.path: s.boxes for s in table} == wanted
    assert all(bool(s.label) == bool(s.boxes) for s in table)
    assert all(s.patient == s.path.parts[-3] and s.split is None for s in table)


def test_several_images_of_a_study_are_one_patient(drawn):
    table = read_siim(drawn.root)
    studies = {}
    for sample, original in zip(table, drawn, strict=True):
        studies.setdefault(original.patient, set()).add(sample.patient)
    assert all(len(found) == 1 for found in studies.values())
    assert len(studies) < len(table)


def test_published_rows(published):
    published.write_text(HEADER + PUBLISHED)
    table = read_siim(published)
    assert table.classes == ("NEGATIVE", "POSITIVE")
    assert [(s.path.stem, s.label, s.patient) for s in table] == [
        ("000a312787f2", 1, "5776db0cec75"),
        ("000c3a3f293f", 0, "ff0879eb20ed"),
    ]
    assert [s.boxes for s in table] == [FOUND, ()]


def test_pictures_of_other_formats_anywhere_below(published, tmp_path):
    (tmp_path / "png" / "deep").mkdir(parents=True)
    for name in ("000a312787f2", "000c3a3f293f"):
        (tmp_path / "png" / "deep" / f"{name}.png").touch()
    published.write_text(HEADER + PUBLISHED)
    table = read_siim(published, images=tmp_path / "png")
    assert {s.path.suffix for s in table} == {".png"}


def test_detection(drawn, published):
    assert detect_format(drawn.root).name == "siim"
    published.write_text(HEADER + PUBLISHED)
    assert detect_format(published.rename(published.with_name("mine.csv"))).name == "siim"


def test_round_trip(drawn, tmp_path):
    table = read_siim(drawn.root)
    write_siim(table, tmp_path)
    assert read_siim(tmp_path, images=table.root) == table
    for name in ("train_image_level.csv", "train_study_level.csv"):
        ours, theirs = ((folder / name).read_text().splitlines() for folder in (tmp_path, drawn.root))
        assert ours[0] == theirs[0]
        assert sorted(ours) == sorted(theirs)


def test_other_tables_are_positive_by_their_boxes(tmp_path):
    samples = []
    for number, boxes in enumerate([(), (Box("mass", 1.25, -2, 30.5, 40, score=0.5),)]):
        samples.append(Sample(tmp_path / f"é {number}.png", 0, boxes=boxes))
        samples[-1].path.touch()
    write_siim(SampleTable(tuple(samples), ("a",), tmp_path, "test"), tmp_path)
    assert not (tmp_path / "train_study_level.csv").exists()
    table = read_siim(tmp_path)
    assert [(s.path, s.label, s.patient) for s in table] == [(s.path, int(bool(s.boxes)), s.path.stem) for s in samples]
    assert table[1].boxes == (Box("opacity", 1.25, -2, 30.5, 40),)


def test_a_study_of_two_classes_cannot_be_written(tmp_path):
    samples = tuple(Sample(tmp_path / f"{n}.png", n, "study") for n in (0, 1))
    with pytest.raises(DataError, match="images of study are in two classes"):
        write_siim(SampleTable(samples, APPEARANCES, tmp_path, "test"), tmp_path)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("five", "boxes on line 3 of .* are no list: five"),
        ("[{'x': 1, 'y': 2", "are no list"),
        ("{'x': 1, 'y': 2, 'width': 3, 'height': 4}", "are no list"),
        ("__import__('os').system('true')", "are no list"),
        ("[{'x': 1, 'y': 2, 'width': 3}]", "are not all {x, y, width, height}"),
        ("[[1, 2, 3, 4]]", "are not all {x, y, width, height}"),
        ("[{'x': '1', 'y': 2, 'width': 3, 'height': 4}]", "have a coordinate that is no number of pixels"),
        ("[{'x': 1e999, 'y': 2, 'width': 3, 'height': 4}]", "have a coordinate that is no number of pixels"),
        ("[{'x': True, 'y': 2, 'width': 3, 'height': 4}]", "have a coordinate that is no number of pixels"),
        ("[" * 300, "are no list"),
        ("-" * 9000 + "1", "are no list"),
        ("[" + "1," * 20_000 + "]", "have more than 20,000 characters"),
    ],
)
def test_boxes_that_are_no_boxes_are_one_sentence(published, cell, words):
    published.write_text(f'{HEADER}000c3a3f293f_image,,none 1 0 0 1 1,ff0879eb20ed\n000a312787f2_image,"{cell}",,s\n')
    with pytest.raises(DataError, match=words) as caught:
        read_siim(published)
    assert "line 3" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "label",
    [
        "none 1 0 0 1 1",
        "opacity 1 789 582 1815 2499",
        "opacity 1 789.28836 582.43035 1815.94498 2499.73327 opacity 1 2245.91208 591.20528 1094.66162 1761.54944",
        "mass 1 789.28836 582.43035 1815.94498 2499.73327 mass 1 2245.91208 591.20528 3340.5737 2352.75472",
        "opacity 1 789.28836 582.43035 1815.94498 2499.73327 opacity 1 2245.91208 591.20528 x 2352.75472",
    ],
)
def test_labels_that_contradict_the_boxes_are_told(published, caplog, label):
    lines = PUBLISHED.splitlines(keepends=True)
    published.write_text(HEADER + f"{lines[0].partition(',opacity')[0]},{label},5776db0cec75\n{lines[1]}")
    assert read_siim(published)[0].boxes == FOUND
    assert "The label of 1 rows" in caplog.text
    assert "lines 2" in caplog.text


def test_labels_of_negatives_are_compared_too(published, caplog):
    published.write_text(HEADER + PUBLISHED.replace("none 1 0 0 1 1", "opacity 1 0 0 1 1"))
    read_siim(published)
    assert "lines 3" in caplog.text
    caplog.clear()
    published.write_text(HEADER + PUBLISHED.replace("none 1", "NONE 1").replace("opacity", "Opacity"))
    read_siim(published)
    assert not caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER, "has no rows"),
        (HEADER + PUBLISHED + PUBLISHED.splitlines()[1], "Lines 3 and 4 of .* both have the id 000c3a3f293f"),
        (HEADER + "_image,,,s\n", "Line 2 of .* has no id or no StudyInstanceUID"),
        (HEADER + "000c3a3f293f_image,,,\n", "Line 2 of .* has no id or no StudyInstanceUID"),
        (HEADER.replace("boxes", "box"), "has no column for the boxes; it has: id, box, label, StudyInstanceUID"),
    ],
)
def test_wrong_tables_are_one_sentence(published, text, words):
    published.write_text(text)
    with pytest.raises(DataError, match=words):
        read_siim(published)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("5776db0cec75_study,0,1,0,0\n", "has no row for the study ff0879eb20ed of line 3"),
        ("5776db0cec75_study,0,1,1,0\n", "Line 2 of .* needs one 1 and three 0, but has 0, 1, 1, 0"),
        ("5776db0cec75_study,0,0,1,0\n5776db0cec75_study,1,0,0,0\n", "Line 3 of .* gives 5776db0cec75 a second"),
    ],
)
def test_wrong_studies_are_one_sentence(published, rows, words):
    published.write_text(HEADER + PUBLISHED)
    (published.parent / "train_study_level.csv").write_text(f"id,{','.join(APPEARANCES)}\n{rows}")
    with pytest.raises(DataError, match=words):
        read_siim(published)


def test_strict_raises_for_missing_pictures(published, caplog):
    published.write_text(HEADER + PUBLISHED + "gone_image,,none 1 0 0 1 1,s\n")
    assert len(read_siim(published)) == 2
    assert "1 of 3 images" in caplog.text
    with pytest.raises(DataError, match=r"1 of 3 images .* are missing .*: gone"):
        read_siim(published, strict=True)


coordinates = st.floats(-1e8, 1e8) | st.integers(-(10**8), 10**8)
boxes = st.lists(st.fixed_dictionaries(dict.fromkeys(("x", "y", "width", "height"), coordinates)), max_size=8)


@given(boxes)
def test_written_boxes_are_read(listed):
    found = parse_boxes(str(listed))
    assert found == [tuple(box[key] for key in ("x", "y", "width", "height")) for box in listed]


@given(st.text(alphabet="[]{}()'\"xywidthe:,.-+*0123456789 \\#\0é") | st.text())
def test_any_cell_is_boxes_or_a_value_error(text):
    try:
        found = parse_boxes(text)
    except ValueError:
        return
    assert [list(box) for box in found] == [
        [box[key] for key in ("x", "y", "width", "height")] for box in ast.literal_eval(text)
    ]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text()
    | st.lists(
        st.lists(st.sampled_from(["000c3a3f293f_image", "", '"[]"', "none", '"', "[{'x': 1}]", "opacity 1", "é"]))
    ).map(lambda rows: HEADER + "\n".join(",".join(row) for row in rows))
)
def test_any_text_is_a_table_or_one_error(published, text):
    published.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        table = read_siim(published)
    except XrayclsError:
        return
    assert 1 <= len(table) <= 2
