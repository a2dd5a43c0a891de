"""Small networks of every kind, to export."""

from collections.abc import Callable

import torch
from torch import nn

from xraycls.models.classifier import Classifier, build_classifier
from xraycls.models.detection.base import Detector, Suppression
from xraycls.models.detection.faster_rcnn import FasterRCNNConfig
from xraycls.models.detection.registry import build_detector
from xraycls.models.detection.ssd import SSDConfig
from xraycls.models.detection.unet import UNetConfig
from xraycls.models.detection.yolo_v4 import YOLOv4Config

_COMMON = {"classes": ("nodule", "opacity"), "height": 64, "width": 96}


def _detector(config) -> Detector:
    torch.manual_seed(0)
    detector = build_detector(config).eval()
    spread_out(detector)
    return detector


def spread_out(detector: Detector) -> None:
    """Give a network with random weights scores that differ, as those of a trained one do."""
    with torch.no_grad():
        for module in detector.net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.8, 1.6)
                module.bias.uniform_(-0.2, 0.2)
        for name, factor in (("ssd_conf", 0.1), ("object", 5.0)):
            for path, module in detector.net.named_modules():
                if path.startswith("heads.") and name in path:
                    module.weight.mul_(factor)


def ssd(kind: str = "ssd") -> Detector:
    return _detector(SSDConfig(network=kind, backbone="resnet10", suppression=Suppression(0.05, 0.45, 20), **_COMMON))


def yolo(backbone: str = "cspdarknet_tiny") -> Detector:
    return _detector(YOLOv4Config(backbone=backbone, suppression=Suppression(0.003, 0.45, 20), **_COMMON))


def faster_rcnn() -> Detector:
    return _detector(FasterRCNNConfig(backbone="resnet10", suppression=Suppression(0.2, 0.45, 20), **_COMMON))


def classifier(name: str = "ResNet18", size: int = 64) -> Classifier:
    torch.manual_seed(0)
    return build_classifier(name, ["NORMAL", "PNEUMONIA"], weights="none", size=size)[0].eval()


def unet() -> Detector:
    """With statistics that are no identity: it computes its layers twice, of a picture and its mirror image."""
    torch.manual_seed(0)
    detector = build_detector(UNetConfig(backbone="resnet10", classes=("opacity",), height=64, width=96)).eval()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.3, 0.6)
    return detector


NETWORKS: dict[str, Callable[[], Classifier | Detector]] = {
    "classifier": classifier,
    "googlenet": lambda: classifier("GoogleNet", 96),
    "vit": lambda: classifier("timm:vit_tiny_patch16_224", 64),
    "ssd": ssd,
    "dssd": lambda: ssd("dssd"),
    "yolo_v4": lambda: yolo("cspdarknet19"),
    "yolo_v4_tiny": yolo,
    "faster_rcnn": faster_rcnn,
    "unet": unet,
}
