"""TFRecord files and their examples, held against the ``tfrecord`` package, another CRC and TensorFlow where asked."""

import contextlib
import json
import os
import struct
import subprocess
import sys

import crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfrecord import example_pb2, tools
from tfrecord.reader import tfrecord_iterator

from xraycls.data.formats.tfrecords import detect_tfrecords, read_tfrecords
from xraycls.data.protobuf import Schema
from xraycls.data.tfrecord import (
    decode_example,
    encode_example,
    is_tfrecord,
    read_tfrecord,
    write_index,
    write_tfrecord,
)
from xraycls.errors import DataError, MissingExtra

FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=5).map(lambda values: np.array(values, np.float32))
INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(lambda values: np.array(values, np.int64))
EXAMPLES = st.dictionaries(
    st.text(max_size=8), st.one_of(st.lists(st.binary(max_size=9), max_size=4), FLOATS, INTEGERS)
)
KINDS = {"f": "float_list", "i": "int64_list"}
SAMPLE = {
    "frame/id": [b"images/a"],
    "target/occlusion": np.array([0, -1, 2**40]),
    "target/coordinates_x1": np.array([0.5, -3.25], np.float32),
    "nothing": np.array([], np.float32),
    "names": [b"\xff\x00", b""],
}


def same(one, other):
    assert list(one) == sorted(other)
    for name, values in other.items():
        assert type(one[name]) is type(values)
        assert list(one[name]) == list(values)
        assert getattr(one[name], "dtype", None) == getattr(values, "dtype", None)


@given(EXAMPLES)
def test_an_example_comes_back_as_it_was(example):
    same(decode_example(encode_example(example)), example)


@given(EXAMPLES)
def test_another_library_reads_the_same_features(example):
    message = example_pb2.Example.FromString(encode_example(example))
    assert set(message.features.feature) == set(example)
    for name, values in example.items():
        feature = message.features.feature[name]
        kind = "bytes_list" if isinstance(values, list) else KINDS[values.dtype.kind]
        assert feature.WhichOneof("kind") == kind
        assert list(getattr(feature, kind).value) == list(values)


def test_the_order_of_features_does_not_matter():
    assert encode_example(SAMPLE) == encode_example(dict(reversed(SAMPLE.items())))


def test_numbers_that_are_not_packed_are_read(tmp_path):
    # what protobuf 2 wrote: a tag before every number
    unpacked = bytes.fromhex("0a110a0f0a0161120a1a08 0801 0805 087f 08 00".replace(" ", ""))
    assert decode_example(unpacked)["a"].tolist() == [1, 5, 127, 0]


@given(st.binary(max_size=60))
def test_any_bytes_are_an_example_or_a_value_error(data):
    with contextlib.suppress(ValueError):
        decode_example(data)


def test_a_file_is_made_of_lengths_and_masked_checksums(tmp_path):
    def masked(data: bytes) -> bytes:
        crc = crc32c.crc32c(data)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32)

    records = [b"", b"one", bytes(range(256)) * 5]
    assert write_tfrecord(tmp_path / "file", records) == 3
    expected = b""
    for record in records:
        length = struct.pack("<Q", len(record))
        expected += length + masked(length) + record + masked(record)
    assert (tmp_path / "file").read_bytes() == expected


def test_the_tfrecord_package_reads_what_we_write(tmp_path):
    records = [encode_example(SAMPLE), encode_example({"a": [b"b"]}), b"x" * 5000]
    path = tmp_path / "file"
    write_tfrecord(path, records)
    assert [bytes(record) for record in tfrecord_iterator(str(path))] == records
    assert list(read_tfrecord(path)) == records


def test_we_read_what_the_tfrecord_package_writes(tmp_path):
    from tfrecord.writer import TFRecordWriter

    path = tmp_path / "file"
    writer = TFRecordWriter(str(path))
    writer.write({"name": (b"a", "byte"), "numbers": ([1, 2], "int"), "shares": ([0.5], "float")})
    writer.close()
    (record,) = read_tfrecord(path)
    example = {"name": [b"a"], "numbers": np.array([1, 2]), "shares": np.array([0.5], np.float32)}
    same(decode_example(record), example)


def test_the_index_is_that_of_the_tfrecord_package(tmp_path):
    path = tmp_path / "file"
    write_tfrecord(path, [b"a", b"", b"b" * 100])
    index = write_index(path)
    assert index.name == "idx-file"
    tools.create_index(str(path), str(tmp_path / "theirs"))
    assert index.read_text().split() == (tmp_path / "theirs").read_text().split()


