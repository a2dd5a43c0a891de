import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.data.formats import detect_format
from xraycls.data.formats.coco import parse_coco, read_coco, write_coco
from xraycls.data.source import read_source
from xraycls.errors import DataError
from xraycls.types import Box

HERE = Path("instances_train.json")


def small(**changes: object) -> dict[str, object]:
    """A picture of two boxes."""
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": 60, "height": 40}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 2, "bbox": [1, 2, 10.5, 20], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1, "score": 0.5},
        ],
        "categories": [{"id": 1, "name": "nodule"}, {"id": 2, "name": "opacity"}],
        **changes,
    }


@pytest.fixture
def written(tmp_path, draw):
    def write(place: str = "instances_train.json", **changes: object) -> Path:
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(small(**changes)), encoding="utf-8")
        return file

    draw(tmp_path / "a.png")
    return write


def test_a_file_is_read(written):
    (sample,) = read_coco(written())
    assert sample.boxes == (
        Box("opacity", 1, 2, 11.5, 22),
        Box("nodule", 0, 0, 5, 5, score=0.5, difficult=True),
    )
    assert (sample.path.name, sample.split, sample.label) == ("a.png", "train", 1)


def test_a_table_comes_back(pictures, told, tmp_path):
    write_coco(pictures, tmp_path)
    assert sorted(file.name for file in (tmp_path / "annotations").iterdir()) == [
        "instances_test.json",
        "instances_train.json",
        "instances_val.json",
    ]
    assert told(read_coco(tmp_path, images=pictures.root)) == told(pictures)
    pictures.root.rename(tmp_path / "images")
    assert detect_format(tmp_path).name == "coco"
    found = read_source(tmp_path)
    assert told(found) == told(pictures)
    assert found.root == tmp_path / "images"
    alone = read_source(tmp_path / "annotations/instances_test.json")
    assert told(alone) == {"d": told(pictures)["d"]}


def test_the_official_reader_finds_the_same_boxes(pictures, tmp_path):
    faster = pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is not installed")
    write_coco(pictures, tmp_path)
    for split in pictures.splits:
        theirs = faster.COCO(str(tmp_path / f"annotations/instances_{split}.json"))
        names = {each["id"]: each["name"] for each in theirs.loadCats(theirs.getCatIds())}
        assert sorted(names.values()) == ["nodule", "opacity"]
        for image in theirs.loadImgs(theirs.getImgIds()):
            found = theirs.loadAnns(theirs.getAnnIds(imgIds=[image["id"]]))
            ours = next(s for s in pictures.split(split) if s.path.name == image["file_name"])
            assert (image["width"], image["height"]) == (60, 40)
            assert [(names[each["category_id"]], *each["bbox"]) for each in found] == [
                (b.label, b.left, b.top, b.right - b.left, b.bottom - b.top) for b in ours.boxes
            ]


@pytest.mark.parametrize(
    ("file", "picture", "split"),
    [
        ("annotations/instances_val2017.json", "val2017/a.png", "val"),
        ("annotations/instances_train.json", "images/train/a.png", "train"),
        ("test/_annotations.coco.json", "test/a.png", "test"),
        ("coco.json", "images/a.png", None),
        ("annotations/all.json", "images/a.png", None),
    ],
)
def test_layouts(tmp_path, draw, written, file, picture, split):
    (tmp_path / "a.png").unlink()
    draw(tmp_path / picture)
    written(file)
    assert detect_format(tmp_path).name == detect_format(tmp_path / file).name == "coco"
    (sample,) = read_source(tmp_path)
    assert (sample.path, sample.split) == (tmp_path / picture, split)


