"""The fields of a spec of YOLOv4 and YOLOv4-tiny. Zero is what a field that isn't given has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from xraycls.tao.common import NO_COLOUR, SMALL_LETTERS, NMSConfig, TrainingConfig
from xraycls.tao.fields import LATER, approximated, but, define, ignored, message
from xraycls.tao.limits import at_least, below, between, multiple_of, one_of, up_to, whole_numbers, within

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
    freeze_blocks: tuple[float, ...] = define("of the backbone, not trained", whole_numbers())
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
    enable_auto: bool = define(
        "adjust them while training", ignored("weights stay as class_weighting has them; no rule for it is published")
    )


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
