"""Data set and augmentation of DetectNet_v2: Faster R-CNN's and, in part, TLT 2's SSD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from xraycls.tao.common import NO_COLOUR, SMALL_LETTERS
from xraycls.tao.fields import approximated, but, define, ignored, message
from xraycls.tao.limits import above, at_least, one_of, within

_WHOLE = ignored("the whole image is used")
_ALL = ignored("every image is drawn once an epoch")
_TURNED = ignored("a turned box would not fit its object")


@message
class Preprocessing:
    """What is done to every image; lengths are pixels."""

    output_image_width: int = define(
        "of the network's input; with a height of its own the aspect isn't kept", above(32)
    )
    output_image_height: int = define("of the network's input", above(32))
    output_image_min: int = define("the shorter side, where the input has no fixed size")
    output_image_max: int = define("the longer side, at most")
    enable_auto_resize: bool = define("images may differ in size", ignored("images may always differ in size"))
    output_image_channel: int = define("1 or 3", one_of(1, 3))
    crop_left: int = define("first column that is used", _WHOLE)
    crop_top: int = define("first row that is used", _WHOLE)
    crop_right: int = define("the column after the last; 0 uses all", _WHOLE)
    crop_bottom: int = define("the row after the last; 0 uses all", _WHOLE)
    min_bbox_width: float = define("objects that are narrower after all this are left out", at_least(0))
    min_bbox_height: float = define("objects that are lower after all this are left out", at_least(0))
    scale_width: float = define("of the crop; 0 is 1", _WHOLE)
    scale_height: float = define("of the crop; 0 is 1", _WHOLE)


@message
class SpatialAugmentation:
    """How training images are moved about."""

    hflip_probability: float = define("of a mirror image, 0–1", within(0, 1))
    vflip_probability: float = define("of one upside down, 0–1", within(0, 1))
    zoom_min: float = define(
        "the least ratio; above 1 is out", at_least(0), approximated("about the middle of the image")
    )
    zoom_max: float = define("the greatest ratio", at_least(0), approximated("about the middle of the image"))
    translate_max_x: float = define("pixels, either way", at_least(0))
    translate_max_y: float = define("pixels, either way", at_least(0))
    rotate_rad_max: float = define("radians, either way", _TURNED)
    rotate_probability: float = define("0–1", _TURNED)


@message
class ColorAugmentation:
    """How the colours of training images are changed."""

    color_shift_stddev: float = define(
        "of what is added to all channels", at_least(0), approximated("all channels of a grey film alike")
    )
    hue_rotation_max: float = define("degrees, either way", NO_COLOUR)
    saturation_shift_max: float = define("either way", NO_COLOUR)
    contrast_scale_max: float = define("either way", at_least(0))
    contrast_center: float = define("the grey level that contrast leaves as it is, 0–1", within(0, 1))


@message
class DataSource:
    """TFRecords and the images that they name."""

    tfrecords_path: str = define("a file, or several by ``*``")
    image_directory_path: str = define("the folder that image names are relative to")
    source_weight: float = define("how often it is drawn from, among several", _ALL)


@message
class DatasetConfig:
    """What to train on and what to validate with."""

    data_sources: tuple[DataSource, ...] = define("to train on", required=True)
    image_extension: str = define("without a dot")
    target_class_mapping: Mapping[str, str] = define(
        "class by label; labels that it lacks are no objects", SMALL_LETTERS, required=True
    )
    validation_fold: int | None = define("the fold of the TFRecords that is for validation", oneof="dataset_split_type")
    validation_data_source: DataSource | None = define(
        "records of their own for validation",
        oneof="dataset_split_type",
        within={"source_weight": but(ignored("every image is evaluated once"))},
    )
    dataloader_mode: Literal["MULTISOURCE", "LEGACY", "DEFAULT"] = define("how several sources are read", _ALL)
    sampling_mode: Literal["USER_DEFINED", "PROPORTIONAL", "UNIFORM"] = define(
        "how several sources are drawn from", _ALL
    )


@message
class AugmentationConfig:
    """All three of them."""

    preprocessing: Preprocessing = define("the size of the input", required=True)
    spatial_augmentation: SpatialAugmentation = define("where pixels move")
    color_augmentation: ColorAugmentation = define("how grey levels change")
