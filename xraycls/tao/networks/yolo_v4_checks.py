"""YOLOv4: what a spec must say to be trained. TAO's own checks, and those that TAO leaves to a crash."""

from __future__ import annotations

from dataclasses import fields

from xraycls.tao.checks import check_fields, check_given, check_limit, check_means, lower_case_mapping, read_list
from xraycls.tao.limits import one_of
from xraycls.tao.literal import pairs
from xraycls.tao.networks.yolo_v4_spec import LAYERS, DataSource, YOLOv4Spec
from xraycls.tao.spec import Spec, value_at

_RATE = "training_config.learning_rate"
_SCHEDULES = ("soft_start_annealing_schedule", "soft_start_cosine_annealing_schedule")
_ASSUMED = {"augmentation_config.output_channel": 3, "yolov4_config.matching_neutral_box_iou": 0.5}


def modern(spec: Spec[YOLOv4Spec]) -> Spec[YOLOv4Spec]:
    """The spec with what specs of TLT 3 leave unsaid, and were trained by all the same."""
    for field, value in _ASSUMED.items():
        if spec.line(field) is None:
            spec = spec.assuming(field, value, "the spec leaves it out, as those of TLT 3 may")
    return spec


def check_yolo_v4(spec: Spec[YOLOv4Spec]) -> None:
    """Raise SpecError for the first thing that keeps a YOLOv4 from being trained."""
    spec = modern(spec)
    check_fields(spec, *(each.name for each in fields(YOLOv4Spec)))
    _check_network(spec)
    _check_training(spec)
    _check_images(spec)
    lower_case_mapping(spec, "dataset_config.target_class_mapping")
    _check_sources(spec)


def check_evaluation(spec: Spec[YOLOv4Spec]) -> None:
    """Raise SpecError for the first thing that keeps a trained YOLOv4 from being evaluated."""
    check_given(spec, "eval_config", "dataset_config", "dataset_config.target_class_mapping")
    check_fields(spec, "eval_config", "nms_config")
    lower_case_mapping(spec, "dataset_config.target_class_mapping")
    name = "validation_data_sources" if spec.config.dataset_config.validation_data_sources else "data_sources"
    check_given(spec, f"dataset_config.{name}")
    _check_format(spec, name)


def check_suppression(spec: Spec[YOLOv4Spec]) -> None:
    """Raise SpecError for the first thing that keeps ``nms_config`` from being used."""
    check_fields(spec, "nms_config")


def _check_network(spec: Spec[YOLOv4Spec]) -> None:
    network = spec.config.yolov4_config
    if layers := LAYERS[network.arch]:
        check_limit(spec, "yolov4_config.nlayers", one_of(*layers))
    names = ["big", "mid", "small"]
    if network.arch == "cspdarknet_tiny":
        for field in ("yolov4_config.small_anchor_shape", "yolov4_config.small_grid_xy_extend"):
            if value_at(spec.config, field):
                raise spec.mistake(field, "is not for cspdarknet_tiny, which has two maps")
        names.remove("small")
    for name in names:
        field = f"yolov4_config.{name}_anchor_shape"
        check_given(spec, field)
        shapes = read_list(spec, field, pairs)
        if not shapes or not all(side > 0 for shape in shapes for side in shape):
            raise spec.mistake(field, "must have one or more pairs of numbers above 0")
        size = spec.config.augmentation_config.output_width, spec.config.augmentation_config.output_height
        for width, height in shapes:
            if width > size[0] or height > size[1]:
                raise spec.mistake(
                    field,
                    f"holds ({width:g}, {height:g}), which doesn't fit an input of {size[0]} x {size[1]}",
                    "Give widths and heights in pixels of the input, as xraycls yolo_v4 kmeans prints them",
                )


def _check_training(spec: Spec[YOLOv4Spec]) -> None:
    rate, optimizer = spec.config.training_config.learning_rate, spec.config.training_config.optimizer
    if (optimizer.adam, optimizer.sgd, optimizer.rmsprop) == (None, None, None):
        raise spec.mistake("training_config.optimizer", "must have adam, sgd or rmsprop")
    name = next((each for each in _SCHEDULES if getattr(rate, each) is not None), None)
    if name is None:
        raise spec.mistake(_RATE, f"must have {' or '.join(_SCHEDULES)}")
    schedule = getattr(rate, name)
    if schedule.max_learning_rate <= schedule.min_learning_rate:
        raise spec.mistake(f"{_RATE}.{name}.max_learning_rate", "must be above min_learning_rate")
    if getattr(schedule, "annealing", 2) <= schedule.soft_start:
        raise spec.mistake(f"{_RATE}.{name}.soft_start", "must end before annealing begins")


def _check_images(spec: Spec[YOLOv4Spec]) -> None:
    images = spec.config.augmentation_config
    check_means(spec, "augmentation_config.image_mean", "bgr" if images.output_channel == 3 else "l")
    depths = (0, 8) if images.output_channel == 3 else (0, 8, 16)
    check_limit(spec, "augmentation_config.output_depth", one_of(*depths))
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
