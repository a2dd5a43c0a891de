"""Mosaics of YOLOv4: our engines against the mosaic of the ultralytics package on the same files.

The package is under the AGPL: it is installed into a folder of its own, runs in a process of its own, and is a peer in
this benchmark alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import interleaved, median_ratio
from benchmarks.detection_input import with_boxes
from benchmarks.engines import one_epoch
from benchmarks.sources import original_files, repeated
from xraycls.data.table import SampleTable
from xraycls.errors import XrayclsError
from xraycls.loaders.cache import picture_cache
from xraycls.loaders.choose import build_loader
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.recipes.yolo_v4 import YoloV4Recipe
from xraycls.loaders.torch_engine import TorchLoader
from xraycls.loaders.views import Canvas

PINS = (
    "ultralytics==8.4.190",
    "ultralytics-thop==2.2.3",
    "py-cpuinfo==9.0.0",
    "polars==2.1.0",
    "psutil==7.2.2",
    "pyyaml==6.0.4",
    "requests==2.34.2",
    "charset-normalizer==3.5.3",
    "idna==3.20",
    "urllib3==2.8.0",
    "certifi==2026.10.19.post1",
    "matplotlib==3.11.2",
)
"""What the peer needs beside torch, torchvision, NumPy and OpenCV, which it shares with us."""

PEERS = {f"{PINS[0].replace('==', ' ')}": "no", f"{PINS[0].replace('==', ' ')}, cache=ram": "ram"}
PEER = next(iter(PEERS))
SIZE = 320  # of the ancestor's YOLOv4, pixels
_FOLDER = Path("build") / PINS[0].replace("==", "-")


def mosaic_pipelines(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Pictures a second of mosaics on the CPU, as they are written to JSON.

    Every sample is a mosaic. Training keeps decoded pictures by default: ``first epoch`` decodes each of them once,
    ``kept`` are the epochs after it; ``files`` decodes each picture whenever it is wanted, four times an epoch.
    Processor time is that of all threads and processes: on a machine that does other things, too, it says more than
    the clock.
    """
    _, files = original_files(given.data, work)
    files = with_boxes(files)
    images = -(-given.images // given.batch_size) * given.batch_size
    table = files.with_samples(repeated(files, images))
    missing: dict[str, str] = {}
    spent: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        runs: dict[str, Callable[[], int]] = {}
        try:
            folder = yolo_folder(table, work / "yolo")
            packages = installed_peer(_FOLDER)
            for name, cache in PEERS.items():
                runs[name] = stack.enter_context(peer(packages, folder, given, cache, spent[name]))
        except (OSError, subprocess.CalledProcessError) as error:
            missing[PEER] = f"it can't be installed or started here ({error})"
        runs |= {name: metered(run, spent[name]) for name, run in ours(table, given, missing).items()}
        rates = interleaved(runs, given.rounds)
    return {
        "files": len(files),
        "size": SIZE,
        "images": images,
        "batch_size": given.batch_size,
        "threads": given.threads,
        "rounds": given.rounds,
        "rows": [
            {
                "pipeline": name,
                "images_per_second": statistics.median(rates[name]),
                "times_peer": median_ratio(rates[name], rates[PEER]) if PEER in rates else None,
                "processor_ms": 1000 * statistics.median(spent[name][1:]),
                "times_peer_processor": (
                    statistics.median(spent[PEER][1:]) / statistics.median(spent[name][1:]) if PEER in rates else None
                ),
            }
            for name in runs
        ],
        "not_measured": missing,
    }


def ours(table: SampleTable, given: argparse.Namespace, missing: dict[str, str]) -> Mapping[str, Callable[[], int]]:
    """Epochs of our engines on the CPU; those that don't work here go to ``missing`` with the reason."""
    runs: dict[str, Callable[[], int]] = {}
    recipe, cpu = YoloV4Recipe(Canvas(SIZE, SIZE, None), mosaic=1.0), torch.device("cpu")
    classes = tuple(sorted({box.label for sample in table for box in sample.boxes}))
    for engine in ("torch", "dali"):
        for name, value in (("files", "off"), ("kept", "auto")):
            cache = picture_cache(value, table, recipe.canvas)
            try:
                loader = build_loader(
                    table,
                    recipe,
                    engine=engine,
                    batch_size=given.batch_size,
                    training=True,
                    device=cpu,
                    threads=given.threads,
                    objects=ObjectTable(table, classes),
                    cache=cache,
                )
            except XrayclsError as error:
                missing[f"xraycls {engine}, {name}"] = str(error)
                continue
            runs[f"xraycls {engine}, {name}"] = partial(one_epoch, loader, cpu)
            if cache and isinstance(loader, TorchLoader):
                runs[f"xraycls {engine}, first epoch"] = partial(first_epoch, loader, cpu)
    return runs


def first_epoch(loader: TorchLoader, cpu: torch.device) -> int:
    """An epoch that has to decode every picture, and leaves the kept ones of other epochs alone."""
    kept = loader.cache
    loader.cache = picture_cache("auto", loader.table, loader.recipe.canvas)
    try:
        return one_epoch(loader, cpu)
    finally:
        loader.cache = kept


def metered(run: Callable[[], int], spent: list[float]) -> Callable[[], int]:
    """The same epoch, which notes its processor seconds a picture."""

    def epoch() -> int:
        before = time.process_time()
        count = run()
        spent.append((time.process_time() - before) / count)
        return count

    return epoch


def yolo_folder(table: SampleTable, folder: Path) -> Path:
    """Links to the files of a table, each under a name of its own, beside labels as YOLO has them."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number, sample in enumerate(table):
        (folder / "images" / f"{number:06d}{sample.path.suffix}").symlink_to(sample.path.resolve())
        (folder / "labels" / f"{number:06d}.txt").write_text("0 0.5 0.5 0.2 0.2\n")  # the pictures are what counts
    return folder


def installed_peer(folder: Path) -> Path:
    """Install the pinned packages into a folder, once; raises CalledProcessError."""
    if not folder.is_dir():
        program = ["uv", "pip"] if find_spec("uv") else ["pip"]
        with tempfile.TemporaryDirectory(dir=_made(folder.parent)) as part:
            target = Path(part) / "packages"
            command = [sys.executable, "-m", *program, "install", "--quiet", "--no-deps", "--target", str(target)]
            subprocess.run([*command, *PINS], check=True, capture_output=True, text=True)
            target.rename(folder)
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def peer(
    packages: Path, folder: Path, given: argparse.Namespace, cache: str, spent: list[float]
) -> Iterator[Callable[[], int]]:
    """An epoch of the peer, whose process lives until the end of the block; raises OSError where it doesn't start.

    Args:
        packages: of :func:`installed_peer`.
        folder: of :func:`yolo_folder`.
        given: batch size and processes.
        cache: "no" or "ram".
        spent: gets the processor seconds a picture of every epoch.
    """
    script = Path(__file__).with_name("mosaic_peer.py")
    settings = {"PYTHONPATH": str(packages.resolve()), "YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true"}
    words: Sequence[object] = (folder, SIZE, given.batch_size, given.threads, cache)
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **settings},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.strip() == "ready":
                break
        else:
            raise OSError(f"its process ended with {process.wait()}")
        inputs, outputs = process.stdin, process.stdout

        def epoch() -> int:
            inputs.write("\n")
            inputs.flush()
            count, seconds = next(line for line in outputs if line[:1].isdigit()).split()
            spent.append(float(seconds) / int(count))
            return int(count)

        yield epoch
    finally:
        process.stdin.close()
        process.wait()
