"""YOLOv4 and YOLOv4-tiny: the fields of their spec, and what it must say to be trained.

The checks are TAO's own, and those that TAO leaves to a crash. Zero is what a field that isn't given has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Literal

from xraycls.tao.checks import check_fields, check_given, check_limit, check_means, lower_case_mapping, read_list
from xraycls.tao.common import NO_COLOUR, SMALL_LETTERS, NMSConfig, TrainingConfig
from xraycls.tao.fields import LATER, approximated, but, define, ignored, message
from xraycls.tao.limits import at_least, below, between, multiple_of, one_of, up_to, within
from xraycls.tao.literal import pairs
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.spec import Spec, value_at

LAYERS: dict[str, tuple[int, ...]] = {
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
"""The backbones of YOLOv4, and the numbers of layers of those that come in several."""

_RATE = "training_config.learning_rate"
_SCHEDULES = ("soft_start_annealing_schedule", "soft_start_cosine_annealing_schedule")
_ASSUMED = {"augmentation_config.output_channel": 3, "yolov4_config.matching_neutral_box_iou": 0.5}


@message
class DataSource:
    """Images with KITTI labels or TFRecords."""

    label_directory_path: str | None = define("a ``.txt`` an image; or:", oneof="labels_format")
    tfrecords_path: str | None = define("a file, or several by ``*``", oneof="labels_format")
    image_directory_path: str = define("the images, or the folder that image names in TFRecords are relative to")
    root_path: str = define("not used", ignored("TAO doesn't read it"))
    source_weight: float = define("how often it is drawn from, among several")


@message
class DatasetConfig:
    """What to train on and what to validate with."""

    data_sources: tuple[DataSource, ...] = define("to train on, all with labels or all with TFRecords", required=True)
    target_class_mapping: Mapping[str, str] = define(
        "class by label; labels that it lacks are no objects", SMALL_LETTERS, required=True
    )
    validation_data_sources: tuple[DataSource, ...] = define(
        "to validate with", within={"source_weight": but(ignored("every image is evaluated once"))}
    )
    validation_fold: int = define("the fold of the TFRecords that is for validation, without the former")
    include_difficult_in_training: bool = define("whether to learn objects that are marked difficult")
    type: str = define('of the labels, "kitti" or "coco"', ignored("the form of the labels is told by the files"))
    image_extension: str = define("without a dot; for TFRecords")
    is_monochrome: bool = define("not used", ignored("TAO doesn't read it"))


@message
class AugmentationConfig:
    """The input's size and how training images are changed."""

    hue: float = define("half turns, either way, 0–1", within(0, 1), NO_COLOUR)
    saturation: float = define("greatest factor, 1 or more; down to one through it", at_least(1), NO_COLOUR)
    exposure: float = define("greatest factor of the grey levels, 1 or more; down to one through it", at_least(1))
    vertical_flip: float = define("probability of an image upside down", within(0, 1))
    horizontal_flip: float = define("probability of a mirror image", within(0, 1))
    jitter: float = define("share of each side that is cut off or added", within(0, 1))
    output_width: int = define("pixels, a multiple of 32", at_least(32), multiple_of(32), scalar="int32")
    output_height: int = define("pixels, a multiple of 32", at_least(32), multiple_of(32), scalar="int32")
    output_channel: int = define("1 or 3", one_of(1, 3), scalar="int32")
    output_depth: int = define("bits, 8 or 16; 0 means 8", approximated("deep images are brought to 8 bits"))
    randomize_input_shape_period: int = define(
        "batches between two sizes; 0 keeps the size", at_least(0), scalar="int32"
    )
    mosaic_prob: float = define("probability of four images in one", within(0, 1))
    mosaic_min_ratio: float = define("where they meet, at least, as a share of each side, below 0.5", between(0, 0.5))
    image_mean: Mapping[str, float] = define("what is subtracted, by channel: b, g and r, or l")


@message
class EvalConfig:
    """How a model is evaluated."""

    average_precision_mode: Literal["SAMPLE", "INTEGRATE"] = define(
        "at eleven recalls, or the whole area under the curve"
    )
    batch_size: int = define("1 or more", at_least(1))
    matching_iou_threshold: float = define("what a prediction must overlap an object by, above 0, up to 1", up_to(0, 1))
    visualize_pr_curve: bool = define("draw it")


@message
class YOLOv4Config:
    """The network, its anchors and its loss; strings hold lists of (width, height), pixels of the input."""

    big_anchor_shape: str = define("of the coarsest map", required=True)
    mid_anchor_shape: str = define("of the next", required=True)
    small_anchor_shape: str = define("of the finest; not for cspdarknet_tiny")
    matching_neutral_box_iou: float = define(
        "predictions that overlap an object by so much are not background", up_to(0.25, 1)
    )
    box_matching_iou: float = define("anchors that overlap an object's shape by more answer for it", up_to(0, 1))
    arch: str = define("of the backbone", one_of(*LAYERS))
    nlayers: int = define("of a resnet, vgg, darknet or cspdarknet")
    arch_conv_blocks: int = define("not used", ignored("as in TAO's YOLOv4"))
    loss_loc_weight: float = define("of the box loss", at_least(0))
    loss_neg_obj_weights: float = define("of the background", at_least(0))
    loss_class_weights: float = define("of the classes", at_least(0))
    freeze_blocks: tuple[float, ...] = define("of the backbone, not trained")
    freeze_bn: bool = define("of the backbone")
    force_relu: bool = define("ReLU in neck and heads")
    activation: str = define("of a cspdarknet: leaky_relu, mish or relu")
    focal_loss_alpha: float = define("weight of an object's own class; 0 is no focal loss", below(0, 1))
    focal_loss_gamma: float = define("how much less a sure answer counts; 0 is no focal loss", at_least(0))
    label_smoothing: float = define("0–0.3", within(0, 0.3))
    big_grid_xy_extend: float = define("how far centres may leave their cell, 0–0.3", within(0, 0.3))
    mid_grid_xy_extend: float = define("how far centres may leave their cell, 0–0.3", within(0, 0.3))
    small_grid_xy_extend: float = define("how far centres may leave their cell, 0–0.3", within(0, 0.3))


@message
class ClassWeightingConfig:
    """Weights of the classes in the loss."""

    class_weighting: Mapping[str, float] = define("by class in small letters; 1 where none is given")
    enable_auto: bool = define("adjust them while training")


@message
class YOLOv4Spec:
    """A whole spec."""

    random_seed: int = define("of everything that is drawn")
    dataset_config: DatasetConfig = define("what to train on and what to validate with", required=True)
    augmentation_config: AugmentationConfig = define("the size of the input and how images are changed", required=True)
    training_config: TrainingConfig = define(
        "how it is trained",
        required=True,
        within={"optimizer": but(required=True), "checkpoint_interval": but(at_least(1))},
    )
    eval_config: EvalConfig = define("how it is evaluated", required=True)
    nms_config: NMSConfig = define(
        "which predictions stay",
        required=True,
        within={"clustering_iou_threshold": but(up_to(0, 1))},
    )
    yolov4_config: YOLOv4Config = define("the network", required=True, dialects=LATER)
    class_weighting_config: ClassWeightingConfig = define("weights of the classes")


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


YOLO_V4 = TaoNetwork(
    name="yolo_v4",
    title="YOLOv4",
    spec=YOLOv4Spec,
    marks=(("yolo_v4", "yolov4_config"),),
    check=check_yolo_v4,
    verbs=("kmeans",),
    modern=modern,
)
