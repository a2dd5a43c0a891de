import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.data.formats import detect_format
from xraycls.data.formats.format import CLASSES
from xraycls.data.formats.voc import parse_voc, read_voc, write_voc
from xraycls.data.source import read_source
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample

HERE = Path("Annotations/a.xml")
# The objects of VOC2007's 000001.xml.
DOG = """<annotation><filename>000001.jpg</filename><size><width>353</width><height>500</height></size>
<object><name>dog</name><difficult>0</difficult><bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox></object>
<object><name>person</name><difficult>1</difficult>
<bndbox><xmin>8</xmin><ymin>12</ymin><xmax>352</xmax><ymax>498</ymax></bndbox><part><name>head</name></part></object></annotation>"""


def annotation(inside: str = "") -> str:
    return f"<annotation>{inside}</annotation>"


def test_pixels_count_from_one_and_the_last_is_inside():
    name, boxes = parse_voc(DOG.encode(), HERE)
    assert name == "000001.jpg"
    assert boxes == (Box("dog", 47, 239, 195, 371), Box("person", 7, 11, 352, 498, difficult=True))
    corners = "".join(f"<{tag}>1</{tag}>" for tag in ("xmin", "ymin", "xmax", "ymax"))
    _, (pixel,) = parse_voc(annotation(f"<object><name>a</name><bndbox>{corners}</bndbox></object>").encode(), HERE)
    assert (pixel.right - pixel.left, pixel.bottom - pixel.top) == (1, 1)


def test_a_table_comes_back(pictures, told, tmp_path):
    write_voc(pictures, tmp_path)
    assert told(read_voc(tmp_path, images=pictures.root)) == told(pictures)
    pictures.root.rename(tmp_path / "JPEGImages")
    assert detect_format(tmp_path).name == "voc"
    assert told(read_source(tmp_path)) == told(pictures)


def test_torchvision_reads_what_is_written(tmp_path, draw):
    datasets = pytest.importorskip("torchvision.datasets")
    root = tmp_path / "VOCdevkit/VOC2012"
    boxes = (Box("lung opacity", 0, 0, 20, 31), Box("é & <", 30, 1, 60, 40, difficult=True))
    samples = (
        Sample(draw(root / "JPEGImages/a b.jpg"), label=1, split="train", boxes=boxes),
        Sample(draw(root / "JPEGImages/c.jpg"), label=0, split="train"),
    )
    write_voc(SampleTable(samples, CLASSES, root / "JPEGImages", "voc"), root)
    theirs = datasets.VOCDetection(str(tmp_path), year="2012", image_set="train")
    (picture, first), (_, second) = theirs
    assert picture.size == (60, 40)
    assert first["annotation"]["size"] == {"width": "60", "height": "40", "depth": "1"}
    assert [(each["name"], each["difficult"]) for each in first["annotation"]["object"]] == [
        ("lung opacity", "0"),
        ("é & <", "1"),
    ]
    assert [each["bndbox"] for each in first["annotation"]["object"]] == [
        {"xmin": "1", "ymin": "1", "xmax": "20", "ymax": "31"},
        {"xmin": "31", "ymin": "2", "xmax": "60", "ymax": "40"},
    ]
    assert second["annotation"]["filename"] == "c.jpg"
    assert second["annotation"]["object"] == []


@pytest.mark.parametrize(
    ("picture", "xml", "lists", "split"),
    [
        ("JPEGImages/000001.jpg", "Annotations/000001.xml", "ImageSets/Main/val.txt", "val"),
        ("images/000001.png", "Annotations/000001.xml", None, None),
        ("train/000001.png", "train/000001.xml", None, "train"),
        ("000001.png", "000001.xml", None, None),
        ("VOC2007/JPEGImages/000001.jpg", "VOC2007/Annotations/000001.xml", None, None),
        ("JPEGImages/000001.jpg", "Annotations/other name.xml", None, None),
    ],
)
def test_layouts(tmp_path, draw, picture, xml, lists, split):
    draw(tmp_path / picture)
    (tmp_path / xml).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / xml).write_text(DOG)
    if lists:
        (tmp_path / lists).parent.mkdir(parents=True)
        (tmp_path / lists).write_text("000001\n")
    assert detect_format(tmp_path).name == "voc"
    (sample,) = read_source(tmp_path)
    assert (sample.path, sample.split, len(sample.boxes)) == (tmp_path / picture, split, 2)


def test_the_file_name_decides_between_two_pictures_of_one_name(tmp_path, draw):
    draw(tmp_path / "JPEGImages/a.jpg")
    draw(tmp_path / "JPEGImages/a.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations/a.xml").write_text(annotation("<filename>a.png</filename>"))
    assert [sample.path.name for sample in read_voc(tmp_path)] == ["a.png"]


