"""Every check of YOLOv4's and Faster R-CNN's specs as one sentence with line and field."""

import re

import pytest

from xraycls.errors import SpecError
from xraycls.tao.networks import NETWORKS
from xraycls.tao.programs import open_spec
from xraycls.tao.report import mapping_report

YOLO_V4 = """\
yolov4_config {
  big_anchor_shape: "[(114.94, 60.67), (159.06, 114.59)]"
  mid_anchor_shape: "[(42.99, 31.91)]"
  small_anchor_shape: "[(15.60, 13.88)]"
  box_matching_iou: 0.25
  matching_neutral_box_iou: 0.5
  arch: "resnet"
  nlayers: 18
}
training_config {
  batch_size_per_gpu: 8
  num_epochs: 80
  checkpoint_interval: 10
  learning_rate {
    soft_start_cosine_annealing_schedule { min_learning_rate: 1e-7 max_learning_rate: 1e-4 soft_start: 0.3 }
  }
  regularizer { type: L1 weight: 3e-5 }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 } }
}
eval_config { batch_size: 8 matching_iou_threshold: 0.5 }
nms_config { clustering_iou_threshold: 0.5 }
augmentation_config {
  saturation: 1.5
  exposure: 1.5
  output_width: 320
  output_height: 320
  output_channel: 3
  mosaic_min_ratio: 0.2
}
dataset_config {
  data_sources { tfrecords_path: "/data/train*" image_directory_path: "/data" }
  image_extension: "png"
  target_class_mapping { key: "car" value: "car" }
}
"""
FASTER_RCNN = """\
model_config {
  input_image_config {
    image_type: RGB
    image_channel_order: 'bgr'
    size_height_width { height: 384 width: 1248 }
    image_channel_mean { key: 'b' value: 103.939 }
    image_channel_mean { key: 'g' value: 116.779 }
    image_channel_mean { key: 'r' value: 123.68 }
    image_scaling_factor: 1.0
    max_objects_num_per_image: 100
  }
  arch: "resnet:18"
  anchor_box_config { scale: 64 ratio: 1.0 }
  freeze_blocks: 0
  roi_mini_batch: 256
  rpn_stride: 16
}
dataset_config {
  data_sources { tfrecords_path: "/data/train*" image_directory_path: "/data" }
  image_extension: 'png'
  target_class_mapping { key: 'car' value: 'car' }
}
augmentation_config {
  preprocessing { output_image_width: 1248 output_image_height: 384 output_image_channel: 3 }
}
training_config {
  batch_size_per_gpu: 1
  num_epochs: 12
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
  regularizer { type: L2 weight: 1e-4 }
  optimizer { sgd { momentum: 0.9 } }
  learning_rate { step { base_lr: 1e-5 gamma: 1.0 step_size: 30 } }
  lambda_rpn_regr: 1.0
  lambda_rpn_class: 1.0
  lambda_cls_regr: 1.0
  lambda_cls_class: 1.0
}
inference_config {
  rpn_pre_nms_top_N: 6000
  rpn_nms_max_boxes: 300
  rpn_nms_overlap_threshold: 0.7
  object_confidence_thres: 0.0001
  bbox_visualize_threshold: 0.6
  classifier_nms_max_boxes: 100
  classifier_nms_overlap_threshold: 0.3
}
evaluation_config {
  rpn_pre_nms_top_N: 6000
  rpn_nms_max_boxes: 300
  rpn_nms_overlap_threshold: 0.7
  object_confidence_thres: 0.0001
  classifier_nms_max_boxes: 100
  classifier_nms_overlap_threshold: 0.3
  gt_matching_iou_threshold: 0.5
}
"""
ANNEALING = "learning_rate { soft_start_annealing_schedule { min_learning_rate: 1e-7 max_learning_rate: 1e-4 %s } }"
SOFT_START = "learning_rate { soft_start { base_lr: 1 start_lr: .1 soft_start: .2 annealing_divider: 2 %s } }"

