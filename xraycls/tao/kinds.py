"""Which program a text spec is for, told by its outermost fields."""

from __future__ import annotations

from collections.abc import Collection

# The first whose fields are all there. DetectNet_v2 and Faster R-CNN share most of their names.
_TELLING: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (kind, frozenset(names.split()))
    for kind, names in (
        ("dataset_convert", "kitti_config"),
        ("dataset_convert", "coco_config"),
        ("ssd", "ssd_config"),
        ("dssd", "dssd_config"),
        ("retinanet", "retinanet_config"),
        ("yolo_v4", "yolov4_config"),
        ("yolo_v3", "yolov3_config"),
        ("yolo_v3", "yolo_config"),
        ("detectnet_v2", "bbox_rasterizer_config"),
        ("detectnet_v2", "cost_function_config"),
        ("detectnet_v2", "postprocessing_config"),
        ("detectnet_v2", "inferencer_config"),
        ("mask_rcnn", "maskrcnn_config"),
        ("efficientdet", "efficientdet_config"),
        ("lprnet", "lpr_config"),
        ("classification", "train_config"),
        ("faster_rcnn", "network_config"),
        ("faster_rcnn", "model_config inference_config"),
        ("faster_rcnn", "model_config evaluation_config"),
        ("faster_rcnn", "model_config enc_key"),
        ("faster_rcnn", "model_config augmentation_config"),
        ("unet", "model_config training_config dataset_config"),
        ("augment", "spatial_config color_config"),
    )
)


def kind_of_spec(names: Collection[str]) -> str | None:
    """The program that a spec with these outermost fields is for, such as "ssd"; None when they don't tell."""
    return next((kind for kind, telling in _TELLING if telling <= set(names)), None)
