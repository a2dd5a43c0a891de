"""Training steps of detectors with contiguous maps against channels_last, in CPU seconds.

    python -m benchmarks.memory_format --json benchmarks/results/memory_format.json

The same network on the same synthetic batch in both memory formats, in turns, in fp32 on the CPU. CPU seconds and not
those of a clock: a neighbour that takes a core makes both slower, and the ratio stays.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.common import in_sentences, options, show, write_json
from benchmarks.steps import Step, detector_step, synthetic_objects
from xraycls.models.detection.base import Detector
from xraycls.models.detection.faster_rcnn import FasterRCNNConfig
from xraycls.models.detection.registry import build_detector
from xraycls.models.detection.ssd import SSDConfig
from xraycls.models.detection.unet import UNetConfig
from xraycls.models.detection.yolo_v4 import YOLOv4Config

CLASSES = ("opacity",)
CPU = torch.device("cpu")
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

DETECTORS: dict[str, Callable[[int], Detector]] = {
    "SSD, VGG16": lambda size: build_detector(SSDConfig(backbone="vgg16", classes=CLASSES, height=size, width=size)),
    "SSD, ResNet18": lambda size: build_detector(
        SSDConfig(backbone="resnet18", classes=CLASSES, height=size, width=size)
    ),
    "YOLOv4, ResNet18": lambda size: build_detector(
        YOLOv4Config(backbone="resnet18", classes=CLASSES, height=size, width=size)
    ),
    "Faster R-CNN, ResNet18": lambda size: build_detector(
        FasterRCNNConfig(backbone="resnet18", classes=CLASSES, height=size, width=size)
    ),
    "U-Net, MobileNetV2": lambda size: build_detector(UNetConfig(classes=CLASSES, height=size, width=size)),
}


def main() -> None:
    """Run, print the table and write JSON."""
    parser = options(__doc__)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows = [measured(name, given) for name in DETECTORS]
    show(
        f"Training steps of {given.batch_size} pictures of {given.size} pixels, fp32, {given.rounds} rounds, medians",
        ("detector", "contiguous, CPU s", "channels_last, CPU s", "channels_last ÷ contiguous"),
        [
            (row["detector"], *(f"{row[name]:.2f}" for name in FORMATS), f"{row['channels_last_of_contiguous']:.2f}")
            for row in rows
        ],
    )
    result = {"size": given.size, "batch_size": given.batch_size, "rounds": given.rounds, "rows": rows}
    write_json(given.json, result)


def measured(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds of a step in each format, and the median of the ratios round by round."""
    batch = synthetic_objects(given.batch_size, given.size)
    steps = {
        label: detector_step(DETECTORS[name](given.size), batch, "fp32", CPU, memory_format)
        for label, memory_format in FORMATS.items()
    }
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(given.rounds):
        for label, step in steps.items():
            seconds[label].append(cpu_seconds(step))
    ratios = [b / a for a, b in zip(seconds["contiguous"], seconds["channels_last"], strict=True)]
    return {
        "detector": name,
        **{label: statistics.median(values) for label, values in seconds.items()},
        "channels_last_of_contiguous": statistics.median(ratios),
    }


def cpu_seconds(step: Step) -> float:
    """CPU time of one step, of all threads."""
    before = time.process_time()
    step()
    return time.process_time() - before


if __name__ == "__main__":
    in_sentences(main)
