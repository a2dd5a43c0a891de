"""``dataset_convert`` from spec to records: what is written, in which file, and what is refused."""

import csv
import json
import random
import struct
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tfrecord import example_pb2
from tfrecord.reader import tfrecord_iterator

from xraycls.data.formats.tfrecords import read_tfrecords
from xraycls.errors import DataError, SpecError, UsageError, XrayclsError
from xraycls.tao.dataset_convert import dataset_convert
from xraycls.tao.mounts import read_mounts

WIDTH, HEIGHT = 60, 40
LINE = "Opacity 0.10 1 0.20 {} 0.5 0.6 0.7 0.8 0.9 1.0 1.1"
FLOATS = (
    "truncation", "observation_angle", "coordinates_x1", "coordinates_y1", "coordinates_x2", "coordinates_y2",
    "world_bbox_h", "world_bbox_w", "world_bbox_l", "world_bbox_x", "world_bbox_y", "world_bbox_z", "world_bbox_rot_y",
)  # fmt: skip
PLAIN_KEYS = {"frame/id", "frame/height", "frame/width", "target/object_class", "target/occlusion"} | {
    f"target/{name}" for name in FLOATS
}
SSD_KEYS = PLAIN_KEYS - {"target/object_class"} | {"frame/encoded", "target/object_class_id"}


@pytest.fixture
def kitti(tmp_path) -> Path:
    """Twenty images, each with as many boxes as its number modulo three."""
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for number in range(20):
        picture = rng.integers(0, 255, (HEIGHT, WIDTH), np.uint8)
        cv2.imwrite(str(root / "images" / f"{number:03d}.png"), picture)
        boxes = [f"{left}.25 2 {left + 9}.5 30" for left in range(number % 3)]
        (root / "labels" / f"{number:03d}.txt").write_text("".join(f"{LINE.format(box)}\n" for box in boxes))
    return root


def spec(root: Path, extra: str = "", **changes: object) -> Path:
    """A spec file; ``changes`` are values of kitti_config as they are written."""
    values = {
        "root_directory_path": f'"{root}"', "image_dir_name": '"images"', "label_dir_name": '"labels"',
        "image_extension": '".png"', "partition_mode": '"random"', "num_partitions": 2, "val_split": 14,
        "num_shards": 3,
    } | changes  # fmt: skip
    lines = "\n".join(f"  {name}: {value}" for name, value in values.items() if value is not None)
    path = root.parent / "spec.txt"
    path.write_text(f"kitti_config {{\n{lines}\n}}\n{extra}\n")
    return path


def convert(path: Path, **options):
    told: list[str] = []
    output = path.parent / "out" / "kitti"
    done = dataset_convert(path, output, log=lambda message, figures: told.append(message), **options)
    return done, told


def examples(path: Path) -> list[dict]:
    """Every record as another library reads it: lists by feature."""
    found = []
    for record in tfrecord_iterator(str(path)) if path.stat().st_size else ():
        features = example_pb2.Example.FromString(bytes(record)).features.feature
        found.append({name: list(getattr(f, f.WhichOneof("kind")).value) for name, f in features.items()})
    return found


def names_in(path: Path) -> list[str]:
    return [example["frame/id"][0].decode() for example in examples(path)]


def test_records_hold_what_the_labels_say(kitti):
    done, _ = convert(spec(kitti))
    seen = [example for file in done.files for example in examples(file)]
    assert len(seen) == 20
    for example in seen:
        assert set(example) == PLAIN_KEYS
        number = int(example["frame/id"][0].decode().removeprefix("images/"))
        boxes = number % 3
        assert example["frame/width"] == [WIDTH]
        assert example["frame/height"] == [HEIGHT]
        assert example["target/object_class"] == [b"opacity"] * boxes
        assert example["target/occlusion"] == [1] * boxes
        expected = {
            "truncation": 0.1, "observation_angle": 0.2, "coordinates_y1": 2, "coordinates_y2": 30, "world_bbox_h": 0.5,
            "world_bbox_w": 0.6, "world_bbox_l": 0.7, "world_bbox_x": 0.8, "world_bbox_y": 0.9, "world_bbox_z": 1.0,
            "world_bbox_rot_y": 1.1,
        }  # fmt: skip
        for name, value in expected.items():
            assert example[f"target/{name}"] == [np.float32(value)] * boxes
        assert example["target/coordinates_x1"] == [left + 0.25 for left in range(boxes)]
        assert example["target/coordinates_x2"] == [left + 9.5 for left in range(boxes)]


