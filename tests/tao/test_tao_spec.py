"""The spec reader: every sample spec, every mistake by name, and back to text."""

import dataclasses
import typing
from collections.abc import Mapping

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from xraycls.errors import SpecError
from xraycls.tao.dataset_export import CocoConfig, DatasetExport, KittiConfig, SampleModifier
from xraycls.tao.messages import from_message, message_of
from xraycls.tao.networks.faster_rcnn_spec import FasterRCNNSpec
from xraycls.tao.networks.ssd_spec import SSDSpec
from xraycls.tao.networks.yolo_v4 import YOLOv4Spec
from xraycls.tao.programs import read_spec
from xraycls.tao.spec import spec_text, write_spec, wrong_value
from xraycls.tao.text import line_of, tokens

TEXT = """\
# a comment
kitti_config {
  root_directory_path: "/workspace/data"
  image_dir_name: 'im' "ages"
  val_split: 14.5f
  num_partitions: 2;
}
sample_modifier_config <
  dominant_target_classes: ["a", "b"]
  minimum_target_class_imbalance: { key: "c" value: 0.5 }
>
target_class_mapping { key: "none" value: "x" }
target_class_mapping { key: "none" value: "y" }
"""
CONFIG = DatasetExport(
    kitti_config=KittiConfig(
        root_directory_path="/workspace/data", image_dir_name="images", val_split=14.5, num_partitions=2
    ),
    sample_modifier_config=SampleModifier(
        dominant_target_classes=("a", "b"), minimum_target_class_imbalance={"c": 0.5}
    ),
    target_class_mapping={"none": "y"},
)


@pytest.fixture
def read(tmp_path):
    def read_text(text: str | bytes) -> DatasetExport:
        path = tmp_path / "spec.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_spec(path, DatasetExport)

    return read_text


def test_the_text_format_in_all_its_spellings(read):
    assert read(TEXT) == CONFIG


def test_what_is_not_given_has_the_zero_of_its_type(read):
    assert read("coco_config { }") == DatasetExport(coco_config=CocoConfig())
    assert read("") == DatasetExport()


def test_a_byte_order_mark_and_windows_lines_are_read(read):
    assert read(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()) == CONFIG


