"""A detector from training to 8 bits: train, prune, retrain with simulated rounding, export; mean AP at every step.

    python -m benchmarks.qat --network ssd --json benchmarks/results/qat.json

The pictures are phantoms with one or two bright plates on each, which a small detector learns in minutes. Half of those
that it isn't trained on choose nothing and are looked at once, by the last table: fp32 without quantisers, what the
training simulated, and the exported file in 8 bits in onnxruntime, of the same weights.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import xraycls
from benchmarks.common import in_sentences, show, write_json
from xraycls.data.phantom import draw_radiograph
from xraycls.workflows.detection.prune import prune_detector

PLATES = (0.30, 0.45)  # sides of a plate, shares of the film's width
RATE = {"kind": "schedule", "name": "cosine", "warmup_epochs": 1.0}
COMMON: dict[str, Any] = {
    "optimizer": {"name": "adamw", "weight_decay": 0.01},
    "regularizer": {"kind": "NO_REG", "weight": 0.0},
    "tensorboard": False,
    "checkpoint_every": 1000,
}


def main() -> None:
    """Train, prune, retrain, export, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("ssd", "yolo_v4"), default="ssd")
    parser.add_argument("--backbone", default="resnet10")
    parser.add_argument("--size", type=int, default=64, help="of the input, pixels")
    parser.add_argument("--films", type=int, default=160, help="to train on; a third as many are validated with")
    parser.add_argument("--epochs", type=int, nargs=2, default=(32, 8), help="of the training and the retraining")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of the training; half for the other")
    parser.add_argument("--threshold", type=float, default=0.8, help="of pruning")
    parser.add_argument("--output", type=Path, help="keep the runs here; a temporary folder when omitted")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = walk(given, given.output or Path(temporary))
    show(f"{given.network}, {given.size} pixels", ("step", "mean AP at IoU 0.5"), list(rows(result)))
    settings = {name: value for name, value in vars(given).items() if name not in ("output", "json")}
    write_json(given.json, {"settings": settings, **result})


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of the table."""
    share = result["parameters"][1] / result["parameters"][0]
    names = {
        "trained": "trained, fp32",
        "pruned": f"pruned to {share:.0%} of the parameters, not retrained",
        "retrained": "retrained with simulated rounding, as it rounds",
        "fp32": "the same weights in fp32, exported",
        "int8": "in 8 bits, exported",
        "calibrated": "in 8 bits, ranges by calibration instead",
    }
    return [(label, f"{result['mAP'][name]:.4f}") for name, label in names.items()]


def walk(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns mean AP by step, and the parameters before and after pruning."""
    for part, count, seed in (("train", given.films, 1), ("valid", given.films // 3, 2)):
        draw(folder / "films" / part, count, seed, given.size * 3 // 2)
    trained = train(given, folder, "trained", given.epochs[0], given.rate)
    pruned, report = prune_detector(
        trained.model, folder / "pruned" / "model.safetensors", threshold=given.threshold, min_filters=8
    )
    again = train(given, folder, "retrained", given.epochs[1], given.rate / 2, weights=str(pruned), qat=True)
    done = xraycls.export_model(again.run.path, folder / "exported", precision="int8")
    calibrated = xraycls.export_model(
        again.run.path,
        folder / "calibrated",
        precision="int8",
        calibration=folder / "films" / "train",
        calibration_images=given.films,
    )
    found = {
        "trained": judged(trained.model, folder),
        "pruned": judged(pruned, folder),
        "retrained": judged(again.model, folder),
        "fp32": done.file.figures["fp32"],
        "int8": done.file.figures["int8"],
        "calibrated": calibrated.file.figures["int8"],
    }
    return {"mAP": found, "parameters": [report.before, report.after], "images": done.file.figures["images"]}


def train(
    given: argparse.Namespace, folder: Path, name: str, epochs: int, rate: float, **settings: Any
) -> xraycls.workflows.detection.train.DetectionTraining:  # type: ignore[name-defined]
    """Train on the films of a folder into a run below it."""
    with xraycls.TrainingProgress() as reporter:
        return xraycls.train_detector(
            output=folder / name,
            device="cpu",
            precision="fp32",
            reporter=reporter,
            detector={
                "network": given.network,
                "backbone": given.backbone,
                "width": given.size,
                "height": given.size,
                "mean": (117.3786,),
            },
            data={
                "training": [str(folder / "films" / "train")],
                "validation": [str(folder / "films" / "valid")],
            },
            batch_size=8,
            rate=RATE | {"base": rate},
            loop={"epochs": epochs, "clip_norm": 10.0, "validate_every": max(epochs // 4, 1)},
            **COMMON,
            **settings,
        )


def judged(model: Path, folder: Path) -> float:
    """Mean AP of a model in torch on the validation films."""
    report = xraycls.evaluate_detector(
        model, folder / "films" / "valid", results=folder / "judged" / model.parent.name, device="cpu", precision="fp32"
    )
    return float(report.average.mean)


def draw(folder: Path, count: int, seed: int, size: int) -> None:
    """Write films with plates, and their boxes as KITTI labels."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        film = draw_radiograph(seed, number + 1, 1, pneumonia=bool(number % 2), size=size).grey(8)
        lines = []
        for left, top, right, bottom in plates(rng, *film.shape):
            cv2.rectangle(film, (left, top), (right, bottom), int(rng.integers(225, 250)), -1)
            cv2.rectangle(film, (left, top), (right, bottom), 30, 2)
            lines.append(f"plate 0 0 0 {left} {top} {right + 1} {bottom + 1} 0 0 0 0 0 0 0\n")
        cv2.imwrite(str(folder / "images" / f"film{number:04d}.png"), film)
        (folder / "labels" / f"film{number:04d}.txt").write_text("".join(lines))


def plates(rng: np.random.Generator, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Returns the corners of a plate in the upper half, in the lower half, or in both."""
    found = []
    for half in ((0,), (1,), (0, 1))[int(rng.integers(3))]:
        across, down = (int(rng.uniform(*PLATES) * width) for _ in range(2))
        left = int(rng.integers(2, width - across - 2))
        top = half * (height // 2) + int(rng.integers(2, max(height // 2 - down - 2, 3)))
        found.append((left, top, left + across, min(top + down, height - 3)))
    return found


if __name__ == "__main__":
    in_sentences(main)