YOLO_V4_WRONG = [
    (r"yolov4_config \{[^}]*\}\n", "", "yolov4_config", "is missing"),
    ("  big_anchor.*\n", "", "yolov4_config.big_anchor_shape", "is missing"),
    ("  mid_anchor.*\n", "", "yolov4_config.mid_anchor_shape", "is missing"),
    (r"yolov4_config \{", "yolov4_config { freeze_blocks: 0.5", "yolov4_config.freeze_blocks",
     "is [0.5]; it must have whole numbers"),
    ("  small_anchor.*\n", "", "yolov4_config.small_anchor_shape", "is missing"),
    ("42.99, 31.91", "42.99", "yolov4_config.mid_anchor_shape",
     "can't be read: a list of numbers is expected, not 42.99"),
    ("42.99, 31.91", "42.99, 0", "yolov4_config.mid_anchor_shape", "must have one or more pairs of numbers above 0"),
    ('"resnet"', '"cspdarknet_tiny"', "yolov4_config.small_anchor_shape", "is not for cspdarknet_tiny"),
    ('"resnet"', '"efficientdet"', "yolov4_config.arch", "is 'efficientdet'; it must be one of resnet, vgg"),
    ("nlayers: 18", "nlayers: 19", "yolov4_config.nlayers", "is 19; it must be one of 10, 18, 34, 50, 101"),
    ("box_matching_iou: 0.25", "box_matching_iou: 0", "yolov4_config.box_matching_iou",
     "is 0; it must be above 0, up to 1"),
    ("box_iou: 0.5", "box_iou: 0.25", "yolov4_config.matching_neutral_box_iou",
     "is 0.25; it must be above 0.25, up to 1"),
    ("nlayers: 18", "nlayers: 18 loss_loc_weight: -1", "yolov4_config.loss_loc_weight", "is -1; it must be 0 or more"),
    ("nlayers: 18", "nlayers: 18 label_smoothing: .4", "yolov4_config.label_smoothing", "is 0.4; it must be 0 to 0.3"),
    ("nlayers: 18", "nlayers: 18 focal_loss_alpha: 1", "yolov4_config.focal_loss_alpha",
     "is 1; it must be 0 or more, and"),
    ("nlayers: 18", "nlayers: 18 focal_loss_gamma: -1", "yolov4_config.focal_loss_gamma",
     "is -1; it must be 0 or more"),
    ("nlayers: 18", "nlayers: 18 big_grid_xy_extend: 1", "yolov4_config.big_grid_xy_extend",
     "is 1; it must be 0 to 0.3"),
    ("num_epochs: 80", "", "training_config.num_epochs", "is missing; it must be 1 or more"),
    ("checkpoint_interval: 10", "", "training_config.checkpoint_interval", "is missing; it must be 1 or more"),
    (r"  learning_rate \{.*?\n  \}\n", "", "training_config.learning_rate", "is missing"),
    (r"learning_rate \{.*?\n  \}\n", "learning_rate { }", "training_config.learning_rate",
     "must have soft_start_annealing"),
    (r"learning_rate \{.*?\n  \}\n", ANNEALING % "soft_start: .5 annealing: .4",
     "training_config.learning_rate.soft_start_annealing_schedule.soft_start", "must end before annealing begins"),
    (r"learning_rate \{.*?\n  \}\n", ANNEALING % "soft_start: 2 annealing: .4",
     "training_config.learning_rate.soft_start_annealing_schedule.soft_start", "is 2; it must be 0 to 1"),
    ("min_learning_rate: 1e-7", "",
     "training_config.learning_rate.soft_start_cosine_annealing_schedule.min_learning_rate",
     "is missing; it must be above 0"),
    ("max_learning_rate: 1e-4", "",
     "training_config.learning_rate.soft_start_cosine_annealing_schedule.max_learning_rate",
     "must be above min_learning_rate"),
    (r"  optimizer.*\n", "", "training_config.optimizer", "is missing"),
    (r"adam \{[^}]*\}", "", "training_config.optimizer", "must have adam, sgd or rmsprop"),
    ("beta1: 0.9", "beta1: 1", "training_config.optimizer.adam.beta1", "is 1; it must lie between 0 and 1"),
    ("epsilon: 1e-7", "", "training_config.optimizer.adam.epsilon", "is missing; it must be above 0"),
    ("weight: 3e-5", "weight: -1", "training_config.regularizer.weight", "is -1; it must lie between 0 and 1"),
    ("num_epochs: 80", "num_epochs: 80 early_stopping { monitor: 'val_loss' patience: 1 }",
     "training_config.early_stopping.monitor", "is 'val_loss'; it must be loss"),
    ("batch_size: 8", "", "eval_config.batch_size", "is missing; it must be 1 or more"),
    ("matching_iou_threshold: 0.5", "", "eval_config.matching_iou_threshold",
     "is missing; it must be above 0, up to 1"),
    ("clustering_iou_threshold: 0.5", "", "nms_config.clustering_iou_threshold",
     "is missing; it must be above 0, up to 1"),
    ("output_width: 320", "output_width: 300", "augmentation_config.output_width",
     "is 300; it must be a multiple of 32"),
    ("output_width: 320", "output_width: 0", "augmentation_config.output_width", "is 0; it must be 32 or more"),
    ("saturation: 1.5", "saturation: 0.5", "augmentation_config.saturation", "is 0.5; it must be 1 or more"),
    ("exposure: 1.5", "exposure: 1.5 hue: 2", "augmentation_config.hue", "is 2; it must be 0 to 1"),
    ("exposure: 1.5", "exposure: 1.5 jitter: 2", "augmentation_config.jitter", "is 2; it must be 0 to 1"),
    ("min_ratio: 0.2", "min_ratio: 0.5", "augmentation_config.mosaic_min_ratio",
     "is 0.5; it must lie between 0 and 0.5"),
    ("output_channel: 3", "output_channel: 3 output_depth: 16", "augmentation_config.output_depth",
     "is 16; it must be one of 0, 8"),
    ("output_channel: 3", "output_channel: 1 image_mean { key: 'b' value: 1 }", "augmentation_config.image_mean",
     "has no l"),
    ("(?s)output_channel: 3(.*)png", r"output_channel: 1 output_depth: 16\1jpg", "dataset_config.image_extension",
     "must be png, for images of 16 bits"),
    ("image_extension.*", "", "dataset_config.image_extension", "is missing, which TFRecords need"),
    ("tfrecords_path", "label_directory_path", "dataset_config.validation_data_sources",
     "is missing: validation_fold works with TFRecords alone"),
    ('tfrecords_path: "/data/train."', "", "dataset_config.data_sources[0]",
     "has neither label_directory_path nor tfrecords_path"),
    ('image_directory_path: "/data"', "", "dataset_config.data_sources[0].image_directory_path", "is missing"),
    ("  image_ext", "data_sources { label_directory_path: 'a' image_directory_path: 'b' } image_ext",
     "dataset_config.data_sources[1]", "has other labels than the first of data_sources. Give all the same"),
    ("  target.*\n", "", "dataset_config.target_class_mapping", "is missing"),
]  # fmt: skip
FASTER_RCNN_WRONG = [
    (r"model_config \{.*?\n\}\n", "", "model_config", "is missing"),
    (r"  preprocessing.*\n", "", "augmentation_config.preprocessing", "is missing"),
    ("'bgr'", "'gbr'", "model_config.input_image_config.image_channel_order",
     "is 'gbr'; it must be one of bgr, rgb, l"),
    ("height: 384", "height: 128", "model_config.input_image_config.size_height_width.height",
     "is 128; it must be 160"),
    (r"size_height_width.*", "", "model_config.input_image_config", "must have size_height_width or size_min"),
    (r"size_height_width.*", "size_min { min: 100 }", "model_config.input_image_config.size_min.min",
     "is 100; it must be"),
    (r"image_channel_mean \{ key: 'g'.*", "", "model_config.input_image_config.image_channel_mean", "has no g"),
    ("116.779", "256", "model_config.input_image_config.image_channel_mean", "of g must lie between 0 and 255"),
    ("factor: 1.0", "factor: 0", "model_config.input_image_config.image_scaling_factor", "is 0; it must be above 0"),
    ("max_objects.*", "", "model_config.input_image_config.max_objects_num_per_image",
     "is missing; it must be 1 or more"),
    ("resnet:18", "resnet:20", "model_config.arch", "is 'resnet:20'; it must be one of resnet:10,"),
    ("scale: 64", "", "model_config.anchor_box_config.scale", "is missing; it must have numbers above 0"),
    ("ratio: 1.0", "ratio: 1 ratio: -1", "model_config.anchor_box_config.ratio",
     "is [1, -1]; it must have numbers above 0"),
    ("freeze_blocks: 0", "freeze_blocks: 4", "model_config.freeze_blocks", "of resnet:18 must be 0 to 3"),
    ("freeze_blocks: 0", "freeze_blocks: nan", "model_config.freeze_blocks", "is [nan]; it must have whole numbers"),
    ("rpn_stride: 16", "rpn_stride: 8", "model_config.rpn_stride", "is 8; it must be 16"),
    ("roi_mini_batch: 256", "", "model_config.roi_mini_batch", "is missing; it must be 1 or more"),
    ("rpn_min_overlap: 0.3", "rpn_min_overlap: 0.8", "training_config.rpn_min_overlap",
     "must be below rpn_max_overlap"),
    ("rpn_min_overlap: 0.3", "", "training_config.rpn_min_overlap", "is missing; it must be above 0"),
    ("classifier_max_overlap: 0.5", "classifier_max_overlap: 0", "training_config.classifier_max_overlap",
     "is 0; it must"),
    ("std_scaling: 1.0", "", "training_config.std_scaling", "is missing; it must be above 0"),
    (r"classifier_regr_std \{ key: 'w'.*", "", "training_config.classifier_regr_std", "of w must be above 0"),
    ("max_boxes: 2000", "max_boxes: 12000", "training_config.rpn_nms_max_boxes", "must be below rpn_pre_nms_top_N"),
    ("weight: 1e-4", "", "training_config.regularizer.weight", "is missing; it must lie between 0 and 1"),
    (r"sgd \{.*?\}", "", "training_config.optimizer", "must have adam, sgd or rmsprop"),
    (r"step \{.*?\}", "", "training_config.learning_rate", "must have soft_start or step"),
    ("gamma: 1.0", "gamma: 2", "training_config.learning_rate.step.gamma", "is 2; it must be 0 to 1"),
    ("step_size: 30", "", "training_config.learning_rate.step.step_size", "is missing; it must be above 0, up to 100"),
    ("learning_rate.*", SOFT_START % "annealing_points: .1",
     "training_config.learning_rate.soft_start.annealing_points", "must rise, above soft_start and up to 1"),
    ("learning_rate.*", SOFT_START % "annealing_points: [.5, .4]",
     "training_config.learning_rate.soft_start.annealing_points", "must rise"),
    ("lambda_cls_regr: 1.0", "", "training_config.lambda_cls_regr", "is missing; it must be above 0"),
    ("bbox_visualize_threshold: 0.6", "", "inference_config.bbox_visualize_threshold",
     "is missing; it must lie between"),
    ("rpn_nms_max_boxes: 300", "rpn_nms_max_boxes: 6000", "inference_config.rpn_nms_max_boxes",
     "must be below rpn_pre"),
    ("(?s)(evaluation_config.*)thres: 0.0001", r"\1thres: 1", "evaluation_config.object_confidence_thres",
     "is 1; it must"),
    ("gt_matching.*", "", "evaluation_config",
     "must have gt_matching_iou_threshold or gt_matching_iou_threshold_range"),
    ("gt_matching.*", "gt_matching_iou_threshold: 1", "evaluation_config.gt_matching_iou_threshold",
     "is 1; it must lie"),
    ("gt_matching.*", "gt_matching_iou_threshold_range { start: .7 end: .6 step: .1 }",
     "evaluation_config.gt_matching_iou_threshold_range.start", "must be below end"),
    ("output_image_width: 1248", "output_image_width: 1242", "augmentation_config.preprocessing.output_image_width",
     "is 1242, but the network's is 1248"),
    ("output_image_channel: 3", "output_image_channel: 1", "augmentation_config.preprocessing.output_image_channel",
     "is 1; it must be 3"),
    ("'png'", "'tif'", "dataset_config.image_extension", "is 'tif'; it must be one of jpg, jpeg, png"),
    ("key: 'car'", "key: 'background'", "dataset_config.target_class_mapping", "has a class background"),
    ("roi_mini_batch: 256", "roi_mini_batch: 256 rfcn_mode: true", "model_config.rfcn_mode", "asks for an R-FCN"),
    ("scale: 64 ", "scale: 512 scale: 400 ", "model_config.anchor_box_config.scale",
     "leaves no anchor within a picture of 1248 × 384 pixels, so there is nothing to learn"),
    ('tfrecords_path: "/data/train."', "", "dataset_config.data_sources[0].tfrecords_path", "is missing"),
]  # fmt: skip
WRONG = [("yolo_v4", YOLO_V4, *each) for each in YOLO_V4_WRONG]
WRONG += [("faster_rcnn", FASTER_RCNN, *each) for each in FASTER_RCNN_WRONG]