@pytest.mark.parametrize(
    ("text", "line", "field", "message"),
    [
        ("kitti_config {\n imagedir_name: 'a'\n}", 2, "kitti_config.imagedir_name",
         "kitti_config has no field 'imagedir_name'. Did you mean 'image_dir_name'?"),
        ("\nkiti_config {\n}", 2, "kiti_config",
         "a spec of dataset_convert has no field 'kiti_config'. Did you mean 'kitti_config'?"),
        ("num_shards: 3", 1, "num_shards", "It belongs in kitti_config or coco_config."),
        ("num_shard: 3", 1, "num_shard", "Did you mean 'kitti_config.num_shards'?"),
        ("kitti_config {\n annotation_files: 'a' }", 2, "kitti_config.annotation_files",
         "kitti_config has no field 'annotation_files'. It belongs in coco_config."),
        ("kitti_config { zzz: 3 }", 1, "kitti_config.zzz", "has no field 'zzz'. It has: root_directory_path,"),
        ("kitti_config {\n num_shards: 0\n num_shards: 0\n}", 3, "kitti_config.num_shards",
         "kitti_config.num_shards is given twice. Leave one of them out."),
        ("kitti_config { }\nkitti_config { }", 2, "kitti_config", "kitti_config is given twice."),
        ("kitti_config { }\n\ncoco_config { }", 3, "coco_config", "kitti_config and coco_config are both given."),
        ("kitti_config {\n num_shards: ten }", 2, "kitti_config.num_shards",
         "kitti_config.num_shards: a whole number is expected, not ten."),
        ("kitti_config { num_shards: -1 }", 1, "kitti_config.num_shards", "value out of range: -1."),
        ("kitti_config { val_split:\n\n 'a' }", 3, "kitti_config.val_split", "a number is expected, not 'a'."),
        ("image_directory_path: 3", 1, "image_directory_path", "expected string but found: '3'."),
        ("kitti_config {\n val_split: 3", 2, "kitti_config.val_split", 'expected "}".'),
        ("target_class_mapping { ky: 'a' }", 1, "target_class_mapping.ky", "Did you mean 'key'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_line_and_field(read, tmp_path, text, line, field, message):
    with pytest.raises(SpecError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{tmp_path / 'spec.txt'}, line {line}: ")
    assert message in str(caught.value)
    assert "xraycls.tao" not in str(caught.value)
    assert (caught.value.line, caught.value.field) == (line, field)


def test_files_that_cannot_be_read_are_one_sentence_each(tmp_path, read):
    with pytest.raises(SpecError, match="the spec could not be read: No such file"):
        read_spec(tmp_path / "none.txt", DatasetExport)
    with pytest.raises(SpecError, match="the spec could not be read: Is a directory"):
        read_spec(tmp_path, DatasetExport)
    with pytest.raises(SpecError, match="not UTF-8"):
        read(b"kitti_config { image_dir_name: '\xff' }")


def test_a_spec_of_another_program_is_named(read):
    for text, message in (
        ("ssd_config { }", "this is an ssd spec: use xraycls ssd"),
        ("dssd_config { }", "this is a dssd spec: use xraycls ssd"),
        ("yolov4_config: < >", "this is a yolo_v4 spec: use xraycls yolo_v4"),
        ("network_config {}", "this is a faster_rcnn spec: use xraycls faster_rcnn"),
        ("retinanet_config {}", "this is a retinanet spec: xraycls has no retinanet"),
        ("yolo_config {}", "this is a yolo_v3 spec: xraycls has no yolo_v3"),
    ):
        with pytest.raises(SpecError) as caught:
            read(text)
        assert str(caught.value).endswith(f"spec.txt: {message}.")


WORDS = ("kitti_config", "coco_config", "num_shards", "val_split", "image_dir_name", "{", "}", ":", "[", "]", "<", ">",
         ",", "3", "-1", "1e400", "nan", '"a"', "'", '"\\377"', '"\\ud800"', "#", "\n", "key", "value", "ssd_config",
         "target_class_mapping", "sample_modifier_config", "@", "\\", "true")  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)))
def test_any_text_is_a_spec_or_one_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        config = read_spec(path, DatasetExport)
    except SpecError:
        return
    write_spec(config, path)
    assert repr(read_spec(path, DatasetExport)) == repr(config)


SMALL = st.integers(0, 2**32 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SHARES = st.floats(width=32, allow_nan=False)
KITTI = st.builds(KittiConfig, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, SMALL, SMALL, SHARES)
COCO = st.builds(
    CocoConfig, TEXTS, st.lists(TEXTS).map(tuple), st.lists(TEXTS).map(tuple), SMALL, st.lists(SMALL).map(tuple)
)
RULES = st.builds(
    SampleModifier, st.lists(TEXTS).map(tuple), minimum_target_class_imbalance=st.dictionaries(TEXTS, SHARES)
)
SOURCES = st.one_of(KITTI.map(lambda c: {"kitti_config": c}), COCO.map(lambda c: {"coco_config": c}), st.just({}))


@given(SOURCES, RULES, st.dictionaries(TEXTS, TEXTS))
def test_a_spec_written_back_reads_the_same(tmp_path_factory, source, rules, mapping):
    config = DatasetExport(**source, sample_modifier_config=rules, target_class_mapping=mapping)
    path = tmp_path_factory.getbasetemp() / "written.txt"
    write_spec(config, path)
    assert read_spec(path, DatasetExport) == config


def test_a_spec_is_written_as_people_write_it():
    assert spec_text(CONFIG) == (
        'kitti_config {\n  root_directory_path: "/workspace/data"\n  image_dir_name: "images"\n  num_partitions: 2\n'
        "  val_split: 14.5\n}\n"
        'sample_modifier_config {\n  dominant_target_classes: "a"\n  dominant_target_classes: "b"\n'
        '  minimum_target_class_imbalance {\n    key: "c"\n    value: 0.5\n  }\n}\n'
        'target_class_mapping {\n  key: "none"\n  value: "y"\n}\n'
    )


def test_the_error_of_a_value_finds_its_line(tmp_path):
    path = tmp_path / "spec.txt"
    path.write_text("# val_split: 1\nimage_directory_path: 'val_split: 2'\nkitti_config {\n\n  val_split: 120\n}\n")
    error = wrong_value(path, "kitti_config.val_split", "val_split is 120", "Less")
    assert str(error) == f"{path}, line 5: val_split is 120. Less."


def test_lines_are_found_by_name_and_number():
    found = tokens("a { b: 1 }\nb: 2\na: <\n c [ { b: 3 },\n { b: 4 } ] >\na { c {\n b: 5 } }\n")
    lines = {"a.b": 1, "b": 2, "a[1]": 3, "a[1].c.b": 4, "a[1].c[1].b": 5, "a[2].c.b": 7}
    absent = dict.fromkeys(("c", "a[3]", "a.d", "a[1].c[2]"))
    assert {field: line_of(found, field) for field in lines | absent} == lines | absent


def test_the_seeds_specs_are_read(shared):
    for name, extension in (("ssd_tfrecords_kitti_trainval", ".png"), ("frcnn_tfrecords_kitti_trainval", ".jpg")):
        config = read_spec(shared / "reference" / "seed_specs" / f"{name}.txt", DatasetExport)
        assert config.kitti_config is not None
        assert config.kitti_config.image_extension == extension
        assert (config.kitti_config.val_split, config.kitti_config.num_shards) == (14, 10)


def test_a_brackets_list_is_read(shared):
    name = "tao_tensorflow1_backend__detectnet_v2__dataset_specs__coco_spec.txt"
    config = read_spec(shared / "reference" / "sample_specs" / name, DatasetExport)
    assert config.coco_config is not None
    assert config.coco_config.img_dir_names == ("val2017", "train2017")
    assert config.coco_config.num_shards == (32, 256)


def messages_in(kind) -> set[type]:
    """A configuration class, and the classes of all messages that it holds."""
    inner = {each for hint in typing.get_type_hints(kind).values() for each in (hint, *typing.get_args(hint))}
    return {kind}.union(*(messages_in(each) for each in inner if dataclasses.is_dataclass(each)))


CONFIGS = sorted(
    set().union(*(messages_in(kind) for kind in (DatasetExport, SSDSpec, YOLOv4Spec, FasterRCNNSpec))), key=repr
)
PLAIN = {"string": str, "uint32": int, "int32": int, "float": float, "double": float, "bool": bool}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda each: f"{each.__module__.rpartition('.')[2]}.{each.__name__}")
def test_a_configuration_class_is_its_message(config):
    """Names in the same order, types that fit, and the default that an absent field has."""
    description = descriptor_pb2.DescriptorProto()
    message_of(config).DESCRIPTOR.CopyToProto(description)
    hints = typing.get_type_hints(config)
    assert list(hints) == [each.name for each in description.field]
    maps = {each.name: each for each in description.nested_type}
    enums = {f".{config.__module__}.{config.__qualname__}.{each.name}": each for each in description.enum_type}
    for each in description.field:
        hint, entry = hints[each.name], maps.get(each.type_name.rpartition(".")[2])
        if entry is not None:
            assert hint == Mapping[str, type_of(entry.field[1], enums)]
        elif each.label == each.LABEL_REPEATED:
            assert hint == tuple[type_of(each, enums), ...]
        elif each.HasField("oneof_index") and not each.proto3_optional:
            assert hint == typing.Optional[type_of(each, enums)]  # noqa: UP045
        else:
            assert hint in (type_of(each, enums), typing.Optional[type_of(each, enums)])  # noqa: UP045
            assert each.proto3_optional, f"{each.name}: a second zero would go unnoticed"
    assert from_message(config, message_of(config)()) == config()


def type_of(field, enums):
    if field.type == field.TYPE_MESSAGE:
        return next(config for config in CONFIGS if field.type_name == f".{config.__module__}.{config.__qualname__}")
    if field.type == field.TYPE_ENUM:
        return typing.Literal[tuple(value.name for value in enums[field.type_name].value)]
    return PLAIN[field.Type.Name(field.type).removeprefix("TYPE_").lower()]