def test_every_image_is_in_the_shard_that_the_seed_gives_it(kitti):
    done, _ = convert(spec(kitti))
    draws = random.Random(42)
    folds = [[f"images/{n:03d}" for n in range(2)], [f"images/{n:03d}" for n in range(2, 20)]]
    for fold in folds * 2:
        draws.shuffle(fold)
    expected = {}
    for number, fold in enumerate(folds):
        size = len(fold) // 3
        for shard, end in enumerate((size, 2 * size, len(fold))):
            name = f"kitti-fold-00{number}-of-002-shard-0000{shard}-of-00003"
            expected[name] = fold[shard * size : end]
    assert {file.name: names_in(file) for file in done.files} == expected
    assert done.records == {0: 2, 1: 18}


def test_twice_gives_the_same_bytes(kitti):
    first = {file: file.read_bytes() for file in convert(spec(kitti))[0].files}
    assert {file: file.read_bytes() for file in convert(spec(kitti))[0].files} == first


def test_it_prints_what_scripts_look_for(kitti):
    _, told = convert(spec(kitti))
    assert told[0] == "Num images in\nTrain: 18\tVal: 2"
    assert told[1].startswith("Validation data in partition 0.")
    assert told[1].endswith("validation_fold 0.")
    assert [line for line in told if line.startswith("Writing")] == [
        f"Writing partition {fold}, shard {shard}" for fold in range(2) for shard in range(3)
    ]
    assert "\nWrote the following numbers of objects:\nopacity: 1\n" in told
    cumulative = told.index("Cumulative object statistics")
    assert told[cumulative + 1] == "\nWrote the following numbers of objects:\nopacity: 19\n"
    assert told[cumulative + 2] == "Class map. \nLabel in GT: Label in tfrecords file \nOpacity: opacity"
    assert "please use labels in the tfrecords file" in told[cumulative + 3]
    assert told[-1] == "Tfrecords generation complete."


def test_boxes_without_area_are_left_out_and_listed(kitti, caplog):
    label = kitti / "labels" / "003.txt"
    label.write_text("\n\n".join(LINE.format(box) for box in ("0 1 1 0", "5 5 5.9 20", "-0.9 3 0.9 9", "70 50 80 60")))
    done, _ = convert(spec(kitti))
    assert done.warnings == kitti.parent / "out" / "kitti_warning.json"
    assert json.loads(done.warnings.read_text()) == {
        f"{label}_0": [0, 1, 1, 0], f"{label}_1": [5, 5, 5, 20], f"{label}_2": [0, 3, 0, 9],
    }  # fmt: skip
    assert done.warnings.read_text().startswith('{\n  "')
    assert "3 objects have no area" in caplog.text
    (example,) = (e for file in done.files for e in examples(file) if e["frame/id"] == [b"images/003"])
    assert example["target/coordinates_x1"] == [70]  # wholly outside the picture, and kept
    label.write_text("")
    assert convert(spec(kitti))[0].warnings is None
    assert not (kitti.parent / "out" / "kitti_warning.json").exists()


def test_an_image_of_refused_boxes_stays_as_a_negative(kitti):
    (kitti / "labels" / "003.txt").write_text(LINE.format("0 1 1 0").replace("Opacity", "none"))
    done, _ = convert(spec(kitti))
    (example,) = (e for file in done.files for e in examples(file) if e["frame/id"] == [b"images/003"])
    assert example["target/object_class"] == []
    assert done.class_map == {"Opacity": "opacity"}


def test_an_empty_validation_fold_leaves_training_its_number(kitti, caplog):
    done, told = convert(spec(kitti, val_split=0))
    assert {file.name[:21] for file in done.files} == {"kitti-fold-001-of-002"}
    assert sum(len(names_in(file)) for file in done.files) == 20
    assert "Skipped validation data..." in told
    assert caplog.text.count("Fold 0 has no images") == 1


