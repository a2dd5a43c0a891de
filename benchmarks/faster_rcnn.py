"""Faster R-CNN against torchvision's: training step, inference and memory, on synthetic pictures.

    python -m benchmarks.faster_rcnn --json benchmarks/results/faster_rcnn.json

The networks differ: ours is TAO's, with one map of stride 16 and ResNet's last block for every region; torchvision's
fasterrcnn_resnet50_fpn has five maps and two dense layers. So the rates are divided by arithmetic, which torch counts
in the same way for both (convolutions and products of matrices, a multiplication and an addition being two
operations): GFLOP a second, of a training step with its backward pass, and of inference. Proposals before and after
suppression are those of TAO's specs and of torchvision's defaults, but ours looks at fewer regions (``--regions``), so
that both do about as much. bf16 is measured where the processor has arithmetic of that kind. All runs take turns.
Memory is the most that a fresh process took in a few training steps.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import FasterRCNN as Peer
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from benchmarks.common import in_sentences, interleaved, median_ratio, options, show, write_json
from benchmarks.detection_peers import detection_step, detection_targets
from benchmarks.steps import Step, detector_step, synthetic_objects
from xraycls.errors import unknown
from xraycls.models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig
from xraycls.models.detection.faster_rcnn_loss import FasterRCNNLoss
from xraycls.models.detection.proposals import ProposalSettings
from xraycls.training.precision import Precision, autocast, computes_bf16
from xraycls.types import Batch

CPU = torch.device("cpu")
PARTS = ("step", "inference", "memory")
PEER = "torchvision resnet50_fpn, fp32"
MIB = 2**20


def main() -> None:
    """Run, print tables and write JSON."""
    given = parsed()
    names = ("size", "batch_size", "regions", "rounds")
    result: dict[str, Any] = {name: getattr(given, name) for name in names}
    measured: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
        "step": lambda given: rates(given, trained_steps(given)),
        "inference": lambda given: rates(given, inferences(given)),
        "memory": memory,
    }
    for part in given.parts:
        result[part] = measured[part](given)
        write_json(given.json, result)
    report(result)


def parsed() -> argparse.Namespace:
    """The command line; raises UsageError."""
    parser = options(__doc__)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256, help="of the pictures, pixels")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--regions", type=int, default=32, help="of a picture that our second stage looks at")
    parser.add_argument("--backbones", type=lambda text: text.split(","), default=["resnet18"])
    given = parser.parse_args()
    for part in given.parts:
        if part not in PARTS:
            raise unknown("part", part, PARTS, "--parts")
    return given


def ours(backbone: str, size: int, regions: int) -> FasterRCNN:
    """Ours, with the proposals of TAO's specs."""
    torch.manual_seed(0)
    return FasterRCNN(
        FasterRCNNConfig(
            backbone=backbone,
            classes=("opacity",),
            height=size,
            width=size,
            proposals=ProposalSettings(count=regions),
            loss=FasterRCNNLoss(roi_batch=regions),
        )
    )


def peer(size: int) -> Peer:
    """torchvision's for pictures of one size, which its own transform then leaves as they are."""
    torch.manual_seed(0)
    net: Peer = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, min_size=size, max_size=size
    )
    return net


def step_of(name: str, size: int, batch_size: int, regions: int) -> Step:
    """A training step by the name of its row."""
    torch.manual_seed(0)
    batch = synthetic_objects(batch_size, size)
    if name == PEER:
        return detection_step(peer(size), batch, CPU)
    backbone, precision = named(name)
    return detector_step(ours(backbone, size, regions), batch, precision, CPU)


def named(name: str) -> tuple[str, Precision]:
    """Backbone and precision of a row of ours."""
    backbone, _, precision = name.removeprefix("xraycls ").partition(", ")
    return backbone, "bf16" if precision == "bf16" else "fp32"


