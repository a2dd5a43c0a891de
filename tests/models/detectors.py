"""Small detectors for tests."""

import torch

from xraycls.models.detection.anchors import SSDAnchors
from xraycls.models.detection.detector import Detector, DetectorPlan, Suppression

SCALES = (0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85)


def plan_of(arch: str = "resnet", layers: int = 10, **fields: object) -> DetectorPlan:
    """A network for pictures of 64 × 64."""
    anchors = SSDAnchors(SCALES, ((1.0, 2.0, 0.5),) * 6)
    given = {"classes": ("nodule", "opacity"), "height": 64, "width": 64, "anchors": anchors, **fields}
    return DetectorPlan(arch, layers, **given)


def small_detector(arch: str = "resnet", layers: int = 10, seed: int = 0, **fields: object) -> Detector:
    torch.manual_seed(seed)
    return Detector(plan_of(arch, layers, **fields), Suppression(0.02, 0.45, 7)).eval()
