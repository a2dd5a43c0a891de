"""The spec of SSD and DSSD: the fields of all versions of TLT and TAO. Zero is what a field that isn't given has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from xraycls.tao.common import NO_COLOUR, SMALL_LETTERS, NMSConfig, TrainingConfig
from xraycls.tao.detectnet import ColorAugmentation, Preprocessing, SpatialAugmentation
from xraycls.tao.fields import FIRST, LAST, LATER, approximated, but, define, ignored, message
from xraycls.tao.limits import above, at_least, between, one_of, within, zero_or_at_least

LAYERS: dict[str, tuple[int, ...]] = {
    "resnet": (10, 18, 34, 50, 101),
    "vgg": (16, 19),
    "darknet": (19, 53),
    "mobilenet_v1": (),
    "mobilenet_v2": (),
    "squeezenet": (),
    "googlenet": (),
    "efficientnet_b0": (),
    "efficientnet_b1": (),
}
"""The backbones of SSD, and the numbers of layers of those that come in several."""

_FIXED = ignored("the input has a fixed size")
_UNPUBLISHED = approximated("as RetinaNet's fields of these names; TLT 2's own SSD was never published")
_BY_FLAG = but(ignored("as in TAO's SSD: give the model with -m"))
_SCHEDULE = "learning_rate.soft_start_annealing_schedule"
_TRAINING: dict[str, dict[str, Any]] = {
    "optimizer": but(ignored("as in TAO's SSD: gradient descent with a momentum of 0.9")),
    "resume_model_path": _BY_FLAG,
    "pretrain_model_path": _BY_FLAG,
    "pruned_model_path": _BY_FLAG,
    "model_ema": but(ignored("as in TAO's SSD")),
    "early_stopping.monitor": but(one_of("loss", "validation_loss", "val_loss")),
    _SCHEDULE: but(required=True),
    f"{_SCHEDULE}.max_learning_rate": but(above(0)),
    f"{_SCHEDULE}.soft_start": but(between(0, 1)),
    f"{_SCHEDULE}.annealing": but(between(0, 1)),
    "learning_rate.soft_start_cosine_annealing_schedule": but(ignored("SSD learns by soft_start_annealing_schedule")),
}
"""What SSD's training has of its own in the messages that it shares."""


def has_focal_loss(network: SSDConfig) -> bool:
    """Whether a network learns by TLT 2's focal loss."""
    return bool(network.focal_loss_alpha or network.focal_loss_gamma)


@message
class DataSource:
    """Images with KITTI labels, or TFRecords."""

    label_directory_path: str = define("a ``.txt`` an image")
    image_directory_path: str = define(
        "the images; with TFRecords of TLT 2, the folder that image names are relative to"
    )
    root_path: str = define("not used", ignored("TAO doesn't read it"))
    tfrecords_path: str = define("a file, or several by ``*``; comes before the labels")


@message
class DatasetConfig:
    """What to train on and what to validate with."""

    data_sources: tuple[DataSource, ...] = define(
        "to train on",
        required=True,
        within={"label_directory_path": but(dialects=LATER), "tfrecords_path": but(dialects=("TLT 2", "TAO 5"))},
    )
    target_class_mapping: Mapping[str, str] = define(
        "class by label; labels that it lacks are no objects", SMALL_LETTERS, required=True
    )
    validation_data_sources: tuple[DataSource, ...] = define("to validate with", dialects=LATER)
    include_difficult_in_training: bool = define(
        "not used",
        ignored("as in TAO's SSD: difficult objects are learnt, and left out of average precision"),
        dialects=LATER,
    )
    type: str = define(
        'of the labels, "kitti" or "coco"', ignored("the form of the labels is told by the files"), dialects=LAST
    )
    image_extension: str = define("TLT 2: without a dot", dialects=FIRST)
    validation_fold: int | None = define("TLT 2: the fold of the TFRecords that is for validation", dialects=FIRST)


