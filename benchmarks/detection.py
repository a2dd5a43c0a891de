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
Each runs as its users run it; see ``benchmarks.detection_steps``.

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
from benchmarks.detection_steps import SIZE, training_steps
from benchmarks.engines import devices
from benchmarks.mosaic import PEER as MOSAIC_PEER
from benchmarks.mosaic import mosaic_pipelines
from xraycls.errors import unknown
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.intervals import RESAMPLES
from xraycls.evaluation.detection.table import detection_report
from xraycls.models.detection.base import Suppression
from xraycls.models.detection.suppression import detections_of
from xraycls.types import Detections

PARTS = ("input", "mosaic", "step", "suppression", "evaluation")
NETS = ("vgg16", "resnet18", "resnet10")
_PICTURES = 8  # of a batch that is suppressed


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
