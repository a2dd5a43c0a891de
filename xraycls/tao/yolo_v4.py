"""The spec of YOLOv4 and YOLOv4-tiny as configuration objects.

Fields have the names, types and zero values of the spec; None is what isn't given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from xraycls.tao.common import NMSConfig, TrainingConfig


@dataclass(frozen=True, slots=True)
class DataSource:
    """Images with KITTI labels or TFRecords.

    Attributes:
        label_directory_path: a ``.txt`` an image; or:
        tfrecords_path: a file, or several by ``*``.
        image_directory_path: the images, or the folder that image names in TFRecords are relative to.
        root_path: not used.
        source_weight: how often it is drawn from, among several.
    """

    label_directory_path: str | None = None
    tfrecords_path: str | None = None
    image_directory_path: str = ""
    root_path: str = ""
    source_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """What to train on and what to validate with.

    Attributes:
        data_sources: to train on, all with labels or all with TFRecords.
        target_class_mapping: class by label; labels that it lacks are no objects.
        validation_data_sources: to validate with.
        validation_fold: the fold of the TFRecords that is for validation, without the former.
        include_difficult_in_training: whether to learn objects that are marked difficult.
        type: of the labels, "kitti" or "coco".
        image_extension: without a dot; for TFRecords.
        is_monochrome: not used.
    """

    data_sources: tuple[DataSource, ...] = ()
    target_class_mapping: Mapping[str, str] = field(default_factory=dict)
    validation_data_sources: tuple[DataSource, ...] = ()
    validation_fold: int = 0
    include_difficult_in_training: bool = False
    type: str = ""
    image_extension: str = ""
    is_monochrome: bool = False


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """The input's size and how training images are changed.

    Attributes:
        hue: half turns, either way, 0–1.
        saturation: greatest factor, 1 or more; down to one through it.
        exposure: greatest factor of the value, likewise.
        vertical_flip: probability of an image upside down.
        horizontal_flip: probability of a mirror image.
        jitter: share of each side that is cut off or added.
        output_width: pixels, a multiple of 32.
        output_height: likewise.
        output_channel: 1 or 3.
        output_depth: bits, 8 or 16; 0 means 8.
        randomize_input_shape_period: batches between two sizes; 0 keeps the size.
        mosaic_prob: probability of four images in one.
        mosaic_min_ratio: where they meet, at least, as a share of each side, below 0.5.
        image_mean: what is subtracted, by channel: b, g and r, or l.
    """

    hue: float = 0.0
    saturation: float = 0.0
    exposure: float = 0.0
    vertical_flip: float = 0.0
    horizontal_flip: float = 0.0
    jitter: float = 0.0
    output_width: int = 0
    output_height: int = 0
    output_channel: int = 0
    output_depth: int = 0
    randomize_input_shape_period: int = 0
    mosaic_prob: float = 0.0
    mosaic_min_ratio: float = 0.0
    image_mean: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """How a model is evaluated.

    Attributes:
        average_precision_mode: at eleven recalls, or the whole area under the curve.
        batch_size: 1 or more.
        matching_iou_threshold: what a prediction must overlap an object by, above 0, up to 1.
        visualize_pr_curve: draw it.
    """

    average_precision_mode: Literal["SAMPLE", "INTEGRATE"] = "SAMPLE"
    batch_size: int = 0
    matching_iou_threshold: float = 0.0
    visualize_pr_curve: bool = False


@dataclass(frozen=True, slots=True)
class YOLOv4Config:
    """The network, its anchors and its loss; strings hold lists of (width, height), pixels of the input.

    Attributes:
        big_anchor_shape: of the coarsest map.
        mid_anchor_shape: of the next.
        small_anchor_shape: of the finest; not for cspdarknet_tiny.
        matching_neutral_box_iou: predictions that overlap an object by so much are not background.
        box_matching_iou: anchors that overlap an object's shape by more answer for it.
        arch: of the backbone.
        nlayers: of a resnet, vgg, darknet or cspdarknet.
        arch_conv_blocks: not used.
        loss_loc_weight: of the box loss.
        loss_neg_obj_weights: of the background.
        loss_class_weights: of the classes.
        freeze_blocks: of the backbone, not trained.
        freeze_bn: of the backbone.
        force_relu: ReLU in neck and heads.
        activation: of a cspdarknet: leaky_relu, mish or relu.
        focal_loss_alpha: weight of an object's own class; 0 is no focal loss.
        focal_loss_gamma: how much less a sure answer counts; 0 is no focal loss.
        label_smoothing: 0–0.3.
        big_grid_xy_extend: how far centres may leave their cell, 0–0.3.
        mid_grid_xy_extend: likewise.
        small_grid_xy_extend: likewise.
    """

    big_anchor_shape: str = ""
    mid_anchor_shape: str = ""
    small_anchor_shape: str = ""
    matching_neutral_box_iou: float = 0.0
    box_matching_iou: float = 0.0
    arch: str = ""
    nlayers: int = 0
    arch_conv_blocks: int = 0
    loss_loc_weight: float = 0.0
    loss_neg_obj_weights: float = 0.0
    loss_class_weights: float = 0.0
    freeze_blocks: tuple[float, ...] = ()
    freeze_bn: bool = False
    force_relu: bool = False
    activation: str = ""
    focal_loss_alpha: float = 0.0
    focal_loss_gamma: float = 0.0
    label_smoothing: float = 0.0
    big_grid_xy_extend: float = 0.0
    mid_grid_xy_extend: float = 0.0
    small_grid_xy_extend: float = 0.0


@dataclass(frozen=True, slots=True)
class ClassWeightingConfig:
    """Weights of the classes in the loss.

    Attributes:
        class_weighting: by class in small letters; 1 where none is given.
        enable_auto: adjust them while training.
    """

    class_weighting: Mapping[str, float] = field(default_factory=dict)
    enable_auto: bool = False


@dataclass(frozen=True, slots=True)
class YOLOv4Spec:
    """A whole spec."""

    random_seed: int = 0
    dataset_config: DatasetConfig = DatasetConfig()
    augmentation_config: AugmentationConfig = AugmentationConfig()
    training_config: TrainingConfig = field(default=TrainingConfig())
    eval_config: EvalConfig = EvalConfig()
    nms_config: NMSConfig = field(default=NMSConfig())
    yolov4_config: YOLOv4Config = YOLOv4Config()
    class_weighting_config: ClassWeightingConfig = ClassWeightingConfig()
