"""What a spec of YOLOv4 must say to be trained: TAO's own checks, and those that TAO leaves to a crash."""

from __future__ import annotations

from xraycls.tao.literal import pairs
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
    multiple_of,
    one_of,
    read_list,
    up_to,
    value_at,
    within,
)
from xraycls.tao.spec import Spec
from xraycls.tao.yolo_v4 import DataSource, YOLOv4Spec

_LAYERS: dict[str, tuple[int, ...]] = {
    "resnet": (10, 18, 34, 50, 101),
    "vgg": (16, 19),
    "darknet": (19, 53),
    "cspdarknet": (19, 53),
    "cspdarknet_tiny": (),
    "cspdarknet_tiny_3l": (),
    "mobilenet_v1": (),
    "mobilenet_v2": (),
    "squeezenet": (),
    "googlenet": (),
    "efficientnet_b0": (),
}

_TRAINING = "training_config"
_RATE = f"{_TRAINING}.learning_rate"
_GIVEN = (
    "yolov4_config",
    "yolov4_config.big_anchor_shape",
    "yolov4_config.mid_anchor_shape",
    _TRAINING,
    _RATE,
    f"{_TRAINING}.regularizer",
    f"{_TRAINING}.optimizer",
    "eval_config",
    "nms_config",
    "augmentation_config",
    "dataset_config",
    "dataset_config.target_class_mapping",
    "dataset_config.data_sources",
)
_SHARE, _EXTENSION = within(0, 1), within(0, 0.3)
_LIMITS: Limits = (
    ("augmentation_config.output_channel", one_of(1, 3)),
    ("augmentation_config.hue", _SHARE),
    ("augmentation_config.saturation", at_least(1)),
    ("augmentation_config.exposure", at_least(1)),
    ("augmentation_config.vertical_flip", _SHARE),
    ("augmentation_config.horizontal_flip", _SHARE),
    ("augmentation_config.jitter", _SHARE),
    ("augmentation_config.output_width", at_least(32)),
    ("augmentation_config.output_width", multiple_of(32)),
    ("augmentation_config.output_height", at_least(32)),
    ("augmentation_config.output_height", multiple_of(32)),
    ("augmentation_config.randomize_input_shape_period", at_least(0)),
    ("augmentation_config.mosaic_prob", _SHARE),
    ("augmentation_config.mosaic_min_ratio", between(0, 0.5)),
    (f"{_TRAINING}.batch_size_per_gpu", at_least(1)),
    (f"{_TRAINING}.num_epochs", at_least(1)),
    (f"{_TRAINING}.checkpoint_interval", at_least(1)),
    (f"{_TRAINING}.early_stopping.monitor", one_of("loss")),
    (f"{_TRAINING}.early_stopping.min_delta", at_least(0)),
    (f"{_TRAINING}.early_stopping.patience", at_least(1)),
    (f"{_TRAINING}.optimizer.adam.beta1", between(0, 1)),
    (f"{_TRAINING}.optimizer.adam.beta2", between(0, 1)),
    (f"{_TRAINING}.optimizer.adam.epsilon", above(0)),
    (f"{_TRAINING}.optimizer.sgd.momentum", at_least(0)),
    (f"{_TRAINING}.optimizer.rmsprop.rho", between(0, 1)),
    (f"{_TRAINING}.optimizer.rmsprop.momentum", at_least(0)),
    (f"{_TRAINING}.optimizer.rmsprop.epsilon", above(0)),
    ("eval_config.batch_size", at_least(1)),
    ("eval_config.matching_iou_threshold", up_to(0, 1)),
    ("nms_config.clustering_iou_threshold", up_to(0, 1)),
    ("yolov4_config.arch", one_of(*_LAYERS)),
    ("yolov4_config.box_matching_iou", up_to(0, 1)),
    ("yolov4_config.matching_neutral_box_iou", up_to(0.25, 1)),
    ("yolov4_config.loss_loc_weight", at_least(0)),
    ("yolov4_config.loss_neg_obj_weights", at_least(0)),
    ("yolov4_config.loss_class_weights", at_least(0)),
    ("yolov4_config.label_smoothing", _EXTENSION),
    ("yolov4_config.focal_loss_alpha", Limit(lambda value: 0 <= value < 1, "be 0 or more, and below 1")),
    ("yolov4_config.focal_loss_gamma", at_least(0)),
    ("yolov4_config.big_grid_xy_extend", _EXTENSION),
    ("yolov4_config.mid_grid_xy_extend", _EXTENSION),
    ("yolov4_config.small_grid_xy_extend", _EXTENSION),
)
_SCHEDULES: dict[str, Limits] = {
    "soft_start_annealing_schedule": (("soft_start", _SHARE), ("annealing", _SHARE)),
    "soft_start_cosine_annealing_schedule": (("soft_start", _SHARE),),
}


