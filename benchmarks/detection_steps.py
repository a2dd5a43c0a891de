"""Training steps of our detectors and of torchvision's SSD300: forward, matching, loss, backward and SGD on one
synthetic batch that stays on the device.

Every measurement is a process of its own, so that no step finds memory that another has left, and each runs as its
users run it: ours within ``freed_memory_kept``, as every training of ``xraycls``, torchvision's as in its reference
script.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import CLOCKS, median_ratio, rate
from benchmarks.detection_peers import detection_step, ssd300, ssd300_logits
from benchmarks.steps import detector_step, synthetic_objects
from xraycls.models.detection.anchors import SSDAnchors
from xraycls.models.detection.base import Detector
from xraycls.models.detection.ssd import SSDConfig, SSDDetector
from xraycls.models.detection.yolo_v4 import YOLOv4Config, YOLOv4Detector
from xraycls.training.memory import freed_memory_kept
from xraycls.training.precision import Precision, choose_precision

SIZE = 300
"""Of SSD300, pixels."""

YOLO = 320
"""Of YOLOv4, which takes multiples of 32."""

# Those of the ancestor's spec: six boxes a cell.
ANCHORS = SSDAnchors((0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85), ((1.0, 2.0, 0.5, 3.0, 1 / 3),) * 6)
_WARM_UP = 2
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """A network whose step is timed.

    Attributes:
        network: "ssd" or "yolo_v4"; None for torchvision's SSD300.
        backbone: of ours.
        precision: of the arithmetic.
    """

    network: str | None = None
    backbone: str = "vgg16"
    precision: Precision = "fp32"

    @property
    def name(self) -> str:
        """What the table calls it."""
        if self.network is None:
            return "torchvision ssd300_vgg16, fp32"
        kind = "" if self.network == "ssd" else f"{self.network} "
        return f"xraycls {kind}{self.backbone}, {self.precision}"


PEER = Case()


def training_steps(given: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Steps of our networks, in fp32 and in the precision that "auto" takes, and of torchvision's."""
    count = given.step_batch_size or (32 if device.type == "cuda" else 4)
    precisions: list[Precision] = ["fp32"]
    if (automatic := choose_precision("auto", device)) not in precisions:
        precisions.append(automatic)
    cases = [PEER]
    for net in given.nets:
        networks = ("ssd", "yolo_v4") if net in given.yolo_nets else ("ssd",)
        cases += [Case(network, net, precision) for precision in precisions for network in networks]
    facts: dict[Case, dict[str, Any]] = {}
    rates: dict[Case, list[float]] = {case: [] for case in cases}
    for _ in range(given.rounds):
        for case in cases:
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                facts[case], found = alone.submit(measured, case, count, str(device), given.clock).result()
            rates[case].append(found)
    return {
        "device": device.type,
        "clock": given.clock,
        "size": SIZE,
        "batch_size": count,
        "rounds": given.rounds,
        "rows": [
            {
                "net": case.name,
                **facts[case],
                "seconds": count / statistics.median(rates[case]),
                "times_torchvision": median_ratio(rates[case], rates[PEER]),
                "times_ssd": per_operation(case, facts, rates),
            }
            for case in cases
        ],
    }


def measured(case: Case, count: int, device: str, clock: str) -> tuple[dict[str, Any], float]:
    """Facts of a network, and the pictures a second of its steps; for a process of its own.

    Args:
        case: what is timed.
        count: pictures a step.
        device: that computes.
        clock: of ``CLOCKS``.
    """
    torch.manual_seed(0)
    place = torch.device(device)
    batch = synthetic_objects(count, YOLO if case.network == "yolo_v4" else SIZE)
    if case.network is None:
        peer = ssd300()
        facts = size_of(peer, partial(ssd300_logits, peer, torch.zeros(1, 3, SIZE, SIZE)))
        step = detection_step(peer, batch, place)
    else:
        detector, outputs = _detector(case)
        facts = size_of(detector, partial(outputs, batch.images[:1]))
        step = detector_step(detector, batch, case.precision, place)
    with nullcontext() if case.network is None else freed_memory_kept():
        for _ in range(_WARM_UP):
            step()
        return facts, rate(step, _SECONDS, CLOCKS[clock])


def _detector(case: Case) -> tuple[Detector, Callable[[torch.Tensor], torch.Tensor]]:
    """Ours, and what gives a row of every anchor."""
    if case.network == "yolo_v4":
        yolo = YOLOv4Detector(YOLOv4Config(backbone=case.backbone, classes=("opacity",), height=YOLO, width=YOLO))
        return yolo, lambda images: yolo.decode(yolo(images))
    config = SSDConfig(backbone=case.backbone, classes=("opacity",), height=SIZE, width=SIZE, anchors=ANCHORS)
    ssd = SSDDetector(config)
    return ssd, lambda images: ssd(images)[0]


def per_operation(
    case: Case, facts: Mapping[Case, Mapping[str, Any]], rates: Mapping[Case, list[float]]
) -> float | None:
    """How many operations a second a YOLOv4 does for one of our SSD on the same backbone; None of other networks."""
    ssd = Case("ssd", case.backbone, case.precision)
    if case.network != "yolo_v4" or ssd not in rates:
        return None
    return median_ratio(rates[case], rates[ssd]) * float(facts[case]["gflops"] / facts[ssd]["gflops"])


def size_of(net: nn.Module, outputs: Callable[[], torch.Tensor]) -> dict[str, Any]:
    """Parameters, anchors, and the arithmetic of one picture's forward pass, a multiplication and an addition being
    two operations."""
    net.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        anchors = outputs().shape[1]
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return {"parameters": parameters, "anchors": anchors, "gflops": counter.get_total_flops() / 1e9}