def test_what_is_left_out_is_counted_and_named(tmp_path, draw, caplog):
    for name in ("a", "b"):
        draw(tmp_path / f"JPEGImages/{name}.jpg")
    (tmp_path / "Annotations").mkdir()
    for name in ("a", "z"):
        (tmp_path / f"Annotations/{name}.xml").write_text(annotation())
    with caplog.at_level(logging.WARNING):
        assert len(read_voc(tmp_path)) == 1
    assert "1 annotations of" in caplog.text
    assert "have no picture: z; they are left out." in caplog.text
    assert "have no annotation and are left out: b.jpg" in caplog.text


BOMB = """<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><annotation>
<filename>&b;</filename></annotation>"""
OUTSIDE = """<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation>&a;</annotation>"""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BOMB.encode(), r"Annotations/a\.xml is no Pascal VOC annotation: it declares a document type"),
        (OUTSIDE.encode(), "declares a document type"),
        (BOMB.encode("utf-16"), "declares a document type"),
        (b"<annotation>&undefined;</annotation>", "is not XML"),
        (b"", "is not XML"),
        (b"<annotation>", r"is not XML \(no element found: line 1"),
        (b'<?xml version="1.0" encoding="utf-99"?><annotation/>', "is not XML"),
        (b"<coco/>", "is no Pascal VOC annotation: its root is <coco>"),
        (annotation("<object/>").encode(), "Object 1 of .* has no name"),
        (annotation("<object><name>a</name></object>").encode(), r"Object 1 \(a\) of .* has '' as xmin"),
        (DOG.replace("371", "nan").encode(), r"Object 1 \(dog\) of .* has 'nan' as ymax, which is no number"),
    ],
)
def test_one_sentence(data, message):
    with pytest.raises(DataError, match=message) as caught:
        parse_voc(data, HERE)
    assert "\n" not in str(caught.value)


tags = st.sampled_from(
    "<annotation> </annotation> <object> </object> <name>a</name> <bndbox> </bndbox> <xmin>1</xmin> <ymin>2</ymin> "
    "<xmax>3</xmax> <ymax>x</ymax> <!DOCTYPE <?xml?> &lt; \0".split()
)


@given(st.binary() | st.text().map(str.encode) | st.lists(tags).map("".join).map(str.encode))
def test_any_bytes_give_boxes_or_one_sentence(data):
    try:
        parse_voc(data, HERE)
        message = str(HERE)
    except DataError as error:
        message = str(error)
    assert str(HERE) in message


# What XML 1.0 can hold, and isn't blank.
names = st.from_regex(r"[!-~\u00a1-\ud7ff]+( [!-~]+)?", fullmatch=True)


@given(names, st.tuples(*[st.floats(-1e5, 1e5)] * 4))
def test_any_class_and_corners_come_back(tmp_path_factory, label, corners):
    folder = tmp_path_factory.getbasetemp() / "any-voc"
    picture = folder / "JPEGImages/a.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(picture), np.zeros((4, 4), np.uint8))
    write_voc(SampleTable((Sample(picture, 1, boxes=(Box(label, *corners),)),), CLASSES, picture.parent, "voc"), folder)
    ((box,),) = [sample.boxes for sample in read_voc(folder)]
    assert box.label == label
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx(corners)


def test_characters_that_xml_cannot_hold_are_dropped(pictures, tmp_path):
    sample = replace(pictures[0], boxes=(Box("a\x00\x1f\ufffe\ud800b", 1, 2, 3, 4),))
    write_voc(pictures.with_samples([sample]), tmp_path)
    ((box,),) = [sample.boxes for sample in read_voc(tmp_path, images=pictures.root)]
    assert box.label == "ab"


POINTS = ((10, 20), (40, 15), (30, 60))
OUTLINES = {
    "numbered": "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(POINTS, 1)),
    "points": "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in POINTS),
}


@pytest.mark.parametrize("points", OUTLINES.values(), ids=OUTLINES)
def test_an_outline_gives_the_box_where_there_is_none(points):
    data = annotation(f"<object><name>a</name><polygon>{points}</polygon></object>").encode()
    assert parse_voc(data, HERE)[1] == (Box("a", 10, 15, 40, 60),)


@pytest.mark.parametrize("points", ["", OUTLINES["points"].replace("40", "forty"), "<x1>1</x1><y1>1</y1>"])
def test_an_outline_that_is_none_is_refused_by_its_object(points):
    data = annotation(f"<object><name>a</name><polygon>{points}</polygon></object>").encode()
    with pytest.raises(DataError, match=r"Object 1 \(a\) of .*a\.xml"):
        parse_voc(data, HERE)


def test_a_box_counts_more_than_the_outline_beside_it():
    corners = "".join(f"<{tag}>{n}</{tag}>" for tag, n in (("xmin", 2), ("ymin", 3), ("xmax", 9), ("ymax", 8)))
    inside = f"<object><name>a</name><bndbox>{corners}</bndbox><polygon>{OUTLINES['points']}</polygon></object>"
    assert parse_voc(annotation(inside).encode(), HERE)[1] == (Box("a", 1, 2, 9, 8),)