def check_yolo_v4(spec: Spec[YOLOv4Spec]) -> None:
    """Raise SpecError for the first thing that keeps a YOLOv4 from being trained."""
    check_given(spec, _GIVEN)
    check_limits(spec, _LIMITS)
    _check_network(spec)
    _check_training(spec)
    _check_images(spec)
    lower_case_mapping(spec, "dataset_config.target_class_mapping")
    _check_sources(spec)


def _check_network(spec: Spec[YOLOv4Spec]) -> None:
    network = spec.config.yolov4_config
    if layers := _LAYERS[network.arch]:
        check_limits(spec, (("yolov4_config.nlayers", one_of(*layers)),))
    names = ["big", "mid", "small"]
    if network.arch == "cspdarknet_tiny":
        for field in ("yolov4_config.small_anchor_shape", "yolov4_config.small_grid_xy_extend"):
            if value_at(spec.config, field):
                raise spec.mistake(field, "is not for cspdarknet_tiny, which has two maps")
        names.remove("small")
    for name in names:
        field = f"yolov4_config.{name}_anchor_shape"
        check_given(spec, (field,))
        shapes = read_list(spec, field, pairs)
        if not shapes or not all(side > 0 for shape in shapes for side in shape):
            raise spec.mistake(field, "must have one or more pairs of numbers above 0")


def _check_training(spec: Spec[YOLOv4Spec]) -> None:
    check_regularizer(spec)
    rate, optimizer = spec.config.training_config.learning_rate, spec.config.training_config.optimizer
    if (optimizer.adam, optimizer.sgd, optimizer.rmsprop) == (None, None, None):
        raise spec.mistake(f"{_TRAINING}.optimizer", "must have adam, sgd or rmsprop")
    name = next((each for each in _SCHEDULES if getattr(rate, each) is not None), None)
    if name is None:
        raise spec.mistake(_RATE, f"must have {' or '.join(_SCHEDULES)}")
    check_limits(spec, tuple((f"{_RATE}.{name}.{field}", limit) for field, limit in _SCHEDULES[name]))
    check_limits(spec, ((f"{_RATE}.{name}.min_learning_rate", above(0)),))
    schedule = getattr(rate, name)
    if schedule.max_learning_rate <= schedule.min_learning_rate:
        raise spec.mistake(f"{_RATE}.{name}.max_learning_rate", "must be above min_learning_rate")
    if getattr(schedule, "annealing", 2) <= schedule.soft_start:
        raise spec.mistake(f"{_RATE}.{name}.soft_start", "must end before annealing begins")


def _check_images(spec: Spec[YOLOv4Spec]) -> None:
    images = spec.config.augmentation_config
    check_means(spec, "augmentation_config.image_mean", "bgr" if images.output_channel == 3 else "l")
    depths = (0, 8) if images.output_channel == 3 else (0, 8, 16)
    check_limits(spec, (("augmentation_config.output_depth", one_of(*depths)),))
    if images.output_depth == 16 and spec.config.dataset_config.image_extension.lower() != "png":
        raise spec.mistake("dataset_config.image_extension", "must be png, for images of 16 bits")


def _check_sources(spec: Spec[YOLOv4Spec]) -> None:
    dataset = spec.config.dataset_config
    has_records = [_check_format(spec, "data_sources")]
    if dataset.validation_data_sources:
        has_records.append(_check_format(spec, "validation_data_sources"))
    elif not has_records[0]:
        message = "is missing: validation_fold works with TFRecords alone"
        raise spec.mistake("dataset_config.validation_data_sources", message)
    if any(has_records) and not dataset.image_extension:
        raise spec.mistake("dataset_config.image_extension", "is missing, which TFRecords need")


def _check_format(spec: Spec[YOLOv4Spec], name: str) -> bool:
    """Whether these sources are TFRecords."""
    sources: tuple[DataSource, ...] = value_at(spec.config, f"dataset_config.{name}")
    for number, source in enumerate(sources):
        field = f"dataset_config.{name}[{number}]"
        if not (source.tfrecords_path or source.label_directory_path):
            raise spec.mistake(field, "has neither label_directory_path nor tfrecords_path")
        if not source.image_directory_path:
            raise spec.mistake(f"{field}.image_directory_path", "is missing")
        if bool(source.tfrecords_path) != bool(sources[0].tfrecords_path):
            raise spec.mistake(field, f"has other labels than the first of {name}", "Give all the same")
    return bool(sources[0].tfrecords_path)