def test_without_partitions_and_shards_there_is_one_plain_file(kitti):
    sequences = {"b": ["004", "002"], "a": ["001"]}
    (kitti / "map.json").write_text(json.dumps(sequences))
    values = {"partition_mode": '"sequence"', "kitti_sequence_to_frames_file": '"map.json"', "num_shards": 0}
    done, _ = convert(spec(kitti, num_partitions=0, **values))
    assert [file.name for file in done.files] == ["kitti"]
    expected = ["images/004", "images/002", "images/001"]
    random.Random(42).shuffle(expected)
    assert names_in(done.files[0]) == expected


def test_sequences_are_dealt_to_folds(kitti):
    (kitti / "map.json").write_text(json.dumps({"a": ["000"], "b": ["001", "002"], "c": ["003"]}))
    done, _ = convert(
        spec(kitti, partition_mode='"sequence"', kitti_sequence_to_frames_file='"map.json"', num_shards=None)
    )
    assert [file.name for file in done.files] == ["kitti-fold-000-of-002", "kitti-fold-001-of-002"]
    assert names_in(done.files[0]) == ["images/000"]
    assert sorted(names_in(done.files[1])) == ["images/001", "images/002", "images/003"]


def test_names_are_sorted_with_their_extension(kitti):
    for name in ("a1", "a", "a_1", "a-1"):
        (kitti / "images" / f"{name}.png").write_bytes((kitti / "images" / "000.png").read_bytes())
        (kitti / "labels" / f"{name}.txt").write_text("")
    for number in range(20):
        (kitti / "images" / f"{number:03d}.png").unlink()
    done, _ = convert(spec(kitti, val_split=50, num_shards=0))
    assert sorted(names_in(done.files[0])) == ["images/a", "images/a-1"]


def test_records_for_ssd_hold_the_file_shares_and_numbers(kitti, tmp_path):
    (kitti / "labels" / "004.txt").write_text(
        LINE.format("3 4 30 20") + "\n" + LINE.format("0 0 9 9").replace("Op", "Cap")
    )
    names = tmp_path / "classes.txt"
    names.write_text("opacity\n\nATELECTASIS\n")
    done, _ = convert(spec(kitti), class_names=names)
    for file in done.files:
        lines = (file.parent / f"idx-{file.name}").read_text().splitlines()
        assert len(lines) == len(examples(file))
    seen = {e["frame/id"][0].decode(): e for file in done.files for e in examples(file)}
    assert all(set(example) == SSD_KEYS for example in seen.values())
    example = seen["images/004"]
    assert example["frame/encoded"] == [(kitti / "images" / "004.png").read_bytes()]
    assert example["target/object_class_id"] == [2]  # atelectasis is 1, and capacity has no number
    assert example["target/coordinates_x1"] == pytest.approx([3 / WIDTH])
    assert example["target/coordinates_y2"] == pytest.approx([20 / HEIGHT])
    assert dict(done.objects) == {"opacity": 19}
    assert done.class_map == {"Opacity": "opacity", "Capacity": "capacity"}


def test_a_class_mapping_in_the_spec_makes_records_for_ssd(kitti, tmp_path, caplog):
    mapping = 'target_class_mapping { key: "Opacity" value: "Lesion" }\ntarget_class_mapping { key: "x" value: "aaa" }'
    names = tmp_path / "classes.txt"
    names.write_text("opacity\n")
    done, _ = convert(spec(kitti, mapping), class_names=names)
    assert {n for file in done.files for e in examples(file) for n in e["target/object_class_id"]} == {2}
    assert dict(done.objects) == {"lesion": 19}
    assert "are not used" in caplog.text


