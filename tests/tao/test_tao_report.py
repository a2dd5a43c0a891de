"""The mapping report: every field of the schemas is defined, and every field of a spec has a line."""

from dataclasses import replace
from pathlib import Path

import pytest

from xraycls.tao.fields import definitions
from xraycls.tao.messages import message_of
from xraycls.tao.mounts import Mounts, read_mounts
from xraycls.tao.networks import NETWORKS
from xraycls.tao.networks.faster_rcnn_spec import FasterRCNNSpec
from xraycls.tao.networks.ssd_spec import SSDSpec
from xraycls.tao.programs import open_spec
from xraycls.tao.report import FieldReport, counted, mapping_report
from xraycls.tao.spec import Spec

TEXT = """\
dssd_config {
  arch: "resnet" freeze_blocks: 1
  freeze_blocks: 2
}
training_config {
  visualizer { enabled: true wandb_config { key: "secret" tags: ["a", "b"] } }
  learning_rate { soft_start_annealing_schedule { soft_start: 0.15 } }
}
dataset_config {
  data_sources { tfrecords_path: "/one/*" root_path: "/gone" }
  data_sources { tfrecords_path: "$UNSET/two" image_directory_path: "/three" }
  target_class_mapping { key: "b" value: "c" }
  target_class_mapping { key: "a" value: "c" }
}
"""


def opened(tmp_path: Path, text: str, kind=SSDSpec) -> Spec:
    path = tmp_path / "spec.txt"
    path.write_text(text)
    return open_spec(path, kind)


def leaves(descriptor, holder=""):
    """The fields that hold values, after the messages that hold them."""
    for field in descriptor.fields:
        name = f"{holder}{field.name}"
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            yield name
        else:
            yield from leaves(field.message_type, f"{name}.")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_field_is_defined_once_with_its_meaning(name):
    table = definitions(NETWORKS[name].spec)
    names = set(leaves(message_of(NETWORKS[name].spec).DESCRIPTOR))
    messages = {name[:end] for name in names for end, letter in enumerate(name) if letter == "."}
    assert set(table) == names | messages
    assert all(field.doc for field in table.values())
    assert all(field.now in table for field in table.values() if field.now)
    assert all(field.support.note for field in table.values() if field.support and field.support.outcome != "honoured")


def test_each_field_of_a_spec_is_told_with_line_and_value(tmp_path):
    told = {each.field: each for each in mapping_report(opened(tmp_path, TEXT))}
    assert list(told) == [
        "dssd_config.arch",
        "dssd_config.freeze_blocks",
        "training_config.visualizer.enabled",
        "training_config.visualizer.wandb_config",
        "training_config.learning_rate.soft_start_annealing_schedule.soft_start",
        "dataset_config.data_sources[0].tfrecords_path",
        "dataset_config.data_sources[0].root_path",
        "dataset_config.data_sources[1].tfrecords_path",
        "dataset_config.data_sources[1].image_directory_path",
        "dataset_config.target_class_mapping",
    ]
    assert told["dssd_config.freeze_blocks"] == FieldReport("dssd_config.freeze_blocks", 2, [1, 2], "honoured", "")
    wandb = told["training_config.visualizer.wandb_config"]
    assert (wandb.line, wandb.value, wandb.outcome) == (6, None, "ignored")
    assert told["training_config.learning_rate.soft_start_annealing_schedule.soft_start"].value == 0.15
    assert told["dataset_config.data_sources[1].tfrecords_path"].line == 11
    mapping = told["dataset_config.target_class_mapping"]
    assert (mapping.line, mapping.value) == (12, {"a": "c", "b": "c"})
    assert counted(tuple(told.values())) == "8 honoured, 2 ignored"


def test_paths_of_the_data_are_followed(tmp_path, monkeypatch):
    monkeypatch.delenv("UNSET", raising=False)
    (tmp_path / "shard-0").touch()
    spec = opened(tmp_path, TEXT)
    notes = {
        each.field: each.note
        for each in mapping_report(spec, read_mounts([f"/one={tmp_path}"], folder=tmp_path, home=tmp_path))
    }
    assert notes["dataset_config.data_sources[0].tfrecords_path"] == str(tmp_path / "*")
    assert notes["dataset_config.data_sources[0].root_path"] == "TAO doesn't read it"
    assert "$UNSET" in notes["dataset_config.data_sources[1].tfrecords_path"]
    assert notes["dataset_config.data_sources[1].image_directory_path"] == "there is no /three"
    assert notes["dataset_config.target_class_mapping"] == "labels and classes are compared in small letters"
    bare = mapping_report(opened(tmp_path, TEXT.replace("/one/*", "/one/*/x")), Mounts())
    assert bare[5].note == "there is no /one/*/x"


def test_tlt_2s_names_stay_and_keys_stay_hidden(tmp_path):
    text = (
        "enc_key: 'secret'\nnetwork_config {\n conv_bn_share_bias: true\n rfcn_mode: true }\n"
        "training_config {\n reg_config { reg_type: 'L1' } }"
    )
    reports = mapping_report(opened(tmp_path, text, FasterRCNNSpec))
    assert [(each.line, each.field, each.value, each.outcome) for each in reports] == [
        (1, "enc_key", "(hidden)", "honoured"),
        (3, "network_config.conv_bn_share_bias", True, "honoured"),
        (4, "network_config.rfcn_mode", True, "not yet"),
        (6, "training_config.reg_config.reg_type", "L1", "honoured"),
    ]


def test_an_empty_list_of_messages_is_nothing(tmp_path):
    text = "ssd_config { }\ndataset_config { data_sources: [] data_sources: [ { tfrecords_path: 'a' } ] }"
    assert [each.field for each in mapping_report(opened(tmp_path, text))] == [
        "dataset_config.data_sources[0].tfrecords_path"
    ]
    assert mapping_report(opened(tmp_path, "ssd_config { freeze_blocks: [] }"))[0].value == []


def test_nothing_is_honoured_of_a_network_that_can_not_be_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "faster_rcnn", replace(NETWORKS["faster_rcnn"], verbs=()))
    told = mapping_report(opened(tmp_path, "network_config { rpn_stride: 16 }", FasterRCNNSpec))
    assert [(each.outcome, each.note) for each in told] == [("not yet", "xraycls can't train Faster R-CNN yet")]