def test_what_is_left_out_is_counted_and_named(written, caplog):
    images = [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "gone.png"}]
    boxes = [
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5]},
        {"image_id": 7, "category_id": 9, "bbox": [0, 0, 5, 5]},
        {"image_id": 99, "category_id": 1, "bbox": [0, 0, 5, 5]},
    ]
    with caplog.at_level(logging.WARNING):
        (sample,) = read_coco(written(images=images, annotations=boxes))
    assert len(sample.boxes) == 1
    messages = "\n".join(caplog.messages)
    assert "1 of 2 pictures of" in messages
    assert "are missing: gone.png" in messages
    assert "classes that it doesn't list (category_id 9)" in messages
    assert "pictures that it doesn't list (image_id 99)" in messages


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [{"id": 1}]}, r"images\[0\]\.file_name of .*\.json: field required"),
        ({"images": {}}, r"images of .*\.json: input should be a valid array"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": "[1, 2, 3, 4]"}]}, r"annotations\[0\]\.bbox of .*"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}]}, r"annotations\[0\]\.bbox\[3\] of"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, float("nan")]}]}, "annotations|not COCO"),
        ({"images": [{"id": 1, "file_name": "a"}] * 2}, r"images\[1\] of .* has the id 1 of an earlier one"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, r"categories\[1\] of .* has the id 1 of an earlier one"),
        ({"images": [{"id": 1, "file_name": "b.png"}]}, "None of the pictures of"),
    ],
)
def test_one_sentence_names_the_entry(written, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        read_coco(written(**changes))
    assert "\n" not in str(caught.value)


def test_two_files_of_one_split(tmp_path, written):
    written("a_train.json")
    written("b_train.json")
    with pytest.raises(DataError, match=r"several COCO files of one split: a_train.json, b_train.json"):
        read_coco(tmp_path)


entries = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "file_name", "image_id", "category_id", "bbox", "name", "images", "annotations"]),
            inner,
        )
    ),
    max_leaves=20,
)


@given(entries.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_any_bytes_give_a_set_or_one_sentence(data):
    try:
        parse_coco(data, HERE)
        message = str(HERE)
    except DataError as error:
        message = str(error)
    assert str(HERE) in message
    assert "\n" not in message


def test_a_nest_of_lists_is_one_sentence():
    with pytest.raises(DataError, match=r"instances_train\.json"):
        parse_coco(b"[" * 100_000, HERE)


OUTLINES = (
    ([[10, 10, 40, 10, 40, 50, 10, 50]], (10, 10, 40, 50)),
    ([[10, 10, 40, 20, 30, 50], [5, 60, 8, 60, 8, 70]], (5, 10, 40, 70)),
    ([10, 10, 40, 20, 30, 50], (10, 10, 40, 50)),
    ([], None),
    ([[1, 2]], None),
    ({"counts": [5, 2, 2, 1, 10], "size": [4, 5]}, (1, 1, 3, 3)),
    ({"counts": "abc", "size": [3, 3]}, None),
)


@pytest.mark.parametrize(("outline", "corners"), OUTLINES)
@pytest.mark.parametrize("bbox", [{}, {"bbox": []}, {"bbox": None}])
def test_an_outline_gives_the_box_where_there_is_none(outline, corners, bbox):
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": outline, **bbox}
    coco = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x"}], "annotations": [entry]}
    assert parse_coco(json.dumps(coco).encode(), Path("a.json")).annotations[0].corners == corners


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_of_windows_tools(encoding):
    coco = {"images": [{"id": 1, "file_name": "ä.png"}], "categories": [], "annotations": []}
    text = json.dumps(coco, ensure_ascii=False)
    assert parse_coco(text.encode(encoding), Path("a.json")).images[0].file_name == "ä.png"


def test_annotations_without_any_place_are_counted_and_negative_sizes_refused(tmp_path, caplog):
    (tmp_path / "a.png").touch()
    coco = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x"}]}
    entry = {"image_id": 1, "category_id": 1}
    write = lambda *entries: (tmp_path / "a.json").write_text(json.dumps({**coco, "annotations": entries}))  # noqa: E731
    write({**entry, "bbox": []}, {**entry, "bbox": [1, 2, 3, 4]})
    assert len(read_coco(tmp_path / "a.json")[0].boxes) == 1
    assert "1 annotations of" in caplog.text
    write({**entry, "bbox": [10, 10, -5, 4]})
    with pytest.raises(DataError, match=r"annotations\[0\] of .* has a box of negative size"):
        read_coco(tmp_path / "a.json")


@pytest.mark.parametrize("case", ["d03-coco-annotation-without-bbox", "d04-coco-bom"])
def test_files_of_labelling_tools(shared, case):
    folder = shared / "field_cases" / case
    (sample,) = read_coco(folder / "instances.json", images=folder / "images")
    box = sample.boxes[0]
    expected = {"d03": (10, 10, 30, 40), "d04": (5, 5, 25, 25)}[case[:3]]
    assert (box.left, box.top, box.right, box.bottom) == expected
