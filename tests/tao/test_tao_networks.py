"""Specs of networks: every sample with its outcome, the versions they were written for, and back to text."""

import re
import typing
from collections.abc import Mapping
from pathlib import Path
from types import UnionType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.data.protobuf import parse_text
from xraycls.errors import SpecError
from xraycls.tao.fields import DIALECTS, definitions, versions_with
from xraycls.tao.messages import from_message, message_of
from xraycls.tao.networks import NETWORKS
from xraycls.tao.networks.faster_rcnn_checks import modern
from xraycls.tao.networks.faster_rcnn_spec import FasterRCNNSpec
from xraycls.tao.networks.ssd_spec import SSDSpec
from xraycls.tao.networks.yolo_v4 import YOLOv4Spec
from xraycls.tao.programs import KINDS, open_checked, open_spec, read_spec
from xraycls.tao.report import mapping_report
from xraycls.tao.spec import spec_text, write_spec

BY_PROGRAM = {program: kind for kind, program in KINDS.items()}
TLT2_FASTER_RCNN = """\
random_seed: 42
enc_key: 'secret'
network_config {
  input_image_config {
    size_height_width { height: 384 width: 1248 }
    image_channel_order: 'bgr'
    image_channel_mean { key: 'b' value: 103.939 }
    image_channel_mean { key: 'g' value: 116.779 }
    image_channel_mean { key: 'r' value: 123.68 }
    image_scaling_factor: 1.0
    max_objects_num_per_image: 100
  }
  feature_extractor: "resnet:18"
  anchor_box_config { scale: 64 scale: 128 ratio: 1.0 ratio: 0.5 }
  freeze_blocks: 0
  roi_mini_batch: 256
  rpn_stride: 16
  conv_bn_share_bias: True
  roi_pooling_config { pool_size: 7 }
}
training_config {
  kitti_data_config {
    data_sources: { tfrecords_path: "/data/tfrecords/*" image_directory_path: "/data/training" }
    image_extension: 'png'
    target_class_mapping { key: 'car' value: 'car' }
    validation_fold: 0
  }
  data_augmentation {
    preprocessing { output_image_width: 1248 output_image_height: 384 output_image_channel: 3 }
    spatial_augmentation { hflip_probability: 0.5 zoom_min: 1.0 zoom_max: 1.0 }
  }
  batch_size_per_gpu: 16
  num_epochs: 12
  output_model: "/data/frcnn_kitti_resnet18.tlt"
  rpn_min_overlap: 0.3
  rpn_max_overlap: 0.7
  classifier_max_overlap: 0.5
  std_scaling: 1.0
  classifier_regr_std { key: 'x' value: 10.0 }
  classifier_regr_std { key: 'y' value: 10.0 }
  classifier_regr_std { key: 'w' value: 5.0 }
  classifier_regr_std { key: 'h' value: 5.0 }
  rpn_mini_batch: 256
  rpn_pre_nms_top_N: 12000
  rpn_nms_max_boxes: 2000
  rpn_nms_overlap_threshold: 0.7
  reg_config { reg_type: 'L2' weight_decay: 1e-4 }
  optimizer { adam { lr: 0.00001 beta_1: 0.9 beta_2: 0.999 } }
  lr_scheduler { step { base_lr: 0.00016 gamma: 1.0 step_size: 30 } }
  lambda_rpn_regr: 1.0
  lambda_rpn_class: 1.0
  lambda_cls_regr: 1.0
  lambda_cls_class: 1.0
  inference_config {
    rpn_pre_nms_top_N: 6000
    rpn_nms_max_boxes: 300
    rpn_nms_overlap_threshold: 0.7
    bbox_visualize_threshold: 0.6
    classifier_nms_max_boxes: 300
    classifier_nms_overlap_threshold: 0.3
  }
  evaluation_config {
    labels_dump_dir: '/data/labels'
    rpn_pre_nms_top_N: 6000
    rpn_nms_max_boxes: 300
    rpn_nms_overlap_threshold: 0.7
    classifier_nms_max_boxes: 300
    classifier_nms_overlap_threshold: 0.3
    object_confidence_thres: 0.0001
  }
}
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "spec.txt"
        path.write_text(text)
        return path

    return write


def samples(reference: Path) -> list[tuple[Path, str, str]]:
    """Every sample spec, its program and how TAO 5's own schema takes it."""
    rows = [line.split("\t") for line in (reference / "parse_matrix.tsv").read_text().splitlines()]
    specs = [(reference / "sample_specs" / name, kind, outcome) for name, kind, outcome, *_ in rows]
    return [each for each in specs if each[0].exists()]


