"""Backbones: networks that detectors and segmentation networks take feature maps from."""

from xraycls.models.backbones.base import Backbone, Stage
from xraycls.models.backbones.build import BACKBONES, arithmetic_of_old_files, build_backbone
from xraycls.models.backbones.options import Activation, Arithmetic, BodyOptions
from xraycls.models.backbones.roi import ROI_BACKBONES, RoIBody, build_roi_network

__all__ = [
    "BACKBONES",
    "ROI_BACKBONES",
    "Activation",
    "Arithmetic",
    "Backbone",
    "BodyOptions",
    "RoIBody",
    "Stage",
    "arithmetic_of_old_files",
    "build_backbone",
    "build_roi_network",
]
