"""COCO annotations, and samples left out or repeated."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tfrecord import example_pb2
from tfrecord.reader import tfrecord_iterator

from xraycls.errors import DataError, SpecError
from xraycls.tao.dataset_convert import dataset_convert
from xraycls.tao.dataset_convert.sample_modifier import Modifier
from xraycls.tao.dataset_export import SampleModifier

RULES = SampleModifier(
    filter_samples_containing_only=("road",),
    dominant_target_classes=("car",),
    minimum_target_class_imbalance={"bike": 0.5},
    num_duplicates=2,
    source_to_target_class_mapping={"car": "car", "van": "car", "bicycle": "bike", "lane": "road", "person": "person"},
)


def modifier(rules: SampleModifier = RULES, folds: int = 2, validation_fold: int | None = 0) -> Modifier:
    return Modifier(rules, Path("spec.txt"), folds, validation_fold)


@pytest.mark.parametrize(
    ("labels", "times"),
    [
        ("", 1),
        ("lane lane", 0),
        ("lane tree", 0),  # a class that isn't mapped doesn't count
        ("lane car", 1),  # road is rare, too, but 1 > 1 × 1 is false
        ("car car car", 1),
        ("bicycle car", 3),
        ("bicycle car car", 1),  # 1 > 2 × 0.5 is false
        ("bicycle bicycle car van car", 3),
        ("person car", 1),
        ("person person car", 3),
        ("bicycle", 3),
        ("tree", 1),
    ],
)
def test_an_image_is_written_by_the_classes_in_it(labels, times):
    assert modifier().times(labels.split(), fold=1) == times


@given(st.lists(st.sampled_from(["car", "van", "bicycle", "lane", "person", "tree"]), max_size=8))
def test_the_rules_written_out_again(labels):
    mapped = [RULES.source_to_target_class_mapping[name] for name in labels if name != "tree"]
    expected = 1
    if mapped and set(mapped) == {"road"}:
        expected = 0
    else:
        for rare in set(mapped) - {"car"}:
            if mapped.count(rare) > mapped.count("car") * {"bike": 0.5}.get(rare, 1.0):
                expected = 3
    assert modifier().times(labels, fold=1) == expected


def test_the_validation_fold_is_left_alone():
    assert modifier().times(["lane"], fold=0) == 1
    assert modifier(validation_fold=None).times(["lane"], fold=0) == 0


@pytest.mark.parametrize(("validation_fold", "most"), [(0, 5), (None, 3)])
def test_the_most_samples_are_shared_by_the_training_folds(validation_fold, most):
    rules = SampleModifier(max_training_samples=11)
    one = modifier(rules, folds=3, validation_fold=validation_fold)
    assert [sum(one.times([], fold) for _ in range(9)) for fold in (1, 2)] == [most, most]
    assert sum(one.times([], 0) for _ in range(9)) == (9 if validation_fold == 0 else most)


def test_repeats_are_cut_at_the_most():
    rules = SampleModifier(
        dominant_target_classes=("car",), num_duplicates=4, max_training_samples=7,
        source_to_target_class_mapping={"car": "car", "bike": "bike"},
    )  # fmt: skip
    one = modifier(rules, folds=2, validation_fold=0)
    assert [one.times(["bike"], 1) for _ in range(3)] == [5, 2, 0]


@pytest.fixture
def coco(tmp_path) -> Path:
    """Two folds of three and two images with annotations."""
    root = tmp_path / "data"
    for name, count in (("val", 2), ("train", 3)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(root / name / f"{number}.v1.jpg"), np.full((30, 40), 99, np.uint8))
    (root / "val.json").write_text(json.dumps(annotations(2)))
    (root / "train.json").write_text(json.dumps(annotations(3)))
    return root


def annotations(images: int) -> dict:
    return {
        "images": [
            {"id": 10 - number, "file_name": f"{number}.v1.jpg", "width": 40, "height": 30} for number in range(images)
        ],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 5, "bbox": [1, 2, 3.5, 4], "iscrowd": 1},
            {"id": 2, "image_id": 10, "category_id": 7, "bbox": [1, 2, 0.5, 4]},
            {"id": 3, "image_id": 9, "category_id": 7, "bbox": [0, 0, 10, 10]},
            {"id": 4, "image_id": 99, "category_id": 7, "bbox": [0, 0, 10, 10]},
        ],
        "categories": [{"id": 5, "name": "Lung Opacity"}, {"id": 7, "name": "mass"}],
    }


def spec(root: Path, extra: str = "", **changes: object) -> Path:
    values = {
        "root_directory_path": f'"{root}"', "img_dir_names": '["val", "train"]',
        "annotation_files": '["val.json", "train.json"]', "num_partitions": 2, "num_shards": "[1, 2]",
    } | changes  # fmt: skip
    path = root.parent / "spec.txt"
    lines = "".join(f"  {name}: {value}\n" for name, value in values.items())
    path.write_text(f"coco_config {{\n{lines}}}\n{extra}")
    return path


def convert(path: Path, **options):
    return dataset_convert(path, path.parent / "out" / "coco", **options)


def examples(path: Path) -> list[dict]:
    found = []
    for record in tfrecord_iterator(str(path)) if path.stat().st_size else ():
        features = example_pb2.Example.FromString(bytes(record)).features.feature
        found.append({name: list(getattr(f, f.WhichOneof("kind")).value) for name, f in features.items()})
    return found


def test_coco_folds_stay_in_the_order_of_the_file(coco):
    done = convert(spec(coco))
    names = ["coco-fold-000-of-002-shard-00000-of-00001", "coco-fold-001-of-002-shard-00000-of-00002",
             "coco-fold-001-of-002-shard-00001-of-00002"]  # fmt: skip
    assert [file.name for file in done.files] == names
    ids = [[example["frame/id"][0].decode() for example in examples(file)] for file in done.files]
    assert ids == [["val/0.v1", "val/1.v1"], ["train/0.v1"], ["train/1.v1", "train/2.v1"]]
    first, second = examples(done.files[0])
    assert first["target/object_class"] == [b"lungopacity"]
    corners = [first[f"target/coordinates_{name}"] for name in ("x1", "y1", "x2", "y2")]
    assert corners == [[1], [2], [4.5], [6]]
    assert first["target/occlusion"] == first["target/truncation"] == [0]
    assert (first["frame/width"], first["frame/height"]) == ([40], [30])
    assert second["target/object_class"] == [b"mass"]
    assert done.class_map == {"LungOpacity": "lungopacity", "mass": "mass"}
    assert json.loads(done.warnings.read_text()) == {"2": [1, 2, 1, 6]}


def test_one_number_of_shards_is_for_all_folds(coco):
    done = convert(spec(coco, num_shards="2"))
    assert len(done.files) == 4
    for file in done.files:
        file.unlink()
    assert [file.name for file in convert(spec(coco, num_shards="0")).files] == [
        "coco-fold-000-of-002", "coco-fold-001-of-002",
    ]  # fmt: skip


def test_coco_records_for_ssd(coco):
    done = convert(spec(coco, 'target_class_mapping { key: "mass" value: "Finding" }'))
    first, second = examples(done.files[0])
    assert first["target/object_class_id"] == []
    assert second["target/object_class_id"] == [1]
    assert second["target/coordinates_x2"] == [0.25]
    assert second["frame/encoded"] == [(coco / "val" / "1.v1.jpg").read_bytes()]
    (coco / "val" / "1.v1.jpg").unlink()
    with pytest.raises(DataError, match=r"1\.v1\.jpg could not be read"):
        convert(spec(coco, 'target_class_mapping { key: "mass" value: "Finding" }'))


def test_rules_of_the_spec_are_followed(coco):
    rules = """sample_modifier_config {
      filter_samples_containing_only: "m"
      source_to_target_class_mapping { key: "mass" value: "m" }
    }"""
    done = convert(spec(coco, rules), validation_fold=0)
    assert done.records == {0: 2, 1: 2}
    with pytest.raises(SpecError) as caught:
        convert(spec(coco, rules.replace('"m"\n', '"n"\n', 1)))
    assert "line 9: filter_samples_containing_only has n, which source_to_target_class_mapping doesn't" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"img_dir_names": '"val"'}, 5, "has 1 img_dir_names, 2 annotation_files and num_partitions 2"),
        ({"num_partitions": 3}, 5, "num_partitions 3"),
        ({"num_shards": "[1, 2, 3]"}, 6, "num_shards has 3 numbers for 2 partitions"),
        ({"num_shards": "[]"}, 6, "num_shards has 0 numbers"),
    ],
)
def test_lists_that_do_not_fit_are_named(coco, changes, line, message):
    with pytest.raises(SpecError) as caught:
        convert(spec(coco, **changes))
    assert caught.value.line == line
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("images", [], "has no images"),
        ("annotations", None, "has no annotations"),
        ("categories", [{"id": 1}], "entry 1 of categories has no usable name"),
        ("images", [{"id": 1, "file_name": "a", "width": 0, "height": 3}], "entry 1 of images has no usable width"),
        ("annotations", [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 2, 3]}], "has no usable bbox"),
        ("annotations", [{"id": 1, "image_id": 1, "category_id": 6, "bbox": [1, 2, 3, 4]}], "that isn't listed"),
        ("annotations", [3], "entry . of annotations"),
        ("categories", [{"id": 1, "name": "x"}], r"categories of .*train\.json are not those of val\.json"),
    ],
)  # fmt: skip
def test_annotations_that_cannot_be_used_are_named(coco, part, value, message):
    (coco / "train.json").write_text(json.dumps(annotations(3) | {part: value}))
    with pytest.raises(DataError, match=message):
        convert(spec(coco))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "bbox", "name"]), inner),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(["images", "annotations", "categories"]), st.integers(0, 1), st.text("ibdfwhcn", max_size=2), JSON
)
def test_any_annotations_are_records_or_one_error(coco, part, place, start, value):
    content = annotations(2)
    entry = content[part][place]
    names = [name for name in entry if name.startswith(start[:1])] or list(entry)
    entry[names[0]] = value
    (coco / "val.json").write_text(json.dumps(content))
    try:
        done = convert(spec(coco, num_shards="1"))
    except DataError:
        return
    assert done.records[1] == 3
