"""Specs of networks, opened and checked by the name of the program that takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xraycls.tao.faster_rcnn import FasterRCNNSpec
from xraycls.tao.faster_rcnn_rules import check_faster_rcnn
from xraycls.tao.spec import Spec, open_spec
from xraycls.tao.ssd import SSDSpec
from xraycls.tao.ssd_rules import check_ssd
from xraycls.tao.yolo_v4 import YOLOv4Spec
from xraycls.tao.yolo_v4_rules import check_yolo_v4

CHECKS: Mapping[str, tuple[type[Any], Callable[[Spec[Any]], None]]] = {
    "ssd": (SSDSpec, check_ssd),
    "yolo_v4": (YOLOv4Spec, check_yolo_v4),
    "faster_rcnn": (FasterRCNNSpec, check_faster_rcnn),
}
"""The class of a program's spec, and what raises SpecError for the first thing that keeps it from being trained."""


def open_checked(path: Path, program: str) -> Spec[Any]:
    """Read a spec that a network could be trained by.

    Args:
        path: the spec.
        program: a key of :data:`CHECKS`.

    Raises:
        SpecError: it can't be read or has a mistake; names file, line and field.
        MissingExtra: protobuf isn't installed.
    """
    kind, check = CHECKS[program]
    spec = open_spec(path, kind)
    check(spec)
    return spec
