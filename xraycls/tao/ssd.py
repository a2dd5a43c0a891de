"""The spec of SSD and DSSD as configuration objects: the fields of all versions of TLT and TAO.

Fields have the names, types and zero values of the spec; None is what isn't given. What zero means
is said here and done in :mod:`xraycls.tao.ssd_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from xraycls.tao.common import NMSConfig, TrainingConfig
from xraycls.tao.detectnet import ColorAugmentation, Preprocessing, SpatialAugmentation


@dataclass(frozen=True, slots=True)
class DataSource:
    """Images with KITTI labels, or TFRecords.

    Attributes:
        label_directory_path: a ``.txt`` an image.
        image_directory_path: the images; with TFRecords of TLT 2, the folder that image names are relative to.
        root_path: not used.
        tfrecords_path: a file, or several by ``*``; comes before the labels.
    """

    label_directory_path: str = ""
    image_directory_path: str = ""
    root_path: str = ""
    tfrecords_path: str = ""


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """What to train on and what to validate with.

    Attributes:
        data_sources: to train on.
        target_class_mapping: class by label; labels that it lacks are no objects.
        validation_data_sources: to validate with.
        include_difficult_in_training: not used.
        type: of the labels, "kitti" or "coco".
        image_extension: TLT 2: without a dot.
        validation_fold: TLT 2: the fold of the TFRecords that is for validation.
    """

    data_sources: tuple[DataSource, ...] = ()
    target_class_mapping: Mapping[str, str] = field(default_factory=dict)
    validation_data_sources: tuple[DataSource, ...] = ()
    include_difficult_in_training: bool = False
    type: str = ""
    image_extension: str = ""
    validation_fold: int | None = None


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """The input's size and how training images are changed; the last three are TLT 2's, instead of all others.

    Attributes:
        output_width: pixels, above 32; the aspect isn't kept.
        output_height: likewise.
        output_channel: 1 or 3.
        random_crop_min_scale: area of a crop, as a share; 0 means 0.3.
        random_crop_max_scale: 0 means 1.
        random_crop_min_ar: width through height of a crop, against the image's; 0 means 0.5.
        random_crop_max_ar: 0 means 2.
        zoom_out_min_scale: side of the canvas that an image is laid on, in sides of the image; 0 means 1.
        zoom_out_max_scale: 0 means 4.
        brightness: grey levels, either way.
        contrast: share, either way.
        saturation: share, either way.
        hue: degrees, either way.
        random_flip: probability of a mirror image, 0–1.
        image_mean: what is subtracted, by channel: b, g and r, or l.
        preprocessing: TLT 2.
        spatial_augmentation: TLT 2.
        color_augmentation: TLT 2.
    """

    output_width: int = 0
    output_height: int = 0
    output_channel: int = 0
    random_crop_min_scale: float = 0.0
    random_crop_max_scale: float = 0.0
    random_crop_min_ar: float = 0.0
    random_crop_max_ar: float = 0.0
    zoom_out_min_scale: float = 0.0
    zoom_out_max_scale: float = 0.0
    brightness: int = 0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: int = 0
    random_flip: float = 0.0
    image_mean: Mapping[str, float] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    spatial_augmentation: SpatialAugmentation | None = None
    color_augmentation: ColorAugmentation | None = None


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """How a model is evaluated.

    Attributes:
        validation_period_during_training: epochs between two evaluations, 1 or more.
        average_precision_mode: at eleven recalls, or the whole area under the curve.
        batch_size: 1 or more.
        matching_iou_threshold: what a prediction must overlap an object by, 0–1.
        visualize_pr_curve: draw it.
    """

    validation_period_during_training: int = 0
    average_precision_mode: Literal["SAMPLE", "INTEGRATE"] = "SAMPLE"
    batch_size: int = 0
    matching_iou_threshold: float = 0.0
    visualize_pr_curve: bool = False


@dataclass(frozen=True, slots=True)
class SSDConfig:
    """The network, its default boxes and its loss; strings hold lists of numbers, ``"[1.0, 1.0/3.0]"``.

    Attributes:
        aspect_ratios: a list for each of the six maps; comes before ``aspect_ratios_global``.
        aspect_ratios_global: one list for all maps.
        scales: seven; "" spreads them evenly over the next two.
        min_scale: the first scale.
        max_scale: the seventh scale.
        two_boxes_for_ar1: a second square.
        steps: pixels, or (vertical, horizontal), for each map; "" means image through map.
        offsets: of the first centre, in steps, likewise; "" means 0.5.
        clip_boxes: end the boxes at the image.
        variances: four.
        mean_color: not used.
        arch: of the backbone.
        nlayers: of a resnet, vgg or darknet.
        pred_num_channels: of a module before the heads, 256, 512 or 1024; 0 for none.
        alpha: weight of the box loss; 0 means 1.
        neg_pos_ratio: background boxes a positive; 0 means 3.
        pos_iou_thresh: IoU from which a box answers for an object; 0 means 0.5.
        neg_iou_thresh: IoU below which it is background; 0 means 0.5.
        loss_loc_weight: TLT 2: weight of the box loss.
        focal_loss_alpha: TLT 2: weight of an object's own class.
        focal_loss_gamma: TLT 2: how much less a sure answer counts.
        freeze_blocks: of the backbone, not trained.
        freeze_bn: of the backbone.
    """

    aspect_ratios: str = ""
    aspect_ratios_global: str = ""
    scales: str = ""
    min_scale: float = 0.0
    max_scale: float = 0.0
    two_boxes_for_ar1: bool = False
    steps: str = ""
    offsets: str = ""
    clip_boxes: bool = False
    variances: str = ""
    mean_color: str = ""
    arch: str = ""
    nlayers: int = 0
    pred_num_channels: int = 0
    alpha: float = 0.0
    neg_pos_ratio: float = 0.0
    pos_iou_thresh: float = 0.0
    neg_iou_thresh: float = 0.0
    loss_loc_weight: float = 0.0
    focal_loss_alpha: float = 0.0
    focal_loss_gamma: float = 0.0
    freeze_blocks: tuple[int, ...] = ()
    freeze_bn: bool = False


@dataclass(frozen=True, slots=True)
class SSDSpec:
    """A whole spec; of ``ssd_config`` and ``dssd_config`` one at most is given."""

    random_seed: int = 0
    dataset_config: DatasetConfig = DatasetConfig()
    augmentation_config: AugmentationConfig = AugmentationConfig()
    training_config: TrainingConfig = field(default=TrainingConfig())
    eval_config: EvalConfig = EvalConfig()
    nms_config: NMSConfig = field(default=NMSConfig())
    ssd_config: SSDConfig | None = None
    dssd_config: SSDConfig | None = None