def test_dali_opens_records_for_ssd(kitti, tmp_path):
    tfrecord = pytest.importorskip("nvidia.dali.tfrecord", reason="needs nvidia-dali-cuda120, of the extra dali")
    from nvidia.dali import fn, pipeline_def

    done, _ = convert(spec(kitti, 'target_class_mapping { key: "opacity" value: "opacity" }', num_shards=0))
    floats = [f"target/coordinates_{c}" for c in ("x1", "y1", "x2", "y2")] + ["target/object_class_id"]
    wanted = {"frame/encoded": tfrecord.FixedLenFeature((), tfrecord.string, "")} | {
        name: tfrecord.VarLenFeature(tfrecord.float32, 0.0) for name in floats
    }
    file = done.files[1]

    @pipeline_def(batch_size=18, num_threads=1, device_id=None)
    def pipeline():
        index = str(file.with_name(f"idx-{file.name}"))
        read = fn.readers.tfrecord(path=str(file), index_path=index, features=wanted)
        return (read["frame/encoded"], *(read[name] for name in floats))

    built = pipeline()
    built.build()
    encoded, *columns = built.run()
    records = examples(file)
    assert len(records) == 18
    for row, record in enumerate(records):
        assert bytes(np.asarray(encoded.at(row))) == record["frame/encoded"][0]
        for name, column in zip(floats, columns, strict=True):
            assert np.asarray(column.at(row)).ravel().tolist() == record[name]


def test_the_records_of_every_flavour_come_back_as_the_same_boxes(kitti, tmp_path):
    plain = read_tfrecords(convert(spec(kitti))[0].files[0].parent, images=kitti, validation_fold=0)
    mapped = spec(kitti, 'target_class_mapping { key: "opacity" value: "opacity" }')
    dataset_convert(mapped, tmp_path / "ssd" / "kitti")
    other = read_tfrecords(tmp_path / "ssd", images=kitti, validation_fold=0, class_names=["opacity"])
    assert Counter(s.split for s in plain) == {"val": 2, "train": 18}
    assert len(plain) == len(other) == 20
    for one, two in zip(plain, other, strict=True):
        assert (one.path, one.split, len(one.boxes)) == (two.path, two.split, len(two.boxes))
        for box, its in zip(one.boxes, two.boxes, strict=True):
            assert (its.left, its.top, its.right, its.bottom) == pytest.approx(
                (box.left, box.top, box.right, box.bottom), rel=1e-5
            )


def test_folders_of_the_container_are_mounted(kitti):
    path = spec(kitti, root_directory_path='"/workspace/tlt-experiments/data"')
    with pytest.raises(DataError, match="Say where it lies here: --mount /workspace/tlt-experiments=FOLDER"):
        convert(path)
    done, _ = convert(path, mounts=read_mounts([f"/workspace/tlt-experiments={kitti.parent}"]))
    assert sum(done.records.values()) == 20