def check(program, path, text):
    path.write_text(text)
    network = NETWORKS[program]
    network.check(open_spec(path, network.spec))


@pytest.mark.parametrize(("program", "text"), [("yolo_v4", YOLO_V4), ("faster_rcnn", FASTER_RCNN)])
def test_the_whole_spec_is_right(tmp_path, program, text):
    check(program, tmp_path / "spec.txt", text)


@pytest.mark.parametrize(
    ("program", "text", "old", "new", "field", "message"), WRONG, ids=[f"{w[4]} {w[5][:20]}" for w in WRONG]
)
def test_every_check_is_one_sentence_with_line_and_field(tmp_path, program, text, old, new, field, message):
    wrong = re.sub(old, new, text, count=1, flags=re.DOTALL if ".*?" in old else 0)
    assert wrong != text
    path = tmp_path / "spec.txt"
    with pytest.raises(SpecError) as caught:
        check(program, path, wrong)
    line = caught.value.line
    place = f"{path}, line {line}" if line else str(path)
    assert str(caught.value).startswith(f"{place}: {field} {message}")
    holders = set(re.findall(r"[A-Za-z_]\w+", field))
    assert line is None or holders & set(re.findall(r"\w+", wrong.splitlines()[line - 1]))
    assert (line is None) == ("." not in field and field not in wrong)