def expected(outcome: str) -> tuple[str, ...] | str:
    """The versions that know all fields of a sample, or why it is refused."""
    if outcome == "OK":
        return "TAO 5"
    unknown = re.search(r'no field named "(\w+)"', outcome)
    if unknown is None:
        return "activation is given twice"
    eras = {"output_model": "TLT 3", "network_config": "TLT 2"}
    return eras.get(unknown[1], f"has no field '{unknown[1]}'")


def test_every_sample_spec_has_its_outcome(shared):
    """Accepted by a version, or refused for the reason that TAO refuses it for."""
    outcomes = []
    for path, kind, outcome in samples(shared / "reference"):
        if kind == "?":
            with pytest.raises(SpecError, match="this is a detectnet_v2 spec: xraycls has no detectnet_v2"):
                open_spec(path, SSDSpec)
            continue
        wanted = expected(outcome)
        program = {"convert": "dataset_convert"}.get(kind, kind)
        if wanted in DIALECTS:
            assert open_spec(path, BY_PROGRAM[program]).dialect == wanted, path.name
            outcomes.append(wanted)
            continue
        with pytest.raises(SpecError, match=wanted) as caught:
            open_spec(path, BY_PROGRAM[program])
        assert caught.value.line
        assert caught.value.field
        outcomes.append("refused")
    assert {each: outcomes.count(each) for each in set(outcomes)} == {"TAO 5": 122, "TLT 3": 2, "refused": 3}


@pytest.mark.parametrize(
    ("name", "program", "dialects"),
    [
        ("ssd_train", "ssd", ("TLT 2",)),
        ("ssd_retrain", "ssd", ("TLT 2",)),
        ("yolo_v4_train", "yolo_v4", ("TLT 3", "TAO 5")),
        ("ssd_tfrecords_kitti_trainval", "dataset_convert", DIALECTS),
        ("frcnn_tfrecords_kitti_trainval", "dataset_convert", DIALECTS),
    ],
)
def test_the_seeds_specs_are_of_their_versions(shared, name, program, dialects):
    spec = open_spec(shared / "reference" / "seed_specs" / f"{name}.txt", BY_PROGRAM[program])
    assert spec.dialects == dialects


def test_sample_specs_can_be_trained_by_where_tao_can(shared):
    """All but two: TAO's own checks refuse those too."""
    refused = {}
    for path, kind, outcome in samples(shared / "reference"):
        if kind in NETWORKS and expected(outcome) in DIALECTS:
            try:
                open_checked(path, kind)
            except SpecError as error:
                refused[path.name.removeprefix("tao_tensorflow1_backend__")] = str(error).partition(": ")[2]
    assert refused == {
        "ssd__default_spec.txt": "dssd_config.pred_num_channels is 128; it must be one of 0, 256, 512, 1024.",
        "faster_rcnn__default_spec_grayscale.txt": (
            "augmentation_config.preprocessing.output_image_channel is 3; it must be 1."
        ),
    }


def test_sample_specs_written_back_read_the_same(shared, tmp_path):
    for path, kind, outcome in samples(shared / "reference"):
        if expected(outcome) in DIALECTS:
            config = read_spec(path, BY_PROGRAM[{"convert": "dataset_convert"}.get(kind, kind)])
            write_spec(config, tmp_path / "again.txt")
            assert read_spec(tmp_path / "again.txt", type(config)) == config, path.name


def test_the_report_of_a_sample_names_every_field_and_its_line(shared):
    for path, kind, outcome in samples(shared / "reference"):
        if kind not in NETWORKS or expected(outcome) not in DIALECTS:
            continue
        lines = path.read_text().splitlines()
        reports = mapping_report(open_spec(path, BY_PROGRAM[kind]))
        written = [
            each for each in reports if each.line is not None
        ]  # the others are assumed where a spec leaves them out
        assert all(each.field.rpartition(".")[2] in lines[each.line - 1] for each in written)
        assert all(each.note or each.outcome == "honoured" for each in reports)
        bare = re.sub(r"#.*|\"[^\"]*\"|'[^']*'", "0", "\n".join(lines))
        scalars = re.findall(r"(\w+)\s*:\s*[^\s{]", bare)
        told = {each.field.rpartition(".")[2] for each in reports}
        within = {"min"} if "size_min" in told else set()  # a message that is ignored as a whole is one entry
        assert set(scalars) - {"key", "value"} - within <= told, path.name


