"""The detectors by name: what files, jobs, the command line and the readers of TAO's specs build them from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xraycls.errors import unknown

if TYPE_CHECKING:
    from xraycls.models.detection.base import Detector, DetectorConfig


@dataclass(frozen=True, slots=True)
class Registered:
    """Where the parts of a detector are, by dotted names.

    They are imported at first use: the command line reads the table, and torch takes seconds to import.

    Attributes:
        config: a subclass of :class:`~xraycls.models.detection.base.DetectorConfig`.
        detector: a subclass of :class:`~xraycls.models.detection.base.Detector`.
        specs: the ``TaoNetwork`` that reads TAO's specs of it; "" where there are none. A name and no import, as
            models know nothing of TAO.
    """

    config: str
    detector: str
    specs: str = ""

    def config_class(self) -> type[DetectorConfig]:
        """Returns the class of the configuration."""
        found: type[DetectorConfig] = attribute(self.config)
        return found

    def detector_class(self) -> type[Detector]:
        """Returns the class of the module."""
        found: type[Detector] = attribute(self.detector)
        return found


DETECTORS: dict[str, Registered] = {
    "ssd": Registered(
        "xraycls.models.detection.ssd.SSDConfig",
        "xraycls.models.detection.ssd.SSDDetector",
        "xraycls.tao.networks.ssd.SSD",
    ),
    "dssd": Registered(
        "xraycls.models.detection.ssd.SSDConfig",
        "xraycls.models.detection.ssd.SSDDetector",
        "xraycls.tao.networks.ssd.SSD",
    ),
    "yolo_v4": Registered(
        "xraycls.models.detection.yolo_v4.YOLOv4Config",
        "xraycls.models.detection.yolo_v4.YOLOv4Detector",
        "xraycls.tao.networks.yolo_v4.YOLO_V4",
    ),
    "faster_rcnn": Registered(
        "xraycls.models.detection.faster_rcnn.FasterRCNNConfig",
        "xraycls.models.detection.faster_rcnn.FasterRCNN",
        "xraycls.tao.networks.faster_rcnn.FASTER_RCNN",
    ),
    "unet_original": Registered(
        "xraycls.models.detection.unet_original.OriginalUNetConfig",
        "xraycls.models.detection.unet_original.OriginalUNetDetector",
    ),
    "unet": Registered(
        "xraycls.models.detection.unet.UNetConfig",
        "xraycls.models.detection.unet.UNetDetector",
    ),
}
"""The one table that a new detector is added to; ``xraycls.tao.networks.NETWORKS`` is made from it."""


def attribute(dotted: str) -> Any:
    """Returns what a dotted name such as "package.module.NAME" stands for."""
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(module), name)


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
    return _entry(config.network).detector_class()(config)


def parse_detector_config(values: Mapping[str, Any]) -> DetectorConfig:
    """Returns the configuration that some values of JSON or YAML describe; ``network`` says of which class.

    Raises:
        UsageError: there is no such network.
        ValueError: a field is missing, unknown or of another type.
    """
    return _entry(str(values.get("network", ""))).config_class().parse(values)


def stored_detector_config(values: Mapping[str, Any]) -> DetectorConfig:
    """Returns the configuration that a model's file of any version describes; raises as the function above."""
    return _entry(str(values.get("network", ""))).config_class().of_file(values)


def _entry(network: str) -> Registered:
    if network not in DETECTORS:
        raise unknown("detector", network, DETECTORS)
    return DETECTORS[network]
