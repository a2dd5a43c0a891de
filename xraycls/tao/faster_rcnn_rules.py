"""What a spec of Faster R-CNN must say to be trained: TAO's own checks, and those that TAO leaves to a crash."""

from __future__ import annotations

from xraycls.tao.faster_rcnn import FasterRCNNSpec
from xraycls.tao.faster_rcnn_modern import modern
from xraycls.tao.rules import (
    Limit,
    Limits,
    above,
    at_least,
    between,
    check_given,
    check_limits,
    check_means,
    check_regularizer,
    lower_case_mapping,
    one_of,
    up_to,
    value_at,
    within,
)
from xraycls.tao.spec import Spec

_BACKBONES = (
    *(f"resnet:{layers}" for layers in (10, 18, 34, 50, 101)),
    *("resnet101", "vgg16", "vgg:16", "vgg:19", "googlenet", "mobilenet_v1", "mobilenet_v2"),
    *("darknet:19", "darknet:53"),
    *(f"efficientnet:b{number}" for number in range(8)),
)
# By the beginning of a backbone's name, the blocks that can be frozen.
_BLOCKS = {
    "resnet": range(4),
    "vgg": range(1, 6),
    "googlenet": range(8),
    "mobilenet_v1": range(12),
    "mobilenet_v2": range(14),
    "darknet": range(6),
}
_GIVEN = (
    "model_config",
    "model_config.input_image_config",
    "model_config.anchor_box_config",
    "training_config",
    "training_config.learning_rate",
    "training_config.optimizer",
    "inference_config",
    "evaluation_config",
    "augmentation_config",
    "augmentation_config.preprocessing",
    "dataset_config",
    "dataset_config.data_sources",
    "dataset_config.target_class_mapping",
)
_IMAGE = "model_config.input_image_config"
_SIDE = Limit(lambda value: value == 0 or value >= 160, "be 160 or more")
_POSITIVE_LIST = Limit(lambda values: values and all(value > 0 for value in values), "have numbers above 0")
_MODEL: Limits = (
    (f"{_IMAGE}.image_channel_order", one_of("bgr", "rgb", "l")),
    (f"{_IMAGE}.size_height_width.height", _SIDE),
    (f"{_IMAGE}.size_height_width.width", _SIDE),
    (f"{_IMAGE}.size_min.min", _SIDE),
    (f"{_IMAGE}.image_scaling_factor", above(0)),
    (f"{_IMAGE}.max_objects_num_per_image", at_least(1)),
    ("model_config.arch", one_of(*_BACKBONES)),
    ("model_config.anchor_box_config.scale", _POSITIVE_LIST),
    ("model_config.anchor_box_config.ratio", _POSITIVE_LIST),
    ("model_config.roi_mini_batch", at_least(1)),
    ("model_config.rpn_stride", one_of(16)),
    ("model_config.dropout_rate", at_least(0)),
    ("model_config.drop_connect_rate", at_least(0)),
)
_TRAINING: Limits = (
    ("training_config.batch_size_per_gpu", at_least(1)),
    ("training_config.num_epochs", at_least(1)),
    ("training_config.rpn_min_overlap", above(0)),
    ("training_config.rpn_max_overlap", up_to(0, 1)),
    ("training_config.classifier_min_overlap", at_least(0)),
    ("training_config.classifier_max_overlap", up_to(0, 1)),
    ("training_config.std_scaling", above(0)),
    ("training_config.rpn_mini_batch", at_least(1)),
    ("training_config.rpn_nms_max_boxes", at_least(1)),
    ("training_config.rpn_nms_overlap_threshold", between(0, 1)),
    *((f"training_config.lambda_{name}", above(0)) for name in ("rpn_regr", "rpn_class", "cls_regr", "cls_class")),
    ("training_config.early_stopping.monitor", one_of("loss")),
    ("training_config.early_stopping.min_delta", at_least(0)),
    ("training_config.early_stopping.patience", at_least(1)),
    ("training_config.learning_rate.soft_start.base_lr", above(0)),
    ("training_config.learning_rate.soft_start.start_lr", above(0)),
    ("training_config.learning_rate.soft_start.soft_start", within(0, 1)),
    ("training_config.learning_rate.soft_start.annealing_divider", above(0)),
    ("training_config.learning_rate.step.base_lr", above(0)),
    ("training_config.learning_rate.step.gamma", within(0, 1)),
    ("training_config.learning_rate.step.step_size", up_to(0, 100)),
)
_PREDICTION: Limits = (
    ("rpn_nms_max_boxes", at_least(1)),
    ("rpn_nms_overlap_threshold", between(0, 1)),
    ("object_confidence_thres", between(0, 1)),
    ("classifier_nms_max_boxes", at_least(1)),
    ("classifier_nms_overlap_threshold", between(0, 1)),
)
_RANGE = "evaluation_config.gt_matching_iou_threshold_range"
_EVALUATION: Limits = (
    ("evaluation_config.gt_matching_iou_threshold", between(0, 1)),
    (f"{_RANGE}.start", above(0)),
    (f"{_RANGE}.end", up_to(0, 1)),
    (f"{_RANGE}.step", between(0, 1)),
)