def test_the_status_file_has_a_line_a_message(kitti, tmp_path):
    convert(spec(kitti), results=tmp_path / "results")
    lines = [json.loads(line) for line in (tmp_path / "results" / "status.json").read_text().splitlines()]
    assert [lines[0]["status"], lines[1]["status"], lines[-1]["status"]] == ["STARTED", "RUNNING", "SUCCESS"]
    assert {"date", "time", "status", "verbosity", "message"} <= set(lines[0])
    assert lines[1]["kpi"] == {"num_images": 20}
    (figures,) = (line["categorical"] for line in lines if "categorical" in line)
    assert figures == {"num_objects": {"opacity": 19}}
    with pytest.raises(SpecError):
        convert(spec(kitti, val_split=100), results=tmp_path / "results")
    lines = [json.loads(line) for line in (tmp_path / "results" / "status.json").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["STARTED", "FAILURE"]
    assert "val_split is 100" in lines[1]["message"]


def test_shards_of_other_numbers_under_the_same_name_are_refused(kitti):
    done, _ = convert(spec(kitti))
    before = {file: file.read_bytes() for file in done.files}
    with pytest.raises(DataError, match=r"out holds 6 files of another conversion named kitti, such as "
                                        r"kitti-fold-000-of-002-shard-00000-of-00003. Remove kitti-\*"):  # fmt: skip
        convert(spec(kitti, num_shards=4))
    assert {file: file.read_bytes() for file in done.files[0].parent.iterdir()} == before


def test_indices_of_records_for_ssd_go_with_them(kitti):
    done, _ = convert(spec(kitti, 'target_class_mapping { key: "opacity" value: "opacity" }'))
    assert any(done.files[0].parent.glob("idx-*"))
    convert(spec(kitti))
    assert not any(done.files[0].parent.glob("idx-*"))


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"val_split": 100}, 8, "val_split is 100. It is a percentage, at least 0 and below 100"),
        ({"val_split": -1}, 8, "val_split is -1"),
        ({"val_split": "nan"}, 8, "val_split is nan"),
        ({"num_partitions": 3}, 7, "partition_mode 'random' makes 2 partitions, not 3. Write num_partitions: 2"),
        ({"partition_mode": '"shuffle"'}, 6, "partition_mode is 'shuffle'. Choose 'random' or 'sequence'"),
        ({"partition_mode": '"sequence"'}, 6, "needs kitti_sequence_to_frames_file"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(kitti, changes, line, message):
    with pytest.raises(SpecError) as caught:
        convert(spec(kitti, **changes))
    assert str(caught.value).startswith(f"{kitti.parent / 'spec.txt'}, line {line}: ")
    assert message in str(caught.value)
    assert not (kitti.parent / "out").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.format("1 2 3 4") + " 0.9", "has 16 tokens; a KITTI object has exactly 15. A 16th token is a predicted"),
        (LINE.format("1 2 3"), "has 14 tokens"),
        (LINE.format("1 2 3 nan"), "has 'nan' where KITTI has a number"),
        (LINE.format("1 2 3 inf"), "has 'inf' where KITTI has a number"),
        (LINE.format("1 2 3 x"), "has 'x' where KITTI has a number"),
        ("# a comment", "has 3 tokens"),
        ("Lung " + LINE.format("1 2 3"), "has 'Opacity' where KITTI has a number"),
    ],
)
def test_a_line_that_is_no_object_is_named(kitti, line, message):
    label = kitti / "labels" / "007.txt"
    label.write_text(f"{LINE.format('1 2 3 4')}\n{line}\n")
    with pytest.raises(DataError) as caught:
        convert(spec(kitti))
    assert str(caught.value).startswith(f"Line 2 of {label} {message}")
    assert not (kitti.parent / "out").exists()


def test_an_occlusion_of_one_and_a_bit_is_read(kitti):
    (kitti / "labels" / "000.txt").write_text("a 0 1.9 0 1 2 30 40 0 0 0 0 0 0 0")
    done, _ = convert(spec(kitti))
    (example,) = (e for file in done.files for e in examples(file) if e["frame/id"] == [b"images/000"])
    assert example["target/occlusion"] == [1]


def test_files_that_are_missing_are_named(kitti):
    (kitti / "labels" / "007.txt").unlink()
    with pytest.raises(DataError, match=r"1 of 20 images have no label file: .*007\.txt\. An image without objects"):
        convert(spec(kitti))
    with pytest.raises(DataError, match=r"has no images that end in \.jpg; it has \.png"):
        convert(spec(kitti, image_extension='".jpg"'))
    with pytest.raises(DataError, match="nowhere could not be read"):
        convert(spec(kitti, image_dir_name='"nowhere"'))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('["a"]', "is no map of sequences"),
        ('{"a": [1]}', "is no map of sequences"),
        ('{"a": []}', "names no image"),
        ('{"a": ["xyz"]}', "1 of 1 images have no image file"),
    ],
)
def test_sequences_that_cannot_be_used_are_named(kitti, content, message):
    (kitti / "map.json").write_text(content)
    with pytest.raises(DataError, match=message):
        convert(spec(kitti, partition_mode='"sequence"', kitti_sequence_to_frames_file='"map.json"'))


