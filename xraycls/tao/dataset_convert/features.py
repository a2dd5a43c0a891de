"""The features of a record, by the names that TAO's loaders look for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xraycls.data.formats.kitti import KittiObject
from xraycls.data.tfrecord.example import Example, Feature
from xraycls.errors import DataError
from xraycls.tao.dataset_convert.frame import Frame

_FLOATS = {
    "truncation": "truncation",
    "observation_angle": "alpha",
    "world_bbox_h": "height",
    "world_bbox_w": "width",
    "world_bbox_l": "length",
    "world_bbox_x": "x",
    "world_bbox_y": "y",
    "world_bbox_z": "z",
    "world_bbox_rot_y": "rotation",
}
_CORNERS = {"x1": "left", "y1": "top", "x2": "right", "y2": "bottom"}


def plain_example(frame: Frame, objects: Sequence[KittiObject]) -> Example:
    """A record for DetectNet_v2, YOLO and Faster R-CNN: pixels, and class names in small letters."""
    classes: Feature = [each.name.lower().encode() for each in objects]
    return _common(frame, objects, (1, 1)) | {"target/object_class": classes}


def dali_example(frame: Frame, objects: Sequence[KittiObject], ids: Mapping[str, int]) -> Example:
    """A record for SSD on DALI: the image file itself, boxes as shares of width and height, and class numbers.

    Raises:
        DataError: the image can't be read.
    """
    numbers = np.array([ids[each.name.lower()] for each in objects], np.float32)
    return _common(frame, objects, (frame.width, frame.height)) | {
        "frame/encoded": [_bytes(frame.path)],
        "target/object_class_id": numbers,
    }


def _common(frame: Frame, objects: Sequence[KittiObject], size: tuple[int, int]) -> dict[str, Feature]:
    features: dict[str, Feature] = {
        "frame/id": [frame.id.encode("utf-8", "surrogateescape")],
        "frame/height": np.array([frame.height], np.int64),
        "frame/width": np.array([frame.width], np.int64),
        "target/occlusion": np.array([int(each.occlusion) for each in objects], np.int64),
    }
    for name, attribute in _FLOATS.items():
        features[f"target/{name}"] = np.array([getattr(each, attribute) for each in objects], np.float32)
    for name, attribute in _CORNERS.items():
        values = [getattr(each, attribute) / size[name[0] == "y"] for each in objects]
        features[f"target/coordinates_{name}"] = np.array(values, np.float32)
    return features


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}", path) from error
