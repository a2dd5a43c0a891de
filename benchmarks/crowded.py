"""An epoch beside busy neighbours: ours, ours with OpenMP's spinning threads, and torchvision's own loader and loop.

    python -m benchmarks.crowded --neighbours 1 --json benchmarks/results/crowded.json

Each training is a process of its own that trains a ResNet-18 at 224 pixels from JPEGs, with the same number of threads.
After a first epoch that doesn't count, the trainings take turns, an epoch each, without and with neighbours, so that a
change of the machine hits all alike; who isn't on turn is stopped. Neighbours are processes that compute without a
pause. The load before each round is recorded.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.common import in_sentences, show, write_json
from xraycls.data.phantom import write_phantom
from xraycls.data.processors import available_processors
from xraycls.errors import XrayclsError
from xraycls.training.reporter import Silent

BATCH = 8
SPINNING = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "infinite"}
TRAININGS = ("ours", "ours, spinning", "torchvision")

# The policy of waiting is chosen before torch is imported, as the program does.
_CHILD = """
import sys
from xraycls.data.processors import wait_passively
if sys.argv[1].startswith("ours"):
    wait_passively()
from benchmarks import crowded
crowded.train(*sys.argv[1:])
"""


def main() -> None:
    """Run, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--neighbours", type=int, default=available_processors())
    parser.add_argument("--threads", type=int, default=2 * available_processors(), help="of every training")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    seconds: dict[tuple[str, bool], list[float]] = {(name, busy): [] for name in TRAININGS for busy in (False, True)}
    loads = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        write_phantom(Path(folder, "data"), images=given.images)
        begun = [running.enter_context(_training(n, Path(folder), given.threads, given.rounds)) for n in TRAININGS]
        for each in begun:
            epoch(each)
        for _ in range(given.rounds):
            loads.append(os.getloadavg()[0])
            for busy in (False, True):
                with _neighbours(given.neighbours if busy else 0):
                    for name, each in zip(TRAININGS, begun, strict=True):
                        seconds[name, busy].append(epoch(each))
    _report(given, seconds, loads)


def _report(given: argparse.Namespace, seconds: Mapping[tuple[str, bool], list[float]], loads: list[float]) -> None:
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
    where = f"{given.neighbours} neighbours and {given.threads} threads on {available_processors()} processors"
    header = ["training", "alone", "beside neighbours", "slower by", "speed of torchvision's"]
    show(f"Seconds an epoch, {where} ({load})", header, rows)
    found = [{"training": name, "neighbours": busy, "seconds": values} for (name, busy), values in seconds.items()]
    settings = {name: getattr(given, name) for name in ("images", "neighbours", "threads", "rounds")}
    write_json(given.json, {**settings, "loads": loads, "epochs": found})


@contextmanager
def _training(name: str, folder: Path, threads: int, rounds: int) -> Iterator[subprocess.Popen[str]]:
    """A process that trains an epoch a line on its standard input, and has been told of the first."""
    environment = {variable: value for variable, value in os.environ.items() if variable not in SPINNING}
    environment |= {"OMP_NUM_THREADS": str(threads)} | (SPINNING if "spinning" in name else {})
    command = [sys.executable, "-c", _CHILD, name, str(folder), str(threads), str(1 + 2 * rounds)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def epoch(process: subprocess.Popen[str]) -> float:
    """Seconds of one more epoch of a training, which is stopped before and afterwards."""
    os.killpg(process.pid, signal.SIGCONT)
    process.stdin.write("\n")
    process.stdin.flush()
    if not (line := process.stdout.readline()):
        raise XrayclsError("A training ended too early; see above")
    os.killpg(process.pid, signal.SIGSTOP)
    return float(line)


def train(name: str, folder: str, threads: str, epochs: str) -> None:
    """What the process of a training does: an epoch for each line that it reads, whose seconds it prints."""
    function = _train_torchvision if name == "torchvision" else _train_ours
    function(Path(folder), name, int(threads), int(epochs))


class _Turns(Silent):
    """Waits for its turn after each epoch."""

    def epoch(self, row: Mapping[str, float], improved: bool) -> None:
        """Tell what it took, and wait."""
        print(row["seconds"], flush=True)
        sys.stdin.readline()


def _train_ours(folder: Path, name: str, threads: int, epochs: int) -> None:
    import xraycls

    sys.stdin.readline()
    xraycls.train(
        data=folder / "data",
        output=folder / name,
        base_model="resnet18",
        weights="none",
        epochs=epochs,
        patience=epochs,
        batch_size=BATCH,
        cache="off",
        device="cpu",
        precision="fp32",
        loader="torch",
        threads=threads,
        reporter=_Turns(),
    )


def _train_torchvision(folder: Path, name: str, threads: int, epochs: int) -> None:
    """The loop that torchvision's reference scripts have, validation included."""
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
    loaders = {
        part: DataLoader(
            datasets.ImageFolder(str(folder / "data" / part), transform),
            BATCH,
            shuffle=part == "train",
            drop_last=part == "train",
            num_workers=threads,
            persistent_workers=True,
        )
        for part in ("train", "val")
    }
    net = models.resnet18(num_classes=2)
    optimizer, loss_of = torch.optim.Adam(net.parameters(), 1e-4), torch.nn.CrossEntropyLoss()
    for _ in range(epochs):
        sys.stdin.readline()
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
        print(time.perf_counter() - started, flush=True)


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
