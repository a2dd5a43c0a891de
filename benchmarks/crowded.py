"""An epoch beside busy neighbours: ours, ours with OpenMP's spinning threads, and torchvision's own loader and loop.

    python -m benchmarks.crowded --images 64 --neighbours 4 --json benchmarks/results/crowded.json

Each training is a program of its own that trains a ResNet-18 at 224 pixels from JPEGs for two epochs, of which the
second is timed. Neighbours are processes that compute without a pause. Trainings take turns, without and with
neighbours, so that a change of the machine hits all alike; the load before each round is recorded.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.common import in_sentences, machine, show, write_json
from xraycls.data.phantom import write_phantom
from xraycls.data.processors import available_processors

BATCH = 16
SPINNING = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "infinite"}
TRAININGS = ("ours", "ours, spinning", "torchvision")


def main() -> None:
    """Run, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--neighbours", type=int, default=2 * available_processors())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--torchvision", type=Path, help=argparse.SUPPRESS)  # train on this folder, and print seconds
    given = parser.parse_args()
    if given.torchvision:
        print(_torchvision_epoch(given.torchvision))
        return
    seconds: dict[tuple[str, bool], list[float]] = {(name, busy): [] for name in TRAININGS for busy in (False, True)}
    loads = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        write_phantom(data, images=given.images)
        for number in range(given.rounds):
            loads.append(os.getloadavg()[0])
            for name, busy in seconds:
                with _neighbours(given.neighbours if busy else 0):
                    seconds[name, busy].append(_seconds(name, data, Path(folder, f"{name}-{busy}-{number}")))
    middle = {key: statistics.median(values) for key, values in seconds.items()}
    rows = [
        [
            name,
            f"{middle[name, False]:.1f}",
            f"{middle[name, True]:.1f}",
            f"{middle[name, True] / middle[name, False]:.1f} ×",
            f"{middle['torchvision', True] / middle[name, True]:.2f} ×",
        ]
        for name in TRAININGS
    ]
    load = f"load before the rounds {', '.join(f'{each:.1f}' for each in loads)}"
    show(
        f"Seconds an epoch, {given.neighbours} neighbours on {available_processors()} processors ({load})",
        ["training", "alone", "beside neighbours", "slower by", "speed of torchvision's"],
        rows,
    )
    if given.json:
        found = [{"training": name, "neighbours": busy, "seconds": values} for (name, busy), values in seconds.items()]
        write_json(given.json, {"machine": machine(), "neighbours": given.neighbours, "loads": loads, "epochs": found})


def _seconds(name: str, data: Path, run: Path) -> float:
    if name == "torchvision":
        command = [sys.executable, "-m", "benchmarks.crowded", "--torchvision", str(data)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout.split()[-1])
    environment = {name: value for name, value in os.environ.items() if name not in SPINNING}
    environment |= SPINNING if "spinning" in name else {}
    settings = f"--base-model resnet18 --weights none --epochs 2 --batch-size {BATCH} --cache off --device cpu"
    command = [sys.executable, "-m", "xraycls", "train", "--data", str(data), "-o", str(run), *settings.split()]
    subprocess.run([*command, "--precision", "fp32"], check=True, capture_output=True, env=environment)
    with (run / "metrics.csv").open(newline="") as file:
        return float(list(csv.DictReader(file))[-1]["seconds"])


def _torchvision_epoch(data: Path) -> float:
    """Seconds of the second epoch of the loop that torchvision's reference scripts have, validation included."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision import datasets, models, transforms

    transform = transforms.Compose(
        [
            transforms.Grayscale(3),
            transforms.RandomResizedCrop(224, scale=(0.4, 1)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )
    parts = {name: datasets.ImageFolder(str(data / name), transform) for name in ("train", "val")}
    workers = available_processors()
    loaders = {n: DataLoader(part, BATCH, shuffle=n == "train", num_workers=workers) for n, part in parts.items()}
    net = models.resnet18(num_classes=2)
    optimizer, loss_of = torch.optim.Adam(net.parameters(), 1e-4), torch.nn.CrossEntropyLoss()
    started = 0.0
    for _ in range(2):
        started = time.perf_counter()
        net.train()
        for images, labels in loaders["train"]:
            optimizer.zero_grad(set_to_none=True)
            loss_of(net(images), labels).backward()
            optimizer.step()
        net.eval()
        with torch.inference_mode():
            for images, _ in loaders["val"]:
                net(images)
    return time.perf_counter() - started


@contextmanager
def _neighbours(count: int) -> Iterator[None]:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


if __name__ == "__main__":
    in_sentences(main)
