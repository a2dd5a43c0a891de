import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.data.formats import detect_format
from xraycls.data.formats.kitti import KittiObject, format_kitti, parse_kitti, read_kitti, write_kitti
from xraycls.data.source import read_source
from xraycls.errors import DataError
from xraycls.types import Box

# From the label files of the benchmark itself (training/label_2/000000.txt and 000008.txt).
PEDESTRIAN = "Pedestrian 0.00 0 -0.20 712.40 143.00 810.73 307.92 1.89 0.48 1.20 1.84 1.47 8.41 0.01"
CAR = "Car 0.88 3 -0.69 0.00 192.37 402.31 374.00 1.60 1.57 3.23 -2.70 1.74 3.68 -1.29"
HERE = Path("labels/a.txt")


def line(count: int) -> str:
    return " ".join(["opacity", "0.00", "0", "0.00", "1", "2", "3", "4", *["0"] * 8][:count])


def test_the_benchmarks_own_lines_read_and_write_the_same():
    text = f"{PEDESTRIAN}\n{CAR}\n"
    pedestrian, car = parse_kitti(text, HERE, exact=True)
    assert pedestrian.box == Box("Pedestrian", 712.40, 143.00, 810.73, 307.92)
    assert car.box.difficult
    assert (car.truncation, car.occlusion, car.alpha, car.rotation) == (0.88, 3, -0.69, -1.29)
    assert (car.height, car.width, car.length, car.x, car.y, car.z) == (1.60, 1.57, 3.23, -2.70, 1.74, 3.68)
    assert format_kitti([pedestrian, car]) == text


def test_a_folder_of_labels_is_read_as_training_does():
    objects = parse_kitti(f"{line(8)}\n\n{line(9)}\n{PEDESTRIAN} 0.75\n", HERE)
    assert [each.name for each in objects] == ["opacity", "Pedestrian"]  # 8 tokens are no object
    assert [each.score for each in objects] == [None, 0.75]
    # Only occlusion and the box must be numbers.
    assert parse_kitti("a ? -1 ? 1 2 3 4 ?", HERE)[0].box == Box("a", 1, 2, 3, 4, difficult=True)


@pytest.mark.parametrize("count", [1, 8, 9, 14, 16])
def test_the_converter_takes_15_tokens_only(count):
    with pytest.raises(DataError, match=rf"^Line 2 of {HERE} has {count} tokens; a KITTI object has exactly 15"):
        parse_kitti(f"{PEDESTRIAN}\n{line(count)}\n", HERE, exact=True)


@pytest.mark.parametrize(
    ("text", "exact", "word", "token"),
    [
        (line(14).replace("opacity", "lung opacity"), True, "opacity", 2),
        (line(15).replace(" 4 ", " nan "), True, "nan", 8),
        (line(15).replace(" 4 ", " nan "), False, "nan", 8),
        (line(15).replace(" 1 ", " inf "), False, "inf", 5),
        (line(14).replace("opacity", "lung opacity"), False, "opacity", 2),
    ],
)
def test_what_is_no_number(text, exact, word, token):
    with pytest.raises(DataError, match=rf"Line 1 of {HERE} has '{word}' where KITTI has a.* number \(token {token}\)"):
        parse_kitti(text, HERE, exact=exact)


@pytest.mark.parametrize(
    ("occlusion", "training", "converter"),
    [
        ("0", False, False),
        ("2", True, True),
        ("-1", True, True),
        ("0.0", None, False),
        ("1e0", None, True),
        ("x", None, None),
    ],
)
def test_training_takes_a_whole_occlusion_and_the_converter_any_number(occlusion, training, converter):
    for exact, difficult in ((False, training), (True, converter)):
        text = f"a 0 {occlusion} 0 1 2 3 4 0 0 0 0 0 0 0"
        if difficult is None:
            with pytest.raises(DataError, match=rf"has '{occlusion}' where KITTI has a.* number \(token 3\)"):
                parse_kitti(text, HERE, exact=exact)
        else:
            assert parse_kitti(text, HERE, exact=exact)[0].box.difficult is difficult


