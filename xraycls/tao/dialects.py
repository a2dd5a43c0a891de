"""Which versions of TLT and TAO know a field: those that a spec was written for are told by the fields it uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Dialect = Literal["TLT 2", "TLT 3", "TAO 5"]
"""TLT 3 stands for TAO 3 too, TAO 5 for TAO 4."""

DIALECTS: tuple[Dialect, ...] = ("TLT 2", "TLT 3", "TAO 5")

_FIRST, _LATER, _LAST = DIALECTS[:1], DIALECTS[1:], DIALECTS[2:]


def _table(*lines: tuple[Sequence[Dialect], str, str]) -> Mapping[str, frozenset[Dialect]]:
    return {f"{holder}{name}": frozenset(known_to) for known_to, holder, names in lines for name in names.split()}


# By program, the fields that not every version knows; what such a field holds is of its versions.
_TABLES: Mapping[str, Mapping[str, frozenset[Dialect]]] = {
    "ssd": _table(
        (_FIRST, "ssd_config.", "loss_loc_weight focal_loss_alpha focal_loss_gamma"),
        (_FIRST, "augmentation_config.", "preprocessing spatial_augmentation color_augmentation"),
        (_FIRST, "dataset_config.", "image_extension validation_fold"),
        (_LATER, "ssd_config.", "alpha neg_pos_ratio pos_iou_thresh neg_iou_thresh"),
        (_LATER, "augmentation_config.", "output_width output_height output_channel random_flip image_mean"),
        (_LATER, "augmentation_config.random_crop_", "min_scale max_scale min_ar max_ar"),
        (_LATER, "augmentation_config.", "zoom_out_min_scale zoom_out_max_scale brightness contrast saturation hue"),
        (_LATER, "dataset_config.", "data_sources.label_directory_path include_difficult_in_training"),
        (_LATER, "dataset_config.", "validation_data_sources"),
        (_LATER, "training_config.", "early_stopping visualizer model_ema"),
        (_LAST, "dataset_config.", "type"),
        (("TLT 2", "TAO 5"), "dataset_config.", "data_sources.tfrecords_path"),
    ),
    "yolo_v4": _table((_LATER, "", "yolov4_config")),
    "faster_rcnn": _table(
        (_FIRST, "", "network_config"),
        (_FIRST, "training_config.", "kitti_data_config data_augmentation reg_config lr_scheduler"),
        (_FIRST, "training_config.", "inference_config evaluation_config"),
        (_LATER, "", "dataset_config augmentation_config model_config inference_config evaluation_config"),
        (_LATER, "training_config.", "regularizer learning_rate early_stopping visualizer model_parallelism"),
        (("TLT 2", "TLT 3"), "training_config.", "output_model"),
        (("TLT 3",), "evaluation_config.", "labels_dump_dir"),
        (("TLT 3",), "evaluation_config.trt_evaluation.", "trt_data_type max_workspace_size_MB"),
        (("TLT 3",), "inference_config.trt_inference.", "trt_data_type max_workspace_size_MB"),
    ),
}


def versions_with(program: str, field: str) -> frozenset[Dialect]:
    """The versions that know a field.

    Args:
        program: that takes the spec, such as "ssd".
        field: after the messages that hold it.
    """
    table, known_to = _TABLES.get(program, {}), frozenset(DIALECTS)
    parts = field.replace("dssd_config", "ssd_config").split(".")
    for end in range(len(parts)):
        known_to &= table.get(".".join(parts[: end + 1]), known_to)
    return known_to