def check_faster_rcnn(spec: Spec[FasterRCNNSpec]) -> None:
    """Raise SpecError for the first thing that keeps a Faster R-CNN from being trained."""
    spec = modern(spec)
    check_given(spec, _GIVEN)
    _check_model(spec)
    _check_training(spec)
    _check_schedule(spec)
    check_limits(spec, (("inference_config.bbox_visualize_threshold", between(0, 1)),))
    for holder in ("inference_config", "evaluation_config"):
        check_limits(spec, tuple((f"{holder}.{name}", limit) for name, limit in _PREDICTION))
        _check_below(spec, f"{holder}.rpn_nms_max_boxes", f"{holder}.rpn_pre_nms_top_N")
    _check_evaluation(spec)
    _check_data(spec)


def _check_model(spec: Spec[FasterRCNNSpec]) -> None:
    check_limits(spec, _MODEL)
    model, image = spec.config.model_config, spec.config.model_config.input_image_config
    if image.size_min is None and image.size_height_width is None:
        raise spec.mistake(_IMAGE, "must have size_height_width or size_min")
    field = f"{_IMAGE}.image_channel_mean"
    channels = "rgb" if image.image_type == "RGB" else "l"
    check_given(spec, (field,))
    check_means(spec, field, channels)
    for channel in channels:
        if not 0 < image.image_channel_mean[channel] < 255:
            raise spec.mistake(field, f"of {channel} must lie between 0 and 255")
    blocks = next((blocks for name, blocks in _BLOCKS.items() if model.arch.startswith(name)), None)
    if blocks is not None and not set(model.freeze_blocks) <= set(blocks):
        message = f"of {model.arch} must be {blocks[0]} to {blocks[-1]}"
        raise spec.mistake("model_config.freeze_blocks", message)


def _check_training(spec: Spec[FasterRCNNSpec]) -> None:
    training = spec.config.training_config
    check_limits(spec, _TRAINING)
    check_regularizer(spec)
    _check_below(spec, "training_config.rpn_min_overlap", "training_config.rpn_max_overlap")
    _check_below(spec, "training_config.classifier_min_overlap", "training_config.classifier_max_overlap")
    _check_below(spec, "training_config.rpn_nms_max_boxes", "training_config.rpn_pre_nms_top_N")
    for name in "xywh":
        if training.classifier_regr_std.get(name, 0) <= 0:
            raise spec.mistake("training_config.classifier_regr_std", f"of {name} must be above 0")
    optimizer = training.optimizer
    if (optimizer.adam, optimizer.sgd, optimizer.rmsprop) == (None, None, None):
        raise spec.mistake("training_config.optimizer", "must have adam, sgd or rmsprop")


def _check_schedule(spec: Spec[FasterRCNNSpec]) -> None:
    rate = spec.config.training_config.learning_rate
    if (rate.soft_start, rate.step) == (None, None):
        raise spec.mistake("training_config.learning_rate", "must have soft_start or step")
    if rate.soft_start is not None:
        points = (rate.soft_start.soft_start, *rate.soft_start.annealing_points)
        if not all(low < high for low, high in zip(points, (*points[1:], 1.0), strict=True)) and len(points) > 1:
            message = "must rise, above soft_start and up to 1"
            raise spec.mistake("training_config.learning_rate.soft_start.annealing_points", message)


def _check_evaluation(spec: Spec[FasterRCNNSpec]) -> None:
    evaluation = spec.config.evaluation_config
    if (evaluation.gt_matching_iou_threshold, evaluation.gt_matching_iou_threshold_range) == (None, None):
        message = "must have gt_matching_iou_threshold or gt_matching_iou_threshold_range"
        raise spec.mistake("evaluation_config", message)
    check_limits(spec, _EVALUATION)
    if evaluation.gt_matching_iou_threshold_range is not None:
        _check_below(spec, f"{_RANGE}.start", f"{_RANGE}.end")


def _check_data(spec: Spec[FasterRCNNSpec]) -> None:
    image, first = spec.config.model_config.input_image_config, spec.config.augmentation_config.preprocessing
    if size := image.size_height_width:
        for name in ("width", "height"):
            ours, theirs = getattr(first, f"output_image_{name}"), getattr(size, name)
            if ours and theirs and ours != theirs:
                field = f"augmentation_config.preprocessing.output_image_{name}"
                raise spec.mistake(field, f"is {ours}, but the network's is {theirs}")
    channels = 3 if image.image_type == "RGB" else 1
    check_limits(spec, (("augmentation_config.preprocessing.output_image_channel", one_of(channels)),))
    dataset = spec.config.dataset_config
    if dataset.image_extension.lower() not in ("jpg", "jpeg", "png"):
        check_limits(spec, (("dataset_config.image_extension", one_of("jpg", "jpeg", "png")),))
    mapping = lower_case_mapping(spec, "dataset_config.target_class_mapping")
    if "background" in {*mapping, *mapping.values()}:
        raise spec.mistake("dataset_config.target_class_mapping", "has a class background, which is added by itself")
    for number, source in enumerate(dataset.data_sources):
        for name in ("tfrecords_path", "image_directory_path"):
            if not getattr(source, name):
                raise spec.mistake(f"dataset_config.data_sources[{number}].{name}", "is missing")


def _check_below(spec: Spec[FasterRCNNSpec], lower: str, upper: str) -> None:
    if value_at(spec.config, lower) >= value_at(spec.config, upper):
        raise spec.mistake(lower, f"must be below {upper.rpartition('.')[2]}")