@pytest.mark.parametrize(
    "more", ["", " 0 0 0 0 0 0 0", " 0 0 0 0 0 0 0 high", " # of nine words and more", " 0 0 0 0 0 0 0 1 2"]
)
def test_training_reads_nine_tokens_and_is_not_stopped_by_what_follows(more):
    (found,) = parse_kitti(f"Opacity 0 1 ? -1.5 2 1e2 4{more or ' 0'}", HERE)
    assert found.box == Box("Opacity", -1.5, 2, 100, 4, score=1.0 if more.endswith("1 2") else None, difficult=True)


def test_of_other_classes_what_cannot_be_read_is_no_object(tmp_path, draw, caplog):
    lines = (
        "# a comment of nine words is no object",
        "lung mass 0.0 0 0 1 2 3 4",
        "Mass 0 0 0 1 2 3 4 0",
        "rib 0 0 0 1 2 3 4 0",
    )
    text = "\n".join(lines)
    assert [each.name for each in parse_kitti(text, HERE, classes={"mass"})] == ["Mass", "rib"]
    for classes in (None, {"#"}, {"lung"}):
        with pytest.raises(DataError, match="where KITTI has a"):
            parse_kitti(text, HERE, classes=classes)
    draw(tmp_path / "images/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text(f"{text}\nDontCare -1 -1 -10 1 2 3 4 -1")
    for classes, found in (({"mass"}, ["Mass", "rib"]), ({"mass", "dontcare"}, ["Mass", "rib", "DontCare"])):
        (sample,) = read_kitti(tmp_path, classes=classes)
        assert [box.label for box in sample.boxes] == found
    assert "2 lines in the labels of" in caplog.text


corners = st.floats(-1e6, 1e6).map(lambda value: value + 0.0)  # no minus zero


@given(
    st.lists(
        st.builds(
            KittiObject,
            name=st.from_regex(r"[A-Za-z_]\w*", fullmatch=True),
            left=corners,
            top=corners,
            right=corners,
            bottom=corners,
            occlusion=st.sampled_from([0.0, 1.0, 2.0, 3.0]),
            score=st.none() | st.floats(0, 1),
        )
    )
)
def test_what_is_written_reads_back_to_the_last_bit(objects):
    assert parse_kitti(format_kitti(objects), HERE) == objects


@given(
    st.text() | st.lists(st.sampled_from(["a", "1", "-2.5", "nan", "\n", "1e999", "٣"])).map(" ".join), st.booleans()
)
def test_any_text_gives_objects_or_one_sentence(text, exact):
    try:
        objects, message = parse_kitti(text, HERE, exact=exact), str(HERE)
    except DataError as error:
        objects, message = [], str(error)
    assert str(HERE) in message
    assert parse_kitti(format_kitti(objects), HERE, exact=exact) == objects


def test_numbers_of_numpy_are_written_as_numbers():
    (found,) = parse_kitti(format_kitti([KittiObject("x", *np.float64([0.125, 1 / 3, 9, 10.5]))]), HERE)
    assert (found.left, found.top, found.right, found.bottom) == (0.125, 1 / 3, 9, 10.5)


def test_blanks_in_a_class_become_underscores():
    text = format_kitti([KittiObject.of(Box("Lung  Opacity", 1, 2, 3, 4, score=0.5, difficult=True))])
    assert text == "Lung_Opacity 0.00 1 0.00 1.00 2.00 3.00 4.00" + " 0.00" * 7 + " 0.50\n"


def test_a_table_comes_back(pictures, told, tmp_path):
    write_kitti(pictures, tmp_path)
    assert (tmp_path / "labels/val/c.txt").read_text() == ""
    found = read_kitti(tmp_path, images=pictures.root)
    assert told(found) == told(pictures)
    assert (found.classes, found.counts()) == (("NEGATIVE", "POSITIVE"), {"NEGATIVE": 1, "POSITIVE": 3})
    assert found.root == pictures.root
    pictures.root.rename(tmp_path / "images")
    assert detect_format(tmp_path).name == "kitti"
    assert told(read_source(tmp_path)) == told(pictures)


@pytest.mark.parametrize(
    ("picture", "label", "split"),
    [
        ("images/a.png", "labels/a.txt", None),
        ("training/image_2/a.png", "training/label_2/a.txt", "train"),
        ("val/images/a.png", "val/labels/a.txt", "val"),
        ("formatted/images/a.png", "formatted/labels/a.txt", None),
        ("images/test/deep/a.png", "labels/test/deep/a.txt", "test"),
        ("images/é a b/ü.PNG", "labels/é a b/ü.txt", None),
        (f"images/{'n' * 200}.png", f"labels/{'n' * 200}.txt", None),
    ],
)
def test_layouts(tmp_path, draw, picture, label, split):
    draw(tmp_path / picture)
    (tmp_path / label).parent.mkdir(parents=True)
    (tmp_path / label).write_text(CAR)
    assert detect_format(tmp_path).name == "kitti"
    (sample,) = read_source(tmp_path)
    assert (sample.path, sample.split, len(sample.boxes)) == (tmp_path / picture, split, 1)


def test_what_is_left_out_is_counted_and_named(tmp_path, draw, caplog):
    for name in ("a", "b", "c"):
        draw(tmp_path / f"images/{name}.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("﻿" + PEDESTRIAN + "\nDontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1 -1 -1 -1\nx 1\n")
    (tmp_path / "labels/b.txt").write_text("DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1 -1 -1 -1")
    (tmp_path / "labels/z.txt").touch()
    with caplog.at_level(logging.WARNING):
        table = read_kitti(tmp_path)
    assert {s.path.stem: [box.label for box in s.boxes] for s in table} == {"a": ["Pedestrian"], "b": []}
    messages = "\n".join(caplog.messages)
    assert "1 pictures of" in messages
    assert "no label file and are left out: c.png" in messages
    assert "1 lines in the labels of" in messages
    assert "2 DontCare regions" in messages
    assert "1 text files of" in messages
    assert "belong to no picture: z.txt" in messages


def test_boxes_stay_as_they_are_written(tmp_path, draw):
    draw(tmp_path / "images/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("a 0 0 0 -5 -5 900 900 0\na 0 0 0 4 4 4 4 0\na 0 0 0 9 9 1 1 0")
    (sample,) = read_kitti(tmp_path)
    assert [(b.left, b.top, b.right, b.bottom) for b in sample.boxes] == [
        (-5, -5, 900, 900),
        (4, 4, 4, 4),
        (9, 9, 1, 1),
    ]


def test_one_sentence_for_what_cannot_be_read(tmp_path, draw):
    with pytest.raises(
        DataError, match=r"has no folders images and labels\. Give the folder of pictures with --images"
    ):
        read_kitti(tmp_path)
    draw(tmp_path / "images/a.png")
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match=r"None of the pictures of .* is there"):
        read_kitti(tmp_path)
    (tmp_path / "labels/a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"a\.txt is not UTF-8 text"):
        read_kitti(tmp_path)


def test_labels_beside_class_folders_are_boxes_of_their_pictures(tmp_path, draw, caplog):
    for name in ("train/NORMAL/a.png", "train/SICK/b.png", "val/SICK/b.png", "val/SICK/c.png", "val/NORMAL/c.png"):
        draw(tmp_path / name)
    for name in ("labels/train/a.txt", "labels/train/b.txt", "labels/val/SICK/b.txt", "labels/val/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("" if name.endswith("a.txt") else f"{CAR}\n")
    assert detect_format(tmp_path) is None
    table = read_source(tmp_path)
    assert table.classes == ("NORMAL", "SICK")
    boxed = {table.name_of(sample): len(sample.boxes) for sample in table}
    assert boxed == {
        "train/NORMAL/a.png": 0,
        "train/SICK/b.png": 1,
        "val/SICK/b.png": 1,
        "val/SICK/c.png": 0,
        "val/NORMAL/c.png": 0,
    }
    assert "1 files of" in caplog.text
    assert "fit several pictures" in caplog.text