@pytest.mark.parametrize(
    ("kind", "text", "dialects"),
    [
        (SSDSpec, "ssd_config { arch: 'resnet' }", DIALECTS),
        (SSDSpec, "ssd_config { focal_loss_alpha: 0.25 }", ("TLT 2",)),
        (SSDSpec, "dssd_config { loss_loc_weight: 1 }", ("TLT 2",)),
        (SSDSpec, "ssd_config { } augmentation_config { preprocessing { } }", ("TLT 2",)),
        (SSDSpec, "ssd_config { alpha: 1 }", ("TLT 3", "TAO 5")),
        (SSDSpec, "ssd_config { } dataset_config { data_sources { tfrecords_path: '*' } }", ("TLT 2", "TAO 5")),
        (SSDSpec, "ssd_config { alpha: 1 } dataset_config { data_sources { tfrecords_path: '*' } }", ("TAO 5",)),
        (YOLOv4Spec, "yolov4_config { }", ("TLT 3", "TAO 5")),
        (FasterRCNNSpec, TLT2_FASTER_RCNN, ("TLT 2",)),
        (FasterRCNNSpec, "model_config { } evaluation_config { labels_dump_dir: 'x' }", ("TLT 3",)),
        (FasterRCNNSpec, "model_config { } training_config { output_model: 'x' }", ("TLT 3",)),
        (FasterRCNNSpec, "model_config { } evaluation_config { batch_size: 1 }", ("TLT 3", "TAO 5")),
    ],
)
def test_a_spec_is_of_the_versions_that_know_all_its_fields(written, kind, text, dialects):
    assert open_spec(written(text), kind).dialects == dialects


@pytest.mark.parametrize(
    ("kind", "text", "line", "message"),
    [
        (SSDSpec, "ssd_config {\n focal_loss_alpha: 0.25\n alpha: 1 }", 3,
         "ssd_config.alpha is of TLT 3 and TAO 5, but ssd_config.focal_loss_alpha in line 2 of TLT 2: no version "
         "takes both. Leave one of them out."),
        (FasterRCNNSpec, "network_config { }\ntraining_config { output_model: 'x' }\ninference_config { }", 3,
         "inference_config is of TLT 3 and TAO 5, but network_config in line 1 of TLT 2: no version takes both."),
    ],
)  # fmt: skip
def test_fields_that_no_version_knows_together_are_refused(written, kind, text, line, message):
    with pytest.raises(SpecError) as caught:
        open_spec(written(text), kind)
    assert f", line {line}: {message}" in str(caught.value)


@pytest.mark.parametrize("kind", [SSDSpec, YOLOv4Spec, FasterRCNNSpec])
def test_every_field_is_of_a_version_with_all_that_hold_it(kind):
    for field in definitions(kind):
        assert versions_with(kind, field), field


def test_a_short_spec_of_faster_rcnn_is_none_of_unet(written):
    spec = open_spec(
        written("model_config { } training_config { } dataset_config { } augmentation_config { }"), FasterRCNNSpec
    )
    assert spec.dialect == "TAO 5"


def test_enumerations_are_read_by_name_and_by_number(written):
    text = "yolov4_config { } eval_config { average_precision_mode: %s }"
    for value in ("INTEGRATE", "1"):
        config = read_spec(written(text % value), YOLOv4Spec)
        assert config.eval_config.average_precision_mode == "INTEGRATE"
    for value, shown in (("7", "7"), ("MEAN", "'MEAN'")):
        message = f"eval_config.average_precision_mode is {shown}; it must be one of SAMPLE, INTEGRATE"
        with pytest.raises(SpecError, match=message) as caught:
            read_spec(written(text % value), YOLOv4Spec)
        assert (caught.value.line, caught.value.field) == (1, "eval_config.average_precision_mode")
    with pytest.raises(SpecError, match="value out of range: 99999999999"):
        read_spec(written(text % "99999999999"), YOLOv4Spec)


def test_members_of_a_oneof_are_none_until_given(written):
    config = read_spec(written("yolov4_config { }\ndataset_config { data_sources { tfrecords_path: '' } }"), YOLOv4Spec)
    source = config.dataset_config.data_sources[0]
    assert (source.label_directory_path, source.tfrecords_path) == (None, "")
    both = "yolov4_config { }\ndataset_config { data_sources {\n tfrecords_path: ''\n label_directory_path: '' } }"
    with pytest.raises(SpecError, match="tfrecords_path and label_directory_path are both given"):
        read_spec(written(both), YOLOv4Spec)


