"""Small detectors for tests."""

import torch

from xraycls.models.detection.anchors import SSDAnchors
from xraycls.models.detection.base import Suppression
from xraycls.models.detection.ssd import SSDConfig, SSDDetector

SCALES = (0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85)


def config_of(backbone: str = "resnet10", **fields: object) -> SSDConfig:
    """A network for pictures of 64 × 64."""
    anchors = SSDAnchors(SCALES, ((1.0, 2.0, 0.5),) * 6)
    given = {"classes": ("nodule", "opacity"), "height": 64, "width": 64, "anchors": anchors, **fields}
    return SSDConfig(backbone=backbone, **{"suppression": Suppression(0.02, 0.45, 7), **given})


def small_detector(backbone: str = "resnet10", seed: int = 0, **fields: object) -> SSDDetector:
    torch.manual_seed(seed)
    return SSDDetector(config_of(backbone, **fields)).eval()