def rows_of(given: argparse.Namespace) -> list[str]:
    """The peer, and ours in every precision that the processor has arithmetic for."""
    precisions = ["fp32", *(["bf16"] if computes_bf16(CPU) else [])]
    return [PEER, *(f"xraycls {backbone}, {precision}" for backbone in given.backbones for precision in precisions)]


def trained_steps(given: argparse.Namespace) -> dict[str, Step]:
    """A training step of every row."""
    return {name: step_of(name, given.size, given.batch_size, given.regions) for name in rows_of(given)}


def inferences(given: argparse.Namespace) -> dict[str, Step]:
    """Detections of a batch, from pictures to boxes, of every row."""
    batch = synthetic_objects(given.batch_size, given.size)
    found: dict[str, Step] = {}
    for name in rows_of(given):
        found[name] = peer_inference(given.size, batch) if name == PEER else our_inference(name, given, batch)
    return found


def our_inference(name: str, given: argparse.Namespace, batch: Batch) -> Step:
    """Ours from uint8 pictures to detections."""
    backbone, precision = named(name)
    detector = ours(backbone, given.size, given.regions).eval()
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run() -> int:
        with torch.inference_mode(), autocast(CPU, precision):
            raw = detector(batch.images)
        return len(detector.detect(raw))

    return run


def peer_inference(size: int, batch: Batch) -> Step:
    """torchvision's from pictures of 0-1 to detections."""
    net = peer(size).eval()
    images, _ = detection_targets(batch, CPU)

    def run() -> int:
        with torch.inference_mode():
            return len(net(images))

    return run


def rates(given: argparse.Namespace, runs: Mapping[str, Step]) -> list[dict[str, Any]]:
    """Seconds, arithmetic and GFLOP a second of every run, and how many times those of the peer."""
    work = {name: gflops(run) for name, run in runs.items()}
    measured = interleaved(runs, given.rounds)
    speeds = {name: [rate * work[name] / given.batch_size for rate in measured[name]] for name in runs}
    return [
        {
            "net": name,
            "seconds": given.batch_size / statistics.median(measured[name]),
            "gflops": work[name] / given.batch_size,
            "gflops_per_second": statistics.median(speeds[name]),
            "times_torchvision": median_ratio(speeds[name], speeds[PEER]),
        }
        for name in runs
    ]


def gflops(run: Step) -> float:
    """The arithmetic of a run, in billions of operations."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 1e9


def memory(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The most memory of a process that trains, one row at a time."""
    found = []
    for name in rows_of(given):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            peak, before = pool.submit(peak_of, name, given.size, given.batch_size, given.regions).result()
        found.append({"net": name, "peak": peak, "before": before})
    return found


def peak_of(name: str, size: int, batch_size: int, regions: int, steps: int = 3) -> tuple[int, int]:
    """Bytes that a process took at most in some training steps, and what it had taken before; for a fresh process."""
    before = _largest()
    step = step_of(name, size, batch_size, regions)
    for _ in range(steps):
        step()
    return _largest(), before


def _largest() -> int:
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def report(result: Mapping[str, Any]) -> None:
    """Print the tables of the parts that were measured."""
    pictures = f"{result['batch_size']} pictures of {result['size']} pixels"
    for part, title in (("step", "Training step"), ("inference", "Inference")):
        if rows := result.get(part):
            show(
                f"{title}, {pictures}, {result['rounds']} rounds, medians",
                ("network", "s", "GFLOP a picture", "GFLOP/s", "× torchvision"),
                [
                    (
                        row["net"],
                        f"{row['seconds']:.3f}",
                        f"{row['gflops']:.1f}",
                        f"{row['gflops_per_second']:.0f}",
                        f"{row['times_torchvision']:.2f}",
                    )
                    for row in rows
                ],
            )
    if rows := result.get("memory"):
        show(
            f"Memory of a process that trains, {pictures}, MiB",
            ("network", "most", "before"),
            [(row["net"], f"{row['peak'] / MIB:,.0f}", f"{row['before'] / MIB:,.0f}") for row in rows],
        )


if __name__ == "__main__":
    in_sentences(main)
