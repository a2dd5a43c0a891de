"""A Faster R-CNN from a spec of TLT 3: trained, evaluated, pruned, retrained and used on a few synthetic films."""

import contextlib
import io
import json
import re

import pytest

from xraycls.cli import main
from xraycls.data.formats.kitti import read_kitti
from xraycls.data.phantom import write_phantom
from xraycls.data.siim2kitti import siim2kitti
from xraycls.models.detection.files import load_detector
from xraycls.tao.dataset_convert import dataset_convert
from xraycls.workflows.detection.convert_weights import convert_weights

SPEC = """
random_seed: 42
model_config {
  input_image_config {
    image_type: RGB image_channel_order: "bgr" size_height_width { height: 160 width: 160 }
    image_channel_mean { key: "b" value: 103.939 } image_channel_mean { key: "g" value: 116.779 }
    image_channel_mean { key: "r" value: 123.68 } image_scaling_factor: 1.0 max_objects_num_per_image: 10
  }
  arch: "resnet:10" anchor_box_config { scale: 32 scale: 64 ratio: 1.0 } freeze_bn: false
  roi_mini_batch: 16 rpn_stride: 16 use_bias: false all_projections: true roi_pooling_config { pool_size: 7 }
}
dataset_config {
  data_sources { tfrecords_path: "ROOT/tf/kitti*" image_directory_path: "ROOT/kitti/formatted" }
  image_extension: "png" validation_fold: 0
  target_class_mapping { key: "opacity" value: "opacity" }
}
augmentation_config {
  preprocessing { output_image_width: 160 output_image_height: 160 output_image_channel: 3 enable_auto_resize: true }
  spatial_augmentation { hflip_probability: 0.5 zoom_min: 1.0 zoom_max: 1.0 }
}
training_config {
  enable_augmentation: true batch_size_per_gpu: 4 num_epochs: EPOCHS TRAINING
  output_model: "ROOT/NAME.tlt"
  rpn_min_overlap: 0.3 rpn_max_overlap: 0.7 classifier_min_overlap: 0.0 classifier_max_overlap: 0.5
  std_scaling: 1.0 gt_as_roi: false
  classifier_regr_std { key: "x" value: 10.0 } classifier_regr_std { key: "y" value: 10.0 }
  classifier_regr_std { key: "w" value: 5.0 } classifier_regr_std { key: "h" value: 5.0 }
  rpn_pre_nms_top_N: 200 rpn_mini_batch: 32 rpn_nms_max_boxes: 50 rpn_nms_overlap_threshold: 0.7
  regularizer { type: L2 weight: 1e-4 }
  optimizer { adam { beta_1: 0.9 beta_2: 0.999 } }
  learning_rate { soft_start { base_lr: 1e-3 start_lr: 1e-4 soft_start: 0.1 annealing_points: 0.8
                               annealing_divider: 10.0 } }
  lambda_rpn_regr: 1.0 lambda_rpn_class: 1.0 lambda_cls_regr: 1.0 lambda_cls_class: 1.0
}
inference_config {
  images_dir: "ROOT/kitti/formatted/images" model: "ROOT/small.epoch1.tlt" batch_size: 4
  detection_image_output_dir: "ROOT/drawn" labels_dump_dir: "ROOT/labels"
  rpn_pre_nms_top_N: 200 rpn_nms_max_boxes: 30 rpn_nms_overlap_threshold: 0.7
  object_confidence_thres: 0.001 bbox_visualize_threshold: 0.002
  classifier_nms_max_boxes: 20 classifier_nms_overlap_threshold: 0.3
}
evaluation_config {
  model: "ROOT/whole.epoch2.tlt" batch_size: 4 validation_period_during_training: 1
  rpn_pre_nms_top_N: 200 rpn_nms_max_boxes: 40 rpn_nms_overlap_threshold: 0.7
  object_confidence_thres: 0.001 classifier_nms_max_boxes: 20 classifier_nms_overlap_threshold: 0.3
  gt_matching_iou_threshold_range { start: 0.3 end: 0.6 step: 0.1 }
}
"""
CONVERT = """
kitti_config {
  root_directory_path: "ROOT/kitti/formatted" image_dir_name: "images" label_dir_name: "labels"
  image_extension: ".png" partition_mode: "random" num_partitions: 2 val_split: 34 num_shards: 2
}
"""
FIGURES = r"(?:[\d.]+ +){4}"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Records of 8 films."""
    root = tmp_path_factory.mktemp("frcnn")
    write_phantom(root / "siim", images=8, size=160, layout="siim")
    siim2kitti(root / "siim" / "train_image_level.csv", root / "siim" / "train", root / "kitti", pixels=160)
    (root / "convert.txt").write_text(CONVERT.replace("ROOT", str(root)))
    dataset_convert(root / "convert.txt", root / "tf" / "kitti")
    return root


def spec(root, name, epochs=1, training=""):
    path = root / f"{name}.txt"
    text = SPEC.replace("NAME", name).replace("EPOCHS", str(epochs)).replace("TRAINING", training)
    path.write_text(text.replace("ROOT", str(root)))
    return path


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in ("faster_rcnn", *words)])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def trained(root):
    """The model, and what the command printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert run("train", "-e", spec(root, "whole", epochs=2), "--gpu_index", 0, "--precision", "fp32") == 0
    return root / "whole.epoch2.safetensors", printed.getvalue()


