"""Detection: input pipelines, training steps and suppression against others', and evaluation's time.

    python -m benchmarks.detection --data FOLDER --json benchmarks/results/detection.json

Input: pictures with boxes as files, as PNG copies of full size (what TAO's users have) and as a prepared store;
without data, phantoms of about 1,024 pixels in JPEG of quality 90. All pipelines expand (1–4), crop (0.3–1), flip and
change brightness and contrast in the ranges of torchvision's reference scripts, and every batch ends on the device;
torchvision's also draws hue and saturation, which grey pictures don't have. Ratios are against its default, with
Pillow, from the same files; those of the prepared store from the original files.

Mosaic: the same original files as mosaics of YOLOv4, on the CPU, against those of the ultralytics package, which the
script installs into ``build/``; see ``benchmarks.mosaic``.

Step: forward, matching, loss, backward and SGD on one synthetic batch that stays on the device, against torchvision's
SSD300 in fp32. The networks differ (ours is TAO's, with other strides, extra layers and anchors), so parameters,
anchors and arithmetic stand beside the times. YOLOv4 stands beside our own SSD on the same backbone, per operation.

Suppression: of a batch of eight pictures, against torchvision's ``batched_nms`` picture by picture.

Evaluation: the whole report on a detector that found 200 boxes in each of 1,000 pictures.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import batched_nms

from benchmarks.common import (
    CLOCKS,
    in_sentences,
    interleaved,
    median_ratio,
    options,
    show,
    show_not_measured,
    write_json,
)
from benchmarks.detection_input import input_pipelines
from benchmarks.detection_peers import detection_step, ssd300, ssd300_logits
from benchmarks.engines import devices
from benchmarks.mosaic import PEER as MOSAIC_PEER
from benchmarks.mosaic import mosaic_pipelines
from benchmarks.steps import Step, detector_step, synthetic_objects
from xraycls.errors import unknown
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.intervals import RESAMPLES
from xraycls.evaluation.detection.table import detection_report
from xraycls.models.detection.anchors import SSDAnchors
from xraycls.models.detection.base import Detector, Suppression
from xraycls.models.detection.ssd import SSDConfig, SSDDetector
from xraycls.models.detection.suppression import detections_of
from xraycls.models.detection.yolo_v4 import YOLOv4Config, YOLOv4Detector
from xraycls.training.precision import choose_precision
from xraycls.types import Detections

PARTS = ("input", "mosaic", "step", "suppression", "evaluation")
NETS = ("vgg16", "resnet18", "resnet10")
SIZE = 300  # of SSD300, pixels
YOLO = 320  # of YOLOv4, which takes multiples of 32
_PICTURES = 8  # of a batch that is suppressed
# Those of the ancestor's spec: six boxes a cell.
ANCHORS = SSDAnchors((0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85), ((1.0, 2.0, 0.5, 3.0, 1 / 3),) * 6)
PEER = "torchvision ssd300_vgg16, fp32"


def main() -> None:
    """Run, print tables and write JSON."""
    given = parsed()
    places = devices(given.device)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        measured: dict[str, Callable[[], dict[str, Any]]] = {
            "input": partial(input_pipelines, given, places, Path(folder)),
            "mosaic": partial(mosaic_pipelines, given, Path(folder) / "mosaic"),
            "step": partial(training_steps, given, places[-1]),
            "suppression": partial(suppressions, given, places[-1]),
            "evaluation": partial(evaluations, given),
        }
        for part in given.parts:
            result[part] = measured[part]()
            write_json(given.json, result)  # after every part, so that a run that is cut short leaves what it measured
    report(result)


def parsed() -> argparse.Namespace:
    """The command line; raises UsageError."""
    parser = options(__doc__)
    parser.add_argument("--parts", type=_names, default=list(PARTS), help=f"default: {','.join(PARTS)}")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto for both where there is a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=SIZE, help="of the input pipelines' pictures, pixels")
    parser.add_argument("--batch-size", type=int, default=16, help="of the input pipelines")
    parser.add_argument("--images", type=int, default=480, help="an epoch of ours, by repeating the files")
    parser.add_argument("--nets", type=_names, default=["vgg16", "resnet18"])
    parser.add_argument("--yolo-nets", type=_names, default=["resnet18"], help="of --nets, for YOLOv4 too")
    parser.add_argument("--step-batch-size", type=int, help="default: 32 on a GPU, else 4")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="of the training steps")
    parser.add_argument("--pictures", type=int, default=1000, help="that are evaluated")
    parser.add_argument("--boxes", type=int, default=200, help="found in each of them")
    parser.set_defaults(threads=2)
    given = parser.parse_args()
    for name, known in [*((part, PARTS) for part in given.parts), *((net, NETS) for net in given.nets)]:
        if name not in known:
            raise unknown("name", name, known, "--parts or --nets")
    return given


def _names(text: str) -> list[str]:
    return text.split(",")


def training_steps(given: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Steps of our networks, in fp32 and in the precision that "auto" takes, and of torchvision's."""
    count = given.step_batch_size or (32 if device.type == "cuda" else 4)
    batch, enlarged = synthetic_objects(count, SIZE), synthetic_objects(count, YOLO)
    peer = ssd300()
    facts = {PEER: size_of(peer, partial(ssd300_logits, peer, torch.zeros(1, 3, SIZE, SIZE)))}
    runs: dict[str, Step] = {PEER: detection_step(peer, batch, device)}
    for net in given.nets:
        for precision in sorted({"fp32", choose_precision("auto", device)}, reverse=True):
            detector = SSDDetector(
                SSDConfig(backbone=net, classes=("opacity",), height=SIZE, width=SIZE, anchors=ANCHORS)
            )
            name = f"xraycls {net}, {precision}"
            facts[name] = size_of(detector, partial(detector_logits, detector, batch.images[:1]))
            runs[name] = detector_step(detector, batch, choose_precision(precision, device), device)
            if net in given.yolo_nets:
                yolo = YOLOv4Detector(YOLOv4Config(backbone=net, classes=("opacity",), height=YOLO, width=YOLO))
                name = f"xraycls yolo_v4 {net}, {precision}"
                facts[name] = size_of(yolo, partial(yolo_predictions, yolo, enlarged.images[:1]))
                runs[name] = detector_step(yolo, enlarged, choose_precision(precision, device), device)
    rates = interleaved(runs, given.rounds, clock=CLOCKS[given.clock])
    return {
        "device": device.type,
        "clock": given.clock,
        "size": SIZE,
        "batch_size": len(batch.images),
        "rounds": given.rounds,
        "rows": [
            {
                "net": name,
                **facts[name],
                "seconds": len(batch.images) / statistics.median(rates[name]),
                "times_torchvision": median_ratio(rates[name], rates[PEER]),
                "times_ssd": per_operation(name, facts, rates),
            }
            for name in runs
        ],
    }