def test_an_image_that_cannot_be_read_is_named(kitti):
    (kitti / "images" / "007.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"007\.png is not an image"):
        convert(spec(kitti))


def test_an_extension_without_its_dot_is_understood(kitti, caplog):
    assert len(convert(spec(kitti, image_extension='"png"'))[0].files) == 6
    assert "has no dot" in caplog.text
    assert len(convert(spec(kitti, image_extension=None))[0].files) == 6


def test_a_fold_that_does_not_exist_is_refused(kitti):
    with pytest.raises(UsageError, match=r"--validation_fold 2 is none of the 2 folds \(0 to 1\)"):
        convert(spec(kitti), validation_fold=2)


def test_a_spec_of_nothing_is_refused(tmp_path):
    (tmp_path / "spec.txt").write_text("image_directory_path: 'a'")
    with pytest.raises(SpecError, match="neither kitti_config nor coco_config"):
        convert(tmp_path / "spec.txt")


def test_a_file_in_the_way_of_the_output_is_one_sentence(kitti):
    (kitti.parent / "out").write_text("")
    with pytest.raises(XrayclsError, match="could not be written"):
        convert(spec(kitti))


def test_names_with_spaces_and_accents_are_kept(kitti):
    name = "Étude é 1" + "x" * 180
    (kitti / "images" / "000.png").rename(kitti / "images" / f"{name}.png")
    (kitti / "labels" / "000.txt").rename(kitti / "labels" / f"{name}.txt")
    done, _ = convert(spec(kitti))
    assert f"images/{name}" in [n for file in done.files for n in names_in(file)]


TOKENS = st.sampled_from(["Opacity", "0", "1.5", "-3", "nan", "1e300", "1e39", "x", "\n", "é", "0x1", "1_0"])
OBJECTS = st.lists(st.one_of(st.floats(), st.integers()), min_size=14, max_size=14).map(
    lambda numbers: " ".join(["a", *map(str, numbers)])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(TOKENS, max_size=33).map(" ".join), OBJECTS))
def test_any_label_file_is_records_or_one_error(kitti, text):
    (kitti / "labels" / "000.txt").write_text(text, encoding="utf-8", errors="replace")
    path = spec(kitti, partition_mode='"sequence"', kitti_sequence_to_frames_file='"map.json"', num_shards=0)
    (kitti / "map.json").write_text('{"a": ["000"]}')
    try:
        done, _ = convert(path)
    except DataError as error:
        assert "000.txt" in str(error)  # noqa: PT017
        return
    assert sum(done.records.values()) == 1
    assert struct.unpack("<Q", done.files[-1].read_bytes()[:8])[0] > 0


def test_real_radiographs_with_the_seeds_spec(shared, tmp_path):
    """Images of NIH with RSNA's boxes, laid out like the seed's data, through its own spec."""
    source = shared / "data" / "nih_rsna_bbox"
    root = tmp_path / "data" / "SIIM-FISABIO-RSNA" / "formatted"
    (root / "labels").mkdir(parents=True)
    (root / "images").symlink_to(source / "images")
    boxes: dict[str, list[tuple[float, ...]]] = {image.stem: [] for image in (source / "images").iterdir()}
    with (source / "rsna_labels_subset.csv").open() as handle:
        for row in csv.DictReader(handle):
            if row["Target"] == "1":
                left, top, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
                boxes[row["image"].removesuffix(".png")].append((left, top, left + width, top + height))
    for name, found in boxes.items():
        lines = [LINE.format(" ".join(map(str, box))) for box in found]
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines))
    seed = shared / "reference" / "seed_specs" / "ssd_tfrecords_kitti_trainval.txt"
    mounts = read_mounts([f"/workspace/tlt-experiments={tmp_path}"])
    done = dataset_convert(seed, tmp_path / "records" / "kitti_trainval", mounts=mounts)
    first = int(0.14 * len(boxes))
    assert done.records == {0: first, 1: len(boxes) - first}
    table = read_tfrecords(tmp_path / "records", images=root, validation_fold=0)
    assert {s.path.stem for s in table.split("val")} == set(sorted(boxes)[:first])
    for sample in table:
        assert [(b.left, b.top, b.right, b.bottom) for b in sample.boxes] == boxes[sample.path.stem]


def test_pictures_of_another_suffix_are_left_out_and_told(kitti, caplog):
    for number, suffix in ((0, ".jpg"), (1, ".PNG"), (2, ".txt")):
        picture = kitti / "images" / f"{number:03d}.png"
        picture.rename(picture.with_suffix(suffix))
    convert(spec(kitti))
    assert "2 pictures of" in caplog.text
    assert "such as 000.jpg; image_extension names one suffix" in caplog.text