@pytest.mark.exhaustive
def test_weights_lie_where_output_model_says(root, trained):
    assert sorted(path.name for path in root.glob("whole.*")) == [
        "whole.epoch1.safetensors",
        "whole.epoch2.safetensors",
        "whole.txt",
    ]
    lines = [json.loads(line) for line in (root / "whole" / "status.json").read_text().splitlines()]
    assert lines[0]["message"] == "Starting Faster R-CNN training."
    assert lines[-1]["status"] == "SUCCESS"
    assert not list((root / "whole").glob("*training_log*"))


@pytest.mark.exhaustive
def test_a_validation_prints_the_strict_figures(trained):
    _, printed = trained
    assert "Doing validation at epoch 1(1-based index)...\n" + "=" * 90 in printed
    assert re.search(
        rf"Class +AP +precision +recall +RPN_recall +\n-{{90}}\nopacity +{FIGURES}\n-{{90}}\nmAP@0.3 = [\d.]+", printed
    )
    assert re.findall(r"mAP@(\S+) = ", printed)[:4] == ["0.3", "0.4", "0.5", "[0.3:0.5]"]


@pytest.mark.walkthrough
def test_evaluation_prints_every_overlap_and_the_recall_of_the_proposals(root, trained, capsys):
    assert run("evaluate", "-e", spec(root, "whole", epochs=2), "--precision", "fp32") == 0
    printed = capsys.readouterr().out
    assert "Class               AP                  precision           recall              RPN_recall" in printed
    assert re.findall(r"mAP@(\S+) = ", printed) == ["0.3", "0.4", "0.5", "[0.3:0.5]"]
    assert "95 % intervals" in printed


@pytest.mark.walkthrough
def test_a_model_of_tao_is_evaluated_without_retraining(root, trained, capsys):
    convert_weights(trained[0], root / "of_tao.hdf5")
    tables = []
    for model in (trained[0], root / "of_tao.hdf5"):
        assert run("evaluate", "-e", spec(root, "whole", epochs=2), "-m", model, "--precision", "fp32") == 0
        tables.append(re.findall(r"^(?:opacity|mAP).*", capsys.readouterr().out, re.MULTILINE))
    assert tables[0] == tables[1]


@pytest.mark.walkthrough
def test_a_pruned_model_is_retrained_and_finds_objects(root, trained, capsys):
    model, _ = trained
    assert run("prune", "-m", model, "-o", root / "pruned.tlt", "-eq", "union", "-pth", 0.97, "-pg", 8) == 0
    assert "Pruning ratio (pruned model / original model): 0." in capsys.readouterr().out
    retrain = spec(root, "small", training=f'retrain_pruned_model: "{root}/pruned.tlt"')
    assert run("train", "-e", retrain, "--precision", "fp32") == 0
    whole, narrow = (
        sum(p.numel() for p in load_detector(path)[0].parameters())
        for path in (model, root / "small.epoch1.safetensors")
    )
    assert narrow < whole
    assert run("inference", "-e", retrain, "--precision", "fp32") == 0
    assert len(list((root / "drawn").glob("*.png"))) == 8
    assert len(read_kitti(root / "labels", images=root / "kitti" / "formatted" / "images")) == 8
    lines = [line for path in (root / "labels").glob("*.txt") for line in path.read_text().splitlines()]
    assert lines
    assert all(re.fullmatch(r"opacity 0 0 0( -?\d+\.\d\d){4} 0 0 0 0 0 0 0 0\.\d{7}", line) for line in lines)


@pytest.mark.walkthrough
def test_training_goes_on_from_the_model_that_a_spec_names(root, trained, capsys):
    again = spec(root, "whole", epochs=3, training=f'resume_from_model: "{root}/whole.epoch2.tlt"')
    assert run("train", "-e", again, "--precision", "fp32") == 0
    assert "Going on with epoch 3 of 3." in capsys.readouterr().out
    assert (root / "whole.epoch3.safetensors").is_file()