def test_an_empty_file_has_no_records(tmp_path):
    assert write_tfrecord(tmp_path / "file", []) == 0
    assert list(read_tfrecord(tmp_path / "file")) == []
    assert not is_tfrecord(tmp_path / "file")


def test_a_file_cut_anywhere_is_an_error_that_names_the_record(tmp_path):
    path = tmp_path / "file"
    write_tfrecord(path, [b"one", b"three"])
    whole = path.read_bytes()
    first = 16 + 3
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        if length == first:
            assert list(read_tfrecord(path)) == [b"one"]
            continue
        with pytest.raises(DataError, match=f"{path} is cut short in record {1 + (length > first)}"):
            list(read_tfrecord(path))


def test_a_changed_bit_anywhere_is_an_error_that_names_the_record(tmp_path):
    path = tmp_path / "file"
    write_tfrecord(path, [b"one", b"three"])
    whole = path.read_bytes()
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        number = 1 + (bit // 8 >= 19)
        with pytest.raises(DataError, match=rf"(?i)record {number} of {path}|{path} is no TFRecord file"):
            list(read_tfrecord(path))


@given(st.binary(max_size=80))
def test_any_bytes_are_records_or_one_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        list(read_tfrecord(path))


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="none could not be read: No such file"):
        list(read_tfrecord(tmp_path / "none"))


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_tfrecord(path, [b"old"])

    def failing():
        yield b"new"
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        write_tfrecord(path, failing())
    assert list(read_tfrecord(path)) == [b"old"]
    assert list(tmp_path.iterdir()) == [path]


def corners(*values: float) -> dict:
    """The box of a first object; the second is at the origin."""
    named = zip(("x1", "y1", "x2", "y2"), values, strict=True)
    return {f"target/coordinates_{name}": np.array([value, 0], np.float32) for name, value in named}


OCCLUSION = {"target/occlusion": np.array([1, 0])}
BOXES = {"target/object_class": [b"opacity", b"dontcare"], **OCCLUSION, **corners(2, 4, 8, 12.5)}
NUMBERED = {
    "target/object_class_id": np.array([2, 9], np.float32),
    "frame/width": np.array([20]),
    "frame/height": np.array([50]),
    **OCCLUSION,
    **corners(0.1, 0.08, 0.4, 0.25),
}


