"""Loader speed on real files: the ancestor's torchvision pipeline, torchvision v2, and ours, interleaved in one run.

    python -m benchmarks.loader --data FOLDER --json benchmarks/results/loader.json

All pipelines draw the ancestor's augmentation (flips ½, rotation ±25°, area 0.4–1, aspect 0.5–1.5, 224 pixels) from
the same files. The floor is our engine's decoding alone, at the reduced scales that the recipe's views allow and with
the same threads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import v2

import xraycls
from benchmarks.common import interleaved, median_ratio, show, write_json
from benchmarks.exact import exact_rendering
from xraycls.data.image import open_image
from xraycls.data.phantom import phantom_table
from xraycls.data.source import read_table
from xraycls.data.table import SampleTable
from xraycls.loaders.choose import build_loader
from xraycls.loaders.recipe import find_recipe
from xraycls.loaders.render import render, scale_of_decoding

SIZE = 224
BATCH = 30  # divides 120 files, so that no pipeline is charged for a last batch that is short or filled up
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ANCESTOR = "ancestor, torchvision, 0 workers"
OURS = "xraycls torch engine"
FLOOR = "decoding alone (floor)"


class Files(Dataset[torch.Tensor]):
    """A folder as the ancestor read it: Pillow, RGB, one transform."""

    def __init__(self, table: SampleTable, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths = [s.path for s in table]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB"))


def ancestor_transform() -> Callable[[Image.Image], torch.Tensor]:
    """The ancestor's transforms, with torchvision's defaults."""
    return transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(25),
            transforms.RandomResizedCrop(SIZE, scale=(0.4, 1.0), ratio=(0.5, 1.5)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def v2_transform() -> Callable[[Image.Image], torch.Tensor]:
    """The same with torchvision's second API, on uint8 tensors."""
    return v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomRotation(25),
            v2.RandomResizedCrop(SIZE, scale=(0.4, 1.0), ratio=(0.5, 1.5), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def reference(table: SampleTable, transform: Callable[[Image.Image], torch.Tensor], workers: int) -> Callable[[], int]:
    """One epoch of a torchvision pipeline; worker processes stay alive between epochs."""
    loader = DataLoader(
        Files(table, transform), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: sum(len(batch) for batch in loader)


def ours(table: SampleTable, threads: int) -> Callable[[], int]:
    """One epoch of our engine."""
    loader = build_loader(
        table,
        find_recipe("classic2021", SIZE),
        batch_size=BATCH,
        training=True,
        device=torch.device("cpu"),
        threads=threads,
    )
    return lambda: sum(int(batch.weights.sum()) for batch in loader)


def floor(table: SampleTable, threads: int) -> Callable[[], int]:
    """Reading and decoding of the same files at the scales that our engine picks for views of the same recipe."""
    recipe = find_recipe("classic2021", SIZE)

    def decode(index: int) -> None:
        image = open_image(table[index])
        view = recipe.training_view(0, 0, index, image.width, image.height)
        image.decode(scale_of_decoding(image, view))

    def run() -> int:
        cv2.setNumThreads(1)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, range(len(table))))
        return len(table)

    return run


def pixel_difference(table: SampleTable, images: int) -> tuple[float, float]:
    """Mean absolute difference from the exact rendering over training views, and the largest of any image."""
    recipe = find_recipe("classic2021", SIZE)
    differences = []
    for position, sample in enumerate(islice(table, images)):
        image = open_image(sample)
        view = recipe.training_view(0, 0, position, image.width, image.height)
        exact = exact_rendering(sample.path, view, SIZE)
        differences.append(float(np.abs(render(image, view, SIZE) - exact).mean()))
    return statistics.mean(differences), max(differences)


def waiting_share(data: Path | None, threads: int) -> float:
    """Share of its time that a ResNet-18 waits for our engine in its second epoch on the same files."""
    with tempfile.TemporaryDirectory() as folder:
        result = xraycls.train(
            data=data,
            output=Path(folder) / "run",
            base_model="resnet18",
            weights="none",
            augment="classic2021",
            epochs=2,
            batch_size=BATCH,
            threads=threads,
        )
    return result.outcome.rows[-1]["waiting"]


def main() -> None:
    """Run, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="image folder; synthetic phantoms when omitted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    table = read_table(given.data) if given.data else phantom_table()
    runs = {
        ANCESTOR: reference(table, ancestor_transform(), 0),
        f"ancestor, torchvision, {given.threads} workers": reference(table, ancestor_transform(), given.threads),
        f"torchvision v2, {given.threads} workers": reference(table, v2_transform(), given.threads),
        OURS: ours(table, given.threads),
        FLOOR: floor(table, given.threads),
    }
    rates = interleaved(runs, given.rounds)
    result = {
        name: {
            "images_per_second": statistics.median(rate),
            "times_ancestor": median_ratio(rate, rates[ANCESTOR]),
            "share_of_floor": median_ratio(rate, rates[FLOOR]),
        }
        for name, rate in rates.items()
    }
    rows = [
        (
            name,
            f"{r['images_per_second']:,.0f}",
            f"{r['times_ancestor']:.2f} ×",
            f"{r['share_of_floor']:.0%}",
        )
        for name, r in result.items()
    ]
    show(f"{len(table)} files, {given.rounds} rounds, medians", ("pipeline", "images/s", "ancestor", "of floor"), rows)
    mean, worst = pixel_difference(table, 60)
    waits = waiting_share(given.data, given.threads)
    print(f"Difference from an exact rendering: mean {mean:.2f} grey levels, worst image {worst:.2f}.")
    print(f"A ResNet-18 in training waits for the loader {waits:.1%} of the time.")
    write_json(
        given.json,
        {"files": len(table), "pipelines": result, "difference": {"mean": mean, "worst": worst}, "waiting": waits},
    )


if __name__ == "__main__":
    main()
