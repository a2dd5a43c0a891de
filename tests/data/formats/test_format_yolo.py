import logging
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from xraycls.data.formats import detect_format
from xraycls.data.formats.yolo import YoloObject, format_yolo, parse_yolo, read_yolo, write_yolo
from xraycls.data.formats.yolo_set import parse_config
from xraycls.data.source import read_source
from xraycls.errors import DataError
from xraycls.types import Box

HERE = Path("labels/a.txt")
MIDDLE = "0 0.5 0.5 0.5 0.25"  # in 60 × 40 pixels from 15, 15 to 45, 25


@pytest.fixture
def lay(tmp_path, draw):
    """Writes files below a folder: pictures by their suffix, text otherwise."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".png", ".jpg"):
                draw(path)
            else:
                path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


def test_a_line_is_a_box_in_shares_of_the_picture():
    (found,) = parse_yolo(f"\n{MIDDLE} 0.75\n", HERE)
    assert found == YoloObject(0, 0.5, 0.5, 0.5, 0.25, 0.75)
    assert found.box("opacity", (60, 40)) == Box("opacity", 15, 15, 45, 25, score=0.75)
    assert YoloObject.of(Box("opacity", 15, 15, 45, 25), 3, (60, 40)) == YoloObject(3, 0.5, 0.5, 0.5, 0.25)


def test_only_what_is_inside_the_picture_can_be_written():
    def inside(*corners: float) -> Box | None:
        found = YoloObject.of(Box("a", *corners), 0, (60, 40))
        return found and found.box("a", (60, 40))

    assert inside(-10, 30, 30, 70) == Box("a", 0, 30, 30, 40)
    assert inside(-10, 5, 0, 9) is None
    assert inside(5, 5, 5, 9) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 0.5", "Line 1 of labels/a.txt has 4 values; a YOLO box has 5"),
        (f"{MIDDLE}\n0 0.1 0.1 0.2 0.2 0.3 0.1 0.5", r"Line 2 of .* has 8 values; .*\. An outline has a class and"),
        ("0 50 40 20 32", r"Line 1 of .* isn't normalised: it has 50 .*\. Divide x and width"),
        ("0 0.5 0.5 -0.2 0.3", "Line 1 of .* has a box of negative size"),
        ("0 5 5 20 5 20 30 5 30", "isn't normalised"),
        ("opacity 0.5 0.5 0.5 0.5", r"Line 1 of .* is no YOLO box .*: opacity 0\.5"),
        ("-1 0.5 0.5 0.5 0.5", "is no YOLO box"),
        ("0.5 0.5 0.5 0.5 0.5", "is no YOLO box"),
        ("0 nan 0.5 0.5 0.5", "is no YOLO box"),
    ],
)
def test_one_sentence_names_the_line(text, message):
    with pytest.raises(DataError, match=message):
        parse_yolo(text, HERE)


@given(st.text() | st.lists(st.sampled_from(["0", "1", "0.5", "-1", "1e400", "\n", "x"])).map(" ".join))
def test_any_text_gives_objects_or_one_sentence(text):
    try:
        objects, message = parse_yolo(text, HERE), str(HERE)
    except DataError as error:
        objects, message = [], str(error)
    assert str(HERE) in message
    assert parse_yolo(format_yolo(objects), HERE) == objects


shares = st.integers(0, 4000)


@given(shares, shares, shares, shares, st.integers(1, 5000), st.integers(1, 5000))
def test_whole_pixels_come_back_exactly(left, top, width, height, across, down):
    box = Box("a", left, top, left + width + 1, top + height + 1)
    if box.right > across or box.bottom > down:
        return
    (found,) = parse_yolo(format_yolo([YoloObject.of(box, 0, (across, down))]), HERE)
    assert found.box("a", (across, down)) == box


def test_a_table_comes_back(pictures, told, tmp_path):
    root = pictures.root.rename(tmp_path / "images")
    moved = (replace(sample, path=root / sample.path.relative_to(pictures.root)) for sample in pictures)
    write_yolo(replace(pictures, samples=tuple(moved), root=root), tmp_path)
    config = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert config == {
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "names": {0: "nodule", 1: "opacity"},
    }
    expected = told(pictures)
    expected["b"] = ("train", [Box("nodule", 1, 2, 3, 4)])  # the format doesn't know of difficult ones
    for path in (tmp_path, tmp_path / "data.yaml"):
        assert detect_format(path).name == "yolo"
        assert told(read_source(path)) == expected
    (tmp_path / "data.yaml").unlink()  # the folders tell the same, but for the names
    assert {name: split for name, (split, _) in told(read_source(tmp_path)).items()} == {
        name: split for name, (split, _) in expected.items()
    }


@pytest.mark.parametrize(
    "files",
    [
        {"images/a.png": "", "labels/a.txt": MIDDLE, "labels/classes.txt": "opacity\n"},
        {"data.yaml": "train: images\nval: images\nnames: [opacity]", "images/a.png": "", "labels/a.txt": MIDDLE},
        {"a.png": "", "a.txt": MIDDLE, "classes.txt": "opacity"},
    ],
)
def test_layouts_without_splits(lay, files):
    root = lay(files)
    assert detect_format(root).name == "yolo"
    (sample,) = read_source(root)
    assert (sample.split, sample.boxes) == (None, (Box("opacity", 15, 15, 45, 25),))


@pytest.mark.parametrize(
    "files",
    [
        # Roboflow, whose paths start one folder too high
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['opacity']\n",
            "valid/images/a.png": "",
            "valid/labels/a.txt": MIDDLE,
        },
        # Ultralytics
        {
            "set.yaml": "path: ../datasets/x\ntrain: images/train\nval: [images/val]\nnames:\n  0: opacity\n",
            "images/val/a.png": "",
            "labels/val/a.txt": MIDDLE,
        },
        # Darknet, as CVAT writes it
        {
            "obj.names": "opacity\n",
            "val.txt": "data/obj_val_data/a.png\n",
            "obj_val_data/a.png": "",
            "obj_val_data/a.txt": MIDDLE,
        },
        # folders alone
        {"val/images/a.png": "", "val/labels/a.txt": MIDDLE, "classes.txt": "opacity"},
    ],
)
def test_layouts_with_splits(lay, files):
    root = lay(files)
    path = root / "set.yaml" if "set.yaml" in files else root
    (sample,) = read_yolo(path)
    assert (sample.split, sample.boxes) == ("val", (Box("opacity", 15, 15, 45, 25),))


def test_lists_of_paths_from_the_root_and_from_here(lay, monkeypatch):
    root = lay({"a/1.png": "", "a/1.txt": MIDDLE, "b/2.png": "", "b/2.txt": "", "names.txt": ""})
    (root / "train.txt").write_text(f"{root / 'a/1.png'}\n")
    (root / "val.txt").write_text("b/2.png\n")
    monkeypatch.chdir(root)
    table = read_yolo(Path())
    assert [(sample.path.name, sample.split) for sample in table] == [("1.png", "train"), ("2.png", "val")]


def test_labels_elsewhere(lay):
    root = lay({"boxes/deep/a.txt": MIDDLE, "boxes/obj.names": "opacity", "pictures/deep/a.png": ""})
    (sample,) = read_yolo(root / "boxes", images=root / "pictures")
    assert sample.boxes == (Box("opacity", 15, 15, 45, 25),)


def test_a_picture_without_labels_is_negative_and_a_class_without_name_a_number(lay, caplog):
    root = lay({"images/a.png": "", "images/b.png": "", "labels/a.txt": f"7{MIDDLE[1:]}"})
    with caplog.at_level(logging.WARNING):
        table = read_yolo(root)
    assert [[box.label for box in sample.boxes] for sample in table] == [["7"], []]
    assert "1 pictures of" in caplog.text
    assert "count as negative: b.png" in caplog.text
    assert "The classes 7 of" in caplog.text


def test_pictures_in_two_splits_stay_in_the_first(lay, caplog):
    files = {"images/a.png": "", "images/b.png": "", "labels/a.txt": MIDDLE, "names.txt": ""}
    root = lay({**files, "train.txt": "images/a.png\nimages/b.png", "val.txt": "images/b.png\nimages/gone.png"})
    table = read_yolo(root)
    assert [sample.split for sample in table] == ["train", "train"]
    assert "1 pictures of" in caplog.text
    assert "are in several splits" in caplog.text
    assert "val.txt names are missing: images/gone.png" in caplog.text


def test_a_picture_that_cannot_be_read_is_left_to_who_opens_it(lay):
    root = lay({"images/a.png": "", "images/b.jpg": "", "labels/a.txt": MIDDLE, "labels/b.txt": MIDDLE})
    (root / "images/b.jpg").write_bytes(b"no picture")
    first, second = read_yolo(root)
    assert (len(first.boxes), second.label, second.boxes) == (1, 1, ())


def test_labels_of_no_picture_at_all(lay):
    root = lay({"images/a.png": "", "labels/b.txt": MIDDLE})
    with pytest.raises(DataError, match=r"No label file belongs to any of the 1 pictures of"):
        read_yolo(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: 3", "names in .* is neither a list of classes nor a table"),
        ("names: {a: b}", "has a class whose number isn't a whole number"),
        ("- names", "has no keys"),
        ("names: [", "is not YAML"),
        ("names: [a]\n" + "[" * 5000, "is not YAML"),
    ],
)
def test_one_sentence_for_a_configuration(text, message):
    with pytest.raises(DataError, match=message) as caught:
        parse_config(text, HERE)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet=st.sampled_from("names: [],{}!&*-'\"\n 01aé|>%@`?#~:2020-12:30")) | st.text())
def test_any_text_gives_a_configuration_or_one_sentence(text):
    try:
        parse_config(text, HERE)
        message = str(HERE)
    except DataError as error:
        message = str(error)
    assert str(HERE) in message
    assert "\n" not in message


def test_an_outline_becomes_the_box_around_it():
    (found,) = parse_yolo("1 0.1 0.2 0.5 0.2 0.5 0.8 0.2 0.9\n", Path("labels/a.txt"))
    assert (found.index, found.box("x", (100, 50))) == (1, Box("x", 10, 10, 50, 45))
