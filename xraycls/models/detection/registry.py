"""The detectors by name: what files, jobs and the command line build them from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xraycls.errors import unknown
from xraycls.models.detection.base import Detector, DetectorConfig
from xraycls.models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig
from xraycls.models.detection.ssd import SSDConfig, SSDDetector
from xraycls.models.detection.yolo_v4 import YOLOv4Config, YOLOv4Detector

DETECTORS: dict[str, tuple[type[DetectorConfig], type[Detector]]] = {
    "ssd": (SSDConfig, SSDDetector),
    "dssd": (SSDConfig, SSDDetector),
    "yolo_v4": (YOLOv4Config, YOLOv4Detector),
    "faster_rcnn": (FasterRCNNConfig, FasterRCNN),
}
"""Name of a network → the class of its configuration and of its module."""


def build_detector(config: DetectorConfig) -> Detector:
    """Returns a detector with random weights, in training mode.

    Raises:
        UsageError: there is no such network or backbone.

    Example:
        >>> from xraycls.models.detection.registry import build_detector
        >>> from xraycls.models.detection.ssd import SSDConfig
        >>> detector = build_detector(SSDConfig(backbone="resnet10", classes=("nodule",), height=64, width=64))
        >>> detector.config.network
        'ssd'
    """
    return _entry(config.network)[1](config)


def parse_detector_config(values: Mapping[str, Any]) -> DetectorConfig:
    """Returns the configuration that some values of JSON or YAML describe; ``network`` says of which class.

    Raises:
        UsageError: there is no such network.
        ValueError: a field is missing, unknown or of another type.
    """
    return _entry(str(values.get("network", "")))[0].parse(values)


def _entry(network: str) -> tuple[type[DetectorConfig], type[Detector]]:
    if network not in DETECTORS:
        raise unknown("detector", network, DETECTORS)
    return DETECTORS[network]