def per_operation(name: str, facts: Mapping[str, Mapping[str, Any]], rates: Mapping[str, list[float]]) -> float | None:
    """How many operations a second a YOLOv4 does for one of our SSD on the same backbone; None of other networks."""
    ssd = name.replace("yolo_v4 ", "")
    if ssd == name or ssd not in rates:
        return None
    return median_ratio(rates[name], rates[ssd]) * float(facts[name]["gflops"] / facts[ssd]["gflops"])


def yolo_predictions(detector: YOLOv4Detector, images: torch.Tensor) -> torch.Tensor:
    """The predictions of all its anchors."""
    return detector.decode(detector(images))


def suppressions(given: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Milliseconds a picture of our suppression and of torchvision's, as much as a trained network finds."""
    rows = []
    for name, anchors, classes in (("YOLOv4 of 320 pixels, 5 classes", 6300, 5), ("SSD of 512 pixels", 32_760, 1)):
        generator = torch.Generator().manual_seed(0)
        corners = 320 * torch.rand(_PICTURES, anchors, 2, generator=generator)
        boxes = torch.cat([corners, corners + 10 + 60 * torch.rand(corners.shape, generator=generator)], -1).to(device)
        scores = torch.rand(_PICTURES, anchors, classes, generator=generator).pow(8).to(device)  # most near 0
        rules = Suppression(confidence=0.01, iou=0.5, top_k=200)
        runs = {
            "xraycls": partial(suppressed, scores, boxes, rules),
            "torchvision": partial(suppressed_by_torchvision, scores, boxes, rules),
        }
        rates = interleaved(runs, given.rounds)
        for pipeline in runs:
            milliseconds = 1000 / statistics.median(rates[pipeline])
            ratio = median_ratio(rates[pipeline], rates["torchvision"])
            rows.append({"what": name, "pipeline": pipeline, "ms_a_picture": milliseconds, "times_torchvision": ratio})
    return {"device": device.type, "pictures": _PICTURES, "rounds": given.rounds, "rows": rows}


def suppressed(scores: torch.Tensor, boxes: torch.Tensor, rules: Suppression) -> int:
    """Ours, of a batch; gives the number of pictures."""
    return len(detections_of(scores, boxes, rules))


def suppressed_by_torchvision(scores: torch.Tensor, boxes: torch.Tensor, rules: Suppression) -> int:
    """What torchvision's detectors do with each picture in turn, down to NumPy as ours."""
    for probabilities, corners in zip(scores, boxes, strict=True):
        anchor, label = torch.nonzero(probabilities > rules.confidence, as_tuple=True)
        kept = batched_nms(corners[anchor], probabilities[anchor, label], label, rules.iou)[: rules.top_k]
        for part in (corners[anchor[kept]], label[kept], probabilities[anchor[kept], label[kept]]):
            part.cpu().numpy()
    return len(scores)


def detector_logits(detector: Detector, images: torch.Tensor) -> torch.Tensor:
    """The logits of all its anchors."""
    logits: torch.Tensor = detector(images)[0]
    return logits


def size_of(net: nn.Module, logits: Callable[[], torch.Tensor]) -> dict[str, Any]:
    """Parameters, anchors, and the arithmetic of one picture's forward pass, a multiplication and an addition being
    two operations."""
    net.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        anchors = logits().shape[1]
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return {"parameters": parameters, "anchors": anchors, "gflops": counter.get_total_flops() / 1e9}


def evaluations(given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a report with and without intervals, of one class and of four."""
    runs: dict[tuple[int, int], Callable[[], int]] = {}
    for classes in (1, 4):
        boxes = imagined(given.pictures, given.boxes, classes)
        for resamples in (RESAMPLES, 0):
            runs[classes, resamples] = partial(evaluated, *boxes, classes, resamples)
    rates = interleaved(runs, given.rounds)
    return {
        "pictures": given.pictures,
        "boxes": given.boxes,
        "rounds": given.rounds,
        "rows": [
            {
                "classes": classes,
                "resamples": resamples,
                "seconds": given.pictures / statistics.median(rates[classes, resamples]),
            }
            for classes, resamples in runs
        ],
    }


def evaluated(truths: list[ImageBoxes], found: list[Detections], classes: int, resamples: int) -> int:
    """Make a report; gives the number of pictures."""
    names = [f"class {number}" for number in range(classes)]
    return detection_report(truths, found, names, resamples=resamples).images


def imagined(pictures: int, boxes: int, classes: int) -> tuple[list[ImageBoxes], list[Detections]]:
    """0–4 objects a picture of 512 pixels, and so many boxes found: a few around each object, most at random."""
    random = np.random.default_rng(0)

    def corners(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        sides = random.uniform(20, 160, (count, 2))
        place = random.uniform(0, 1, (count, 2)) * (512 - sides)
        return np.hstack([place, place + sides])

    truths, found = [], []
    for _ in range(pictures):
        count = int(random.integers(0, 5))
        truth, own = corners(count), random.integers(0, classes, count)
        near = np.repeat(np.arange(count), min(8, boxes // 4))
        others = boxes - len(near)
        truths.append(ImageBoxes.of(truth, own))
        found.append(
            Detections.of(
                np.vstack([truth[near] + random.normal(0, 9, (len(near), 4)), corners(others)]),
                np.concatenate([own[near], random.integers(0, classes, others)]),
                np.concatenate([random.uniform(0.1, 1, len(near)), random.uniform(0.01, 0.6, others)]),
            )
        )
    return truths, found


def report(result: Mapping[str, Any]) -> None:
    """Print the tables of the parts that were measured."""
    if part := result.get("input"):
        show(
            f"{part['files'][next(iter(part['files']))]['count']} pictures with boxes to {part['size']} pixels, "
            f"batches of {part['batch_size']}, {part['threads']} threads, {part['rounds']} rounds, medians",
            ("pipeline", "source", "device", "images/s", "× torchvision", "of floor"),
            [
                (
                    row["pipeline"],
                    row["source"],
                    row["device"],
                    f"{row['images_per_second']:,.0f}",
                    f"{row['times_torchvision']:.1f}",
                    f"{row['share_of_floor']:.0%}" if row["share_of_floor"] else "",
                )
                for row in part["rows"]
            ],
        )
        show_not_measured(part["not_measured"])
    if part := result.get("mosaic"):
        show(
            f"Mosaics of {part['files']} files to {part['size']} pixels on the CPU, batches of {part['batch_size']}, "
            f"{part['threads']} threads or processes, {part['rounds']} rounds, medians",
            ("pipeline", "pictures/s", f"× {MOSAIC_PEER}", "processor ms a picture", "× in processor time"),
            [
                (
                    row["pipeline"],
                    f"{row['images_per_second']:,.0f}",
                    f"{row['times_peer']:.1f}" if row["times_peer"] else "",
                    f"{row['processor_ms']:.1f}",
                    f"{row['times_peer_processor']:.1f}" if row["times_peer_processor"] else "",
                )
                for row in part["rows"]
            ],
        )
        show_not_measured(part["not_measured"])
    if part := result.get("step"):
        show(
            f"Training step on {part['device']}, {part['batch_size']} pictures of {part['size']} pixels, medians",
            ("network", "s", "× torchvision", "operations/s × SSD", "parameters", "anchors", "GFLOP a picture"),
            [
                (
                    row["net"],
                    f"{row['seconds']:.3f}",
                    f"{row['times_torchvision']:.2f}",
                    f"{row['times_ssd']:.2f}" if row["times_ssd"] else "",
                    f"{row['parameters'] / 1e6:.1f} M",
                    f"{row['anchors']:,}",
                    f"{row['gflops']:.1f}",
                )
                for row in part["rows"]
            ],
        )
    if part := result.get("suppression"):
        show(
            f"Suppression on {part['device']}, batches of {part['pictures']}, {part['rounds']} rounds, medians",
            ("what", "by", "ms a picture", "× torchvision"),
            [
                (row["what"], row["pipeline"], f"{row['ms_a_picture']:.2f}", f"{row['times_torchvision']:.2f}")
                for row in part["rows"]
            ],
        )
    if part := result.get("evaluation"):
        show(
            f"Evaluation of {part['pictures']:,} pictures × {part['boxes']} boxes, {part['rounds']} rounds, medians",
            ("classes", "resamples", "s"),
            [(str(row["classes"]), f"{row['resamples']:,}", f"{row['seconds']:.2f}") for row in part["rows"]],
        )


if __name__ == "__main__":
    in_sentences(main)