def test_a_tiny_yolo_has_two_sets_of_anchors(tmp_path):
    tiny = YOLO_V4.replace('"resnet"', '"cspdarknet_tiny"').replace('  small_anchor_shape: "[(15.60, 13.88)]"\n', "")
    check("yolo_v4", tmp_path / "spec.txt", tiny)
    with pytest.raises(SpecError, match="small_grid_xy_extend is not for cspdarknet_tiny"):
        check("yolo_v4", tmp_path / "spec.txt", tiny.replace("nlayers: 18", "small_grid_xy_extend: 0.1"))


def test_what_specs_of_tlt_3_leave_out_is_assumed_and_said(tmp_path):
    text = YOLO_V4.replace("  output_channel: 3\n", "").replace("  matching_neutral_box_iou: 0.5\n", "")
    path = tmp_path / "spec.txt"
    check("yolo_v4", path, text)
    spec = open_spec(path, NETWORKS["yolo_v4"].spec)
    modern = NETWORKS["yolo_v4"].modern(spec).config
    assert modern.augmentation_config.output_channel == 3
    assert modern.yolov4_config.matching_neutral_box_iou == 0.5
    assumed = [(each.field, each.value, each.outcome) for each in mapping_report(spec) if each.line is None]
    assert assumed == [
        ("augmentation_config.output_channel", 3, "approximated"),
        ("yolov4_config.matching_neutral_box_iou", 0.5, "approximated"),
    ]
    with pytest.raises(SpecError, match="output_channel is 0; it must be one of 1, 3"):
        check("yolo_v4", path, YOLO_V4.replace("output_channel: 3", "output_channel: 0"))
