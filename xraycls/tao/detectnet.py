"""Data set and augmentation of DetectNet_v2, as configuration objects: Faster R-CNN's and, in part, TLT 2's SSD.

Fields have the names, types and zero values of the spec; None is what isn't given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class DataSource:
    """TFRecords and the images that they name.

    Attributes:
        tfrecords_path: a file, or several by ``*``.
        image_directory_path: the folder that image names are relative to.
        source_weight: how often it is drawn from, among several.
    """

    tfrecords_path: str = ""
    image_directory_path: str = ""
    source_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """What to train on and what to validate with.

    Attributes:
        data_sources: to train on.
        image_extension: without a dot.
        target_class_mapping: class by label; labels that it lacks are no objects.
        validation_fold: the fold of the TFRecords that is for validation.
        validation_data_source: records of their own for validation.
        dataloader_mode: how several sources are read.
        sampling_mode: how several sources are drawn from.
    """

    data_sources: tuple[DataSource, ...] = ()
    image_extension: str = ""
    target_class_mapping: Mapping[str, str] = field(default_factory=dict)
    validation_fold: int | None = None
    validation_data_source: DataSource | None = None
    dataloader_mode: Literal["MULTISOURCE", "LEGACY", "DEFAULT"] = "MULTISOURCE"
    sampling_mode: Literal["USER_DEFINED", "PROPORTIONAL", "UNIFORM"] = "USER_DEFINED"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to every image; lengths are pixels.

    Attributes:
        output_image_width: of the network's input; with a height of its own the aspect isn't kept.
        output_image_height: of the network's input.
        output_image_min: the shorter side, where the input has no fixed size.
        output_image_max: the longer side, at most.
        enable_auto_resize: images may differ in size.
        output_image_channel: 1 or 3.
        crop_left: first column that is used.
        crop_top: first row that is used.
        crop_right: the column after the last; 0 uses all.
        crop_bottom: the row after the last; 0 uses all.
        min_bbox_width: objects that are narrower after all this are left out.
        min_bbox_height: objects that are lower after all this are left out.
        scale_width: of the crop; 0 is 1.
        scale_height: of the crop; 0 is 1.
    """

    output_image_width: int = 0
    output_image_height: int = 0
    output_image_min: int = 0
    output_image_max: int = 0
    enable_auto_resize: bool = False
    output_image_channel: int = 0
    crop_left: int = 0
    crop_top: int = 0
    crop_right: int = 0
    crop_bottom: int = 0
    min_bbox_width: float = 0.0
    min_bbox_height: float = 0.0
    scale_width: float = 0.0
    scale_height: float = 0.0


@dataclass(frozen=True, slots=True)
class SpatialAugmentation:
    """How training images are moved about.

    Attributes:
        hflip_probability: of a mirror image, 0–1.
        vflip_probability: of one upside down, 0–1.
        zoom_min: the least ratio; above 1 is out.
        zoom_max: the greatest ratio.
        translate_max_x: pixels, either way.
        translate_max_y: pixels, either way.
        rotate_rad_max: radians, either way.
        rotate_probability: 0–1.
    """

    hflip_probability: float = 0.0
    vflip_probability: float = 0.0
    zoom_min: float = 0.0
    zoom_max: float = 0.0
    translate_max_x: float = 0.0
    translate_max_y: float = 0.0
    rotate_rad_max: float = 0.0
    rotate_probability: float = 0.0


@dataclass(frozen=True, slots=True)
class ColorAugmentation:
    """How the colours of training images are changed.

    Attributes:
        color_shift_stddev: of what is added to all channels.
        hue_rotation_max: degrees, either way.
        saturation_shift_max: either way.
        contrast_scale_max: either way.
        contrast_center: the grey level that contrast leaves as it is, 0–1.
    """

    color_shift_stddev: float = 0.0
    hue_rotation_max: float = 0.0
    saturation_shift_max: float = 0.0
    contrast_scale_max: float = 0.0
    contrast_center: float = 0.0


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """All three of them."""

    preprocessing: Preprocessing = Preprocessing()
    spatial_augmentation: SpatialAugmentation = SpatialAugmentation()
    color_augmentation: ColorAugmentation = ColorAugmentation()