@pytest.fixture
def converted(tmp_path):
    """Three images in two folds, and the files that a converter puts beside them."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.jpg", "c.png"):
        (tmp_path / "images" / name).write_bytes(b"")
    for fold, names in ((0, "a"), (1, "bc")):
        records = [encode_example(BOXES | {"frame/id": [f"images/{name}".encode()]}) for name in names]
        path = tmp_path / f"kitti-fold-00{fold}-of-002-shard-00000-of-00001"
        write_tfrecord(path, records)
        write_index(path)
    (tmp_path / "kitti_warning.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("given", ["", "kitti", "kitti*", "kitti-fold-*"])
def test_converted_images_are_a_table(converted, given):
    table = read_tfrecords(converted / given, images=converted, validation_fold=0)
    assert [(s.path.name, s.split, s.label) for s in table] == [
        ("a.png", "val", 1), ("b.jpg", "train", 1), ("c.png", "train", 1),
    ]  # fmt: skip
    (box,) = table[0].boxes  # nobody looks for what DontCare covers
    assert (box.label, box.left, box.top, box.right, box.bottom, box.difficult) == ("opacity", 2, 4, 8, 12.5, True)
    kept = read_tfrecords(converted / given, images=converted, keep_regions=True)
    assert [box.label for box in kept[0].boxes] == ["opacity", "dontcare"]


def test_without_a_validation_fold_there_are_no_splits(converted):
    assert read_tfrecords(converted, images=converted).splits == ()


def test_records_for_ssd_have_shares_and_numbers(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    write_tfrecord(tmp_path / "x-of-1", [encode_example(NUMBERED | {"frame/id": [b"a"]})])
    box, other = read_tfrecords(tmp_path, class_names=["normal", "opacity"])[0].boxes
    assert box.label == "opacity"
    assert other.label == "9"
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((2, 4, 8, 12.5), rel=1e-6)


def test_images_that_are_missing_are_counted(converted, caplog):
    (converted / "images" / "b.jpg").unlink()
    assert len(read_tfrecords(converted, images=converted, extension="png")) == 2
    assert "1 images of" in caplog.text
    assert "images/b" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame/id": np.array([1])}, "frame/id is no text"),
        ({"target/coordinates_x1": np.array([np.nan, 0], np.float32)}, "not finite"),
        ({"target/coordinates_x1": np.array([1], np.float32)}, "shorter|longer"),
        ({"target/occlusion": [b"x"]}, "no list of numbers"),
        (None, "frame/id"),
    ],
)
def test_records_of_something_else_are_named(tmp_path, change, message):
    example = {"other": [b""]} if change is None else BOXES | {"frame/id": [b"a"]} | change
    write_tfrecord(tmp_path / "x-of-1", [encode_example(example)])
    with pytest.raises(DataError, match=f"Record 1 of .*x-of-1 is not of dataset_convert: .*({message})"):
        read_tfrecords(tmp_path)


@given(EXAMPLES, st.sets(st.sampled_from(sorted(NUMBERED))))
def test_any_example_is_an_image_or_one_error(tmp_path_factory, example, kept):
    path = tmp_path_factory.getbasetemp() / "any-example"
    write_tfrecord(path, [encode_example({"frame/id": [b"a"]} | {name: NUMBERED[name] for name in kept} | example)])
    with pytest.raises(DataError):  # its image is never there
        read_tfrecords(path)


def test_no_file_and_no_fold_are_one_sentence_each(converted):
    with pytest.raises(DataError, match="There are no TFRecord files"):
        read_tfrecords(converted / "coco")
    with pytest.raises(DataError, match=r"fold 7 is among the 2 of .*\. Give one of the folds that are there: 0, 1\."):
        read_tfrecords(converted, images=converted, validation_fold=7)
    for path in converted.glob("kitti-fold-000-*"):
        path.unlink()
    with pytest.raises(DataError, match=r"There is no validation fold: all 1 files of .* are of fold 1, not 0\. Leave"):
        read_tfrecords(converted, images=converted, validation_fold=0)
    for path in converted.glob("kitti-fold-*"):
        path.rename(converted / path.name.replace("fold", "part"))
    with pytest.raises(DataError, match="xraycls dataset_convert and num_partitions: 2"):
        read_tfrecords(converted, images=converted, validation_fold=0)
    with pytest.raises(DataError, match="None of the pictures"):
        read_tfrecords(converted, images=converted / "images")


def test_tfrecords_are_told_from_other_files(converted):
    assert detect_tfrecords(converted)
    assert detect_tfrecords(converted / "kitti-fold-000-of-002-shard-00000-of-00001")
    assert not detect_tfrecords(converted / "kitti_warning.json")
    assert not detect_tfrecords(converted / "images")
    assert not detect_tfrecords(converted / "none")


DUMP = """
import json, sys, tensorflow as tf
for record in tf.data.TFRecordDataset(sys.argv[1]):
    features = tf.train.Example.FromString(record.numpy()).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    values = {name: list(getattr(features[name], kind).value) for name, kind in kinds.items()}
    print(json.dumps({"kinds": kinds, "values": values}, default=bytes.hex))
"""


def test_tensorflow_reads_the_same(tmp_path):
    python = os.environ.get("XRAYCLS_TENSORFLOW_PYTHON")
    if not python:
        pytest.skip("needs XRAYCLS_TENSORFLOW_PYTHON, a Python that has TensorFlow")
    write_tfrecord(tmp_path / "file", [encode_example(SAMPLE), encode_example(NUMBERED)])
    done = subprocess.run([python, "-c", DUMP, str(tmp_path / "file")], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line, example in zip(lines, (SAMPLE, NUMBERED), strict=True):
        theirs = json.loads(line)
        assert set(theirs["values"]) == set(example)
        for name, values in example.items():
            kind = (type(values) is list and "bytes_list") or {"f": "float_list", "i": "int64_list"}[values.dtype.kind]
            assert theirs["kinds"][name] == kind
            assert theirs["values"][name] == [v.hex() if isinstance(v, bytes) else v for v in values]


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    sentence = r"is not installed\. Install it with: pip install .*protobuf"
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(MissingExtra, match=f"protobuf {sentence}"):
        Schema()
    write_tfrecord(tmp_path / "file", [b"a"])
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(MissingExtra, match=f"google-crc32c {sentence}"):
        write_tfrecord(tmp_path / "file", [])
    assert not is_tfrecord(tmp_path / "file")