@message
class AugmentationConfig:
    """The input's size and how training images are changed; the last three are TLT 2's, instead of all others."""

    output_width: int = define("pixels, above 32; the aspect isn't kept", above(32), dialects=LATER, scalar="int32")
    output_height: int = define("pixels, above 32", above(32), dialects=LATER, scalar="int32")
    output_channel: int = define("1 or 3", one_of(1, 3), dialects=LATER, scalar="int32")
    random_crop_min_scale: float = define("area of a crop, as a share; 0 means 0.3", within(0, 1), dialects=LATER)
    random_crop_max_scale: float = define("0 means 1", within(0, 1), dialects=LATER)
    random_crop_min_ar: float = define(
        "width through height of a crop, against the image's; 0 means 0.5", at_least(0), dialects=LATER
    )
    random_crop_max_ar: float = define("0 means 2", at_least(0), dialects=LATER)
    zoom_out_min_scale: float = define(
        "side of the canvas that an image is laid on, in sides of the image; 0 means 1",
        zero_or_at_least(1),
        dialects=LATER,
    )
    zoom_out_max_scale: float = define("0 means 4", zero_or_at_least(1), dialects=LATER)
    brightness: int = define("grey levels, either way", at_least(0), dialects=LATER, scalar="int32")
    contrast: float = define("share, either way", within(0, 1), dialects=LATER)
    saturation: float = define("share, either way", NO_COLOUR, dialects=LATER)
    hue: int = define("degrees, either way", NO_COLOUR, dialects=LATER, scalar="int32")
    random_flip: float = define("probability of a mirror image, 0–1", within(0, 1), dialects=LATER)
    image_mean: Mapping[str, float] = define("what is subtracted, by channel: b, g and r, or l", dialects=LATER)
    preprocessing: Preprocessing | None = define(
        "TLT 2: the size of the input",
        dialects=FIRST,
        within={"output_image_min": but(_FIXED), "output_image_max": but(_FIXED)},
    )
    spatial_augmentation: SpatialAugmentation | None = define("TLT 2: where pixels move", dialects=FIRST)
    color_augmentation: ColorAugmentation | None = define("TLT 2: how grey levels change", dialects=FIRST)


@message
class EvalConfig:
    """How a model is evaluated."""

    validation_period_during_training: int = define("epochs between two evaluations, 1 or more", at_least(1))
    average_precision_mode: Literal["SAMPLE", "INTEGRATE"] = define(
        "at eleven recalls, or the whole area under the curve"
    )
    batch_size: int = define("1 or more", at_least(1))
    matching_iou_threshold: float = define("what a prediction must overlap an object by, 0–1", between(0, 1))
    visualize_pr_curve: bool = define("draw it")


@message
class SSDConfig:
    """The network, its default boxes and its loss; strings hold lists of numbers, ``"[1.0, 1.0/3.0]"``."""

    aspect_ratios: str = define("a list for each of the six maps; comes before ``aspect_ratios_global``")
    aspect_ratios_global: str = define("one list for all maps")
    scales: str = define('seven; "" spreads them evenly over the next two')
    min_scale: float = define("the first scale")
    max_scale: float = define("the seventh scale")
    two_boxes_for_ar1: bool = define("a second square")
    steps: str = define('pixels, or (vertical, horizontal), for each map; "" means image through map')
    offsets: str = define('of the first centre, in steps, likewise; "" means 0.5')
    clip_boxes: bool = define("end the boxes at the image")
    variances: str = define("four")
    mean_color: str = define("not used", ignored("TAO doesn't read it: see image_mean"))
    arch: str = define("of the backbone", one_of(*LAYERS))
    nlayers: int = define("of a resnet, vgg or darknet")
    pred_num_channels: int = define(
        "of a module before the heads, 256, 512 or 1024; 0 for none", one_of(0, 256, 512, 1024)
    )
    alpha: float = define("weight of the box loss; 0 means 1", at_least(0), dialects=LATER)
    neg_pos_ratio: float = define("background boxes a positive; 0 means 3", at_least(0), dialects=LATER)
    pos_iou_thresh: float = define(
        "IoU from which a box answers for an object; 0 means 0.5", within(0, 1), dialects=LATER
    )
    neg_iou_thresh: float = define("IoU below which it is background; 0 means 0.5", within(0, 1), dialects=LATER)
    loss_loc_weight: float = define("TLT 2: weight of the box loss", at_least(0), _UNPUBLISHED, dialects=FIRST)
    focal_loss_alpha: float = define(
        "TLT 2: weight of an object's own class", between(0, 1), _UNPUBLISHED, when=has_focal_loss, dialects=FIRST
    )
    focal_loss_gamma: float = define(
        "TLT 2: how much less a sure answer counts", at_least(0), _UNPUBLISHED, dialects=FIRST
    )
    freeze_blocks: tuple[int, ...] = define("of the backbone, not trained")
    freeze_bn: bool = define("of the backbone")


@message
class SSDSpec:
    """A whole spec; of ``ssd_config`` and ``dssd_config`` one at most is given."""

    random_seed: int = define("of everything that is drawn")
    dataset_config: DatasetConfig = define("what to train on and what to validate with", required=True)
    augmentation_config: AugmentationConfig = define("the size of the input and how images are changed", required=True)
    training_config: TrainingConfig = define("how it is trained", required=True, within=_TRAINING)
    eval_config: EvalConfig = define("how it is evaluated", required=True)
    nms_config: NMSConfig = define(
        "which predictions stay",
        required=True,
        within={
            "confidence_threshold": but(between(0, 1)),
            "clustering_iou_threshold": but(between(0, 1)),
            "top_k": but(at_least(1)),
        },
    )
    ssd_config: SSDConfig | None = define("the network", required=True, oneof="network")
    dssd_config: SSDConfig | None = define("the network, with deconvolutions", oneof="network")
