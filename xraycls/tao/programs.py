"""Specs by the program that takes them: told apart by their outermost fields, opened, and checked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from xraycls.errors import SpecError
from xraycls.tao.dataset_export import DatasetExport
from xraycls.tao.networks import NETWORKS
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.spec import Spec, parse_spec, read_text
from xraycls.tao.text import tokens

Config = TypeVar("Config")

KINDS: dict[type[Any], str] = {
    DatasetExport: "dataset_convert",
    **{network.spec: network.name for network in NETWORKS.values()},
}
"""The specs that can be read: the class of the outermost message, and the program that takes the spec."""

# The first whose fields are all there. DetectNet_v2 and Faster R-CNN share most of their names.
_MARKS: tuple[tuple[str, str], ...] = (
    ("dataset_convert", "kitti_config"),
    ("dataset_convert", "coco_config"),
    ("retinanet", "retinanet_config"),
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
    *(marks for network in NETWORKS.values() for marks in network.marks),
    ("unet", "model_config training_config dataset_config"),
    ("augment", "spatial_config color_config"),
)


def program_of(names: Collection[str]) -> str | None:
    """The program that a spec with these outermost fields is for, such as "ssd"; None when they don't tell."""
    return next((program for program, marks in _MARKS if set(marks.split()) <= set(names)), None)


def network_of_spec(path: Path) -> TaoNetwork:
    """The network that a spec is for, told by its outermost fields.

    Raises:
        SpecError: the file can't be read, or is a spec of none of :data:`xraycls.tao.networks.NETWORKS`.
    """
    program = program_of({token.path[0] for token in tokens(read_text(path)) if len(token.path) == 1})
    network = next((each for each in NETWORKS.values() if program in (each.name, *each.aliases)), None)
    if network is None:
        said = f"this is a {program} spec" if program else "this is a spec of no network that is known"
        raise SpecError(f"{said}: give one of {', '.join(NETWORKS)}", path)
    return network


def open_spec(path: Path, kind: type[Config]) -> Spec[Config]:
    """Read a text spec, and keep where everything stands in it.

    Args:
        path: the spec.
        kind: what it should be, a class of :data:`KINDS`.

    Raises:
        SpecError: the file can't be read, is a spec of another program, has a mistake or fields that no version of
            TLT or TAO knows together; names file, line and field.
        MissingExtra: protobuf isn't installed.
    """
    text = read_text(path)
    _check_program(path, {token.path[0] for token in tokens(text) if len(token.path) == 1}, KINDS[kind])
    return parse_spec(path, text, kind, KINDS[kind])


def read_spec(path: Path, kind: type[Config]) -> Config:
    """What a text spec says; raises as :func:`open_spec`."""
    return open_spec(path, kind).config


def open_checked(path: Path, program: str) -> Spec[Any]:
    """Read a spec that a network could be trained by.

    Args:
        path: the spec.
        program: a key of :data:`xraycls.tao.networks.NETWORKS`.

    Raises:
        SpecError: it can't be read or has a mistake; names file, line and field.
        MissingExtra: protobuf isn't installed.
    """
    spec = open_spec(path, NETWORKS[program].spec)
    NETWORKS[program].check(spec)
    return spec


def _check_program(path: Path, names: Collection[str], program: str) -> None:
    found = program_of(names)
    network = next((each.name for each in NETWORKS.values() if found in (each.name, *each.aliases)), found)
    if network in (None, program):
        return
    article = "an" if found in ("ssd", "lprnet", "efficientdet") else "a"
    way = f"use xraycls {network}" if network in KINDS.values() else f"xraycls has no {network}"
    raise SpecError(f"this is {article} {found} spec: {way}", path)
