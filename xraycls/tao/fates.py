"""What becomes of a field of a spec here, and of the fields that several networks share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["honoured", "approximated", "ignored"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a field.

    Attributes:
        outcome: whether it has the effect that it has in TAO.
        note: how it is approximated or why it is ignored; may add to what is honoured.
    """

    outcome: Outcome
    note: str = ""


Fates = Mapping[str, Fate]
"""By field; a message's fate is that of all it holds, where they have none of their own."""

HONOURED = Fate("honoured")


def honoured(note: str) -> Fate:
    """It has the same effect; what there is to know of it."""
    return Fate("honoured", note)


def approximated(how: str) -> Fate:
    """It has nearly the same effect."""
    return Fate("approximated", how)


def ignored(why: str) -> Fate:
    """It has no effect."""
    return Fate("ignored", why)


def table(*groups: tuple[str, str, Fate]) -> dict[str, Fate]:
    """Fates of fields by the message that holds them ("" for none), their names and what they share."""
    return {f"{holder}.{name}".lstrip("."): fate for holder, names, fate in groups for name in names.split()}


_ELSEWHERE = ignored("figures stay in the results folder")
_THREADS = ignored("the loader chooses its threads")
_AFTERWARDS = ignored("models are quantised after training")
_COLOUR = approximated("grey films have no colour: no effect")

VISUALIZER = table(
    ("training_config.visualizer", "enabled", honoured("TensorBoard files in the results folder")),
    ("training_config.visualizer", "num_images weight_histograms", ignored("TensorBoard shows curves alone")),
    ("training_config.visualizer", "wandb_config clearml_config", _ELSEWHERE),
)

TRAINING = table(
    ("training_config", "batch_size_per_gpu num_epochs regularizer early_stopping", HONOURED),
    ("training_config", "cost_scaling", ignored("mixed precision scales by itself")),
    ("training_config", "enable_qat", _AFTERWARDS),
    ("training_config", "max_queue_size n_workers use_multiprocessing", _THREADS),
)
"""Of SSD and YOLOv4."""

NMS = table(
    ("nms_config", "confidence_threshold clustering_iou_threshold top_k", HONOURED),
    ("nms_config", "infer_nms_score_bits", ignored("is for a TensorRT plugin")),
    ("nms_config", "force_on_cpu", ignored("suppression runs where the network runs")),
)
"""Of SSD and YOLOv4."""

DETECTNET_AUGMENTATION = table(
    ("augmentation_config.preprocessing", "output_image_width output_image_height", HONOURED),
    ("augmentation_config.preprocessing", "output_image_channel", HONOURED),
    ("augmentation_config.preprocessing", "min_bbox_width min_bbox_height", HONOURED),
    ("augmentation_config.preprocessing", "enable_auto_resize", ignored("images may always differ in size")),
    (
        "augmentation_config.preprocessing",
        "crop_left crop_top crop_right crop_bottom scale_width scale_height",
        ignored("the whole image is used"),
    ),
    ("augmentation_config.spatial_augmentation", "hflip_probability", HONOURED),
    ("augmentation_config.spatial_augmentation", "translate_max_x translate_max_y", HONOURED),
    ("augmentation_config.spatial_augmentation", "zoom_min zoom_max", approximated("about the middle of the image")),
    (
        "augmentation_config.spatial_augmentation",
        "rotate_rad_max rotate_probability",
        ignored("a turned box would not fit its object"),
    ),
    ("augmentation_config.color_augmentation", "contrast_scale_max contrast_center", HONOURED),
    ("augmentation_config.color_augmentation", "color_shift_stddev", approximated("all channels of a grey film alike")),
    ("augmentation_config.color_augmentation", "hue_rotation_max saturation_shift_max", _COLOUR),
)
"""Of Faster R-CNN and of TLT 2's SSD."""