def test_tlt_2s_faster_rcnn_takes_the_form_of_later_versions(written):
    spec = open_checked(written(TLT2_FASTER_RCNN), "faster_rcnn")
    config = modern(spec).config
    assert (config.model_config.arch, config.model_config.use_bias) == ("resnet:18", False)
    assert config.model_config.anchor_box_config.scale == (64, 128)
    assert config.dataset_config.validation_fold == 0
    assert config.augmentation_config.preprocessing.output_image_width == 1248
    assert config.training_config.regularizer.type == "L2"
    assert config.training_config.learning_rate.step is not None
    assert config.training_config.kitti_data_config is config.network_config is None
    assert config.evaluation_config.gt_matching_iou_threshold == 0.5
    assert 0 < config.inference_config.object_confidence_thres < 0.001


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("feature_extractor: \"resnet:18\"", "feature_extractor: 'alexnet'",
         "line 13: network_config.feature_extractor is 'alexnet'; it must be one of resnet:10,"),
        ("reg_type: 'L2'", "reg_type: 'L3'", "training_config.reg_config.reg_type is 'L3'; it must be one of L1, L2"),
        ("weight_decay: 1e-4", "", "training_config.reg_config.weight_decay is missing; it must lie between 0 and 1"),
        ("image_extension: 'png'", "image_extension: 'bmp'",
         "training_config.kitti_data_config.image_extension is 'bmp'"),
    ],
)  # fmt: skip
def test_mistakes_in_tlt_2s_faster_rcnn_have_its_own_names(written, old, new, message):
    assert old in TLT2_FASTER_RCNN
    with pytest.raises(SpecError, match=re.escape(message)):
        open_checked(written(TLT2_FASTER_RCNN.replace(old, new)), "faster_rcnn")


def test_a_legacy_name_of_vgg_is_read(written):
    spec = open_checked(
        written(TLT2_FASTER_RCNN.replace("resnet:18", "vgg").replace("blocks: 0", "blocks: 1")), "faster_rcnn"
    )
    assert modern(spec).config.model_config.arch == "vgg:16"


WORDS = ("ssd_config", "dssd_config", "yolov4_config", "model_config", "network_config", "training_config", "{", "}",
         ":", "[", "]", "<", ">", ",", "3", "-1", "nan", '"a"', "'", "#", "\n", "key", "value", "type", "L1", "true",
         "regularizer", "scales", '"[1.0/3]"', "arch", "freeze_blocks", "data_sources", "dataset_config",
         "target_class_mapping", "validation_fold", "image_mean", "augmentation_config", "learning_rate", "optimizer",
         "adam", "tfrecords_path", "label_directory_path", "reg_config")  # fmt: skip


@given(
    st.sampled_from(sorted(NETWORKS)), st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
)
def test_any_text_is_a_spec_or_one_error(tmp_path_factory, program, text):
    path = tmp_path_factory.getbasetemp() / "any_network.txt"
    path.write_text(text, encoding="utf-8", errors="replace")
    network = NETWORKS[program]
    kind, check = network.spec, network.check
    try:
        spec = open_spec(path, kind)
    except SpecError:
        return
    mapping_report(spec)
    with pytest.raises(SpecError):  # so few words never make a whole spec
        check(spec)
    write_spec(spec.config, path)
    assert repr(read_spec(path, kind)) == repr(spec.config)


def values_of(hint) -> st.SearchStrategy:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return st.lists(values_of(inner[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(values_of(str), values_of(inner[1]), max_size=2)
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin is UnionType:
        return st.one_of(st.none(), values_of(inner[0]))
    return PLAIN[hint] if hint in PLAIN else objects(hint)


PLAIN = {
    bool: st.booleans(),
    int: st.integers(0, 2**31 - 1),
    float: st.floats(width=32, allow_nan=False),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
}


@st.composite
def objects(draw, kind):
    """An object of a configuration class; of a oneof one member at most."""
    hints = typing.get_type_hints(kind)
    given = {name: draw(values_of(hint)) for name, hint in hints.items() if draw(st.integers(0, 3)) == 0}
    for oneof in message_of(kind).DESCRIPTOR.oneofs:
        for field in [field.name for field in oneof.fields if given.get(field.name) is not None][1:]:
            del given[field]
    return kind(**given)


@pytest.mark.parametrize("kind", [SSDSpec, YOLOv4Spec, FasterRCNNSpec])
def test_any_configuration_as_text_reads_the_same(kind):
    @given(objects(kind))
    def as_text(config):
        assert from_message(kind, parse_text(message_of(kind), spec_text(config))) == config

    as_text()
