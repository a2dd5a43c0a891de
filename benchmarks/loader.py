"""Loader speed: our engines and their peers on the same files, interleaved in one run.

    python -m benchmarks.loader --data FOLDER --json benchmarks/results/loader.json

Sources are the original files, 320-pixel copies (a prepared store for us, JPEGs for the peers' best case) and DICOM,
which the peers don't read. All draw the ancestor's augmentation (flips ½, rotation ±25°, area 0.4–1, aspect 0.5–1.5,
224 pixels), and every batch ends on the device. Ratios are against the ancestor's torchvision pipeline without
workers on the original files. The loop that one would write by hand knows nothing but pixels in memory: one warp a
picture, straight into the batch, in as many threads; no labels, failures or resumption. The floor is our CPU decoding
alone, at the reduced scales that the recipe's views allow and with the same threads.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.ancestor import ancestor_transform, dali_epoch, torchvision_epoch, v2_transform
from benchmarks.common import (
    in_sentences,
    interleaved,
    median_ratio,
    options,
    show,
    show_not_measured,
    write_json,
)
from benchmarks.engines import combinations, decoding_alone, devices, one_epoch, training_engine
from benchmarks.exact import difference, exact_pictures
from benchmarks.peers.task import SIZE
from benchmarks.sources import dicom_table, original_files, prepared_table, repeated, small_jpegs
from xraycls.data.open import open_image
from xraycls.data.table import SampleTable
from xraycls.errors import MissingExtra, XrayclsError
from xraycls.loaders.dali_engine import DaliLoader
from xraycls.loaders.dali_graph import is_installed
from xraycls.loaders.engine import Engine
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.sampler import Sampler

RECIPE = find_recipe("classic2021", SIZE)
BATCH = 30  # divides 120 files, so that no pipeline is charged for a last batch that is short or filled up
FILES, SMALL, PREPARED, DICOM = "original files", "320-px JPEG", "prepared", "DICOM"


class Row(NamedTuple):
    """What stands in a row of the table."""

    pipeline: str
    source: str
    device: str

    def __str__(self) -> str:
        return f"{self.pipeline} from {self.source} on {self.device}"


ANCESTOR = Row("ancestor, torchvision, 0 workers", FILES, "cpu")
FLOOR = Row("decoding alone (floor)", FILES, "cpu")
HAND = Row("hand-written loop, one warp a picture", PREPARED, "cpu")

Runs = dict[Row, Callable[[], int]]
Reasons = dict[str, str]


def main() -> None:
    """Run, print tables and write JSON."""
    parser = options(__doc__)
    parser.add_argument("--dicom", type=Path, help="folder of DICOM files; uncompressed phantoms when omitted")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto for both where there is a GPU")
    parser.add_argument("--sources", nargs="+", choices=(FILES, SMALL, PREPARED, DICOM), help="rows; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--images", type=int, help="an epoch, by repeating the files; as many as there are by default")
    parser.add_argument("--compared", type=int, default=40, help="pictures compared with an exact rendering")
    parser.set_defaults(threads=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measured(given, devices(given.device), Path(folder))
    report(result)
    write_json(given.json, result)


def measured(given: argparse.Namespace, places: Sequence[torch.device], work: Path) -> dict[str, Any]:
    """All figures, as they are written to JSON."""
    missing: Reasons = {}
    data, files = original_files(given.data, work)
    sources = {FILES: files, PREPARED: prepared_table(data, work)}
    small = small_jpegs(sources[PREPARED], work)
    try:
        sources[DICOM] = dicom_table(given.dicom, work)
    except XrayclsError as error:
        missing[DICOM] = str(error)
    images = -(-(given.images or len(files)) // given.batch_size) * given.batch_size
    epochs = {name: table.with_samples(repeated(table, images)) for name, table in sources.items()}
    paths = {FILES: [sample.path for sample in epochs[FILES]], SMALL: repeated(small, images)}
    engines = our_engines(epochs, places, given, missing)
    runs: Runs = {
        **torchvision_runs(paths, len(files), places[-1], given),
        **dali_runs(paths, places, given, missing),
        FLOOR: floor(epochs[FILES], given.threads),
        HAND: hand_written_loop(epochs[PREPARED], given.batch_size, given.threads),
        **{row: partial(one_epoch, loader, place) for row, (loader, place) in engines.items()},
    }
    if given.sources:
        runs = {row: run for row, run in runs.items() if row.source in given.sources or row in (ANCESTOR, FLOOR, HAND)}
    rates = interleaved(runs, given.rounds)
    return {
        "files": len(files),
        "images": images,
        "batch_size": given.batch_size,
        "threads": given.threads,
        "rounds": given.rounds,
        "rows": [figures(row, rates) for row in runs],
        "difference": differences(engines, epochs[FILES], min(given.compared, images)),
        "not_measured": missing,
    }


def torchvision_runs(
    paths: Mapping[str, list[Path]], files: int, place: torch.device, given: argparse.Namespace
) -> Runs:
    """The ancestor's pipeline and torchvision's second API. Without workers an epoch's length costs nothing: one
    pass over the files is enough."""

    def epoch(source: str, transform: Callable[..., torch.Tensor], workers: int) -> Callable[[], int]:
        chosen = paths[source] if workers else paths[source][:files]
        return torchvision_epoch(chosen, transform, batch_size=given.batch_size, workers=workers, place=place)

    workers = given.threads
    with_workers = f"ancestor, torchvision, {workers} workers"
    return {
        ANCESTOR: epoch(FILES, ancestor_transform(), 0),
        Row(with_workers, FILES, "cpu"): epoch(FILES, ancestor_transform(), workers),
        Row(f"torchvision v2, {workers} workers", FILES, "cpu"): epoch(FILES, v2_transform(), workers),
        Row(ANCESTOR.pipeline, SMALL, "cpu"): epoch(SMALL, ancestor_transform(), 0),
        Row(with_workers, SMALL, "cpu"): epoch(SMALL, ancestor_transform(), workers),
    }


def dali_runs(
    paths: Mapping[str, list[Path]], places: Sequence[torch.device], given: argparse.Namespace, missing: Reasons
) -> Runs:
    """The ancestor's DALI graph on every device."""
    rows = {Row("ancestor, DALI graph", source, place.type): place for source in paths for place in places}
    if not is_installed():
        missing.update(dict.fromkeys(map(str, rows), str(MissingExtra("NVIDIA DALI", "dali"))))
        return {}
    return {
        row: dali_epoch(paths[row.source], batch_size=given.batch_size, threads=given.threads, place=place)
        for row, place in rows.items()
    }


def our_engines(
    epochs: Mapping[str, SampleTable], places: Sequence[torch.device], given: argparse.Namespace, missing: Reasons
) -> dict[Row, tuple[Engine, torch.device]]:
    """Every engine that works here; the others go to ``missing`` with the reason."""
    found = {}
    for engine, source, place in combinations(epochs, places):
        row = Row(f"xraycls {engine}", source, place.type)
        try:
            loader = training_engine(engine, epochs[source], RECIPE, place, given.batch_size, given.threads)
            found[row] = (loader, place)
        except XrayclsError as error:
            missing[str(row)] = str(error)
            continue
        if isinstance(loader, DaliLoader) and loader.draws_here and source in (FILES, PREPARED):
            alone = Row("xraycls dali, all by DALI", source, place.type)
            sampler = Sampler(epochs[source].labels, given.batch_size, training=True)
            decoding = DaliLoader(
                epochs[source], RECIPE, sampler, device=place, threads=given.threads, draws_here=False
            )
            found[alone] = (decoding, place)
    return found


def floor(table: SampleTable, threads: int) -> Callable[[], int]:
    """Reading and decoding of the files for views of the recipe."""
    return decoding_alone(
        table, lambda index, image: RECIPE.training_view(0, 0, index, image.width, image.height), threads
    )


def hand_written_loop(table: SampleTable, batch_size: int, threads: int) -> Callable[[], int]:
    """The least that draws the recipe's views of prepared pictures: they lie in memory, and the threads are kept."""
    pictures = np.stack([open_image(sample).decode(1) for sample in table])
    height, width = pictures.shape[1:]
    sizes = np.tile((width, height), (len(pictures), 1))
    to_centres = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    pool = ThreadPoolExecutor(threads)
    cv2.setNumThreads(1)

    def drawn(order: npt.NDArray[np.int64]) -> torch.Tensor:
        images = np.empty((len(order), 1, SIZE, SIZE), np.uint8)
        matrices = RECIPE.training_views(0, 0, 0, sizes[order]).matrices @ to_centres
        matrices[:, :, 2] -= 0.5
        for row, index in enumerate(order):
            cv2.warpAffine(
                pictures[index],
                matrices[row],
                (SIZE, SIZE),
                dst=images[row, 0],
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
        return torch.from_numpy(images)

    def epoch() -> int:
        order = np.random.default_rng(0).permutation(len(pictures))
        batches = pool.map(drawn, np.split(order, range(batch_size, len(order), batch_size)))
        return sum(len(images) for images in batches)

    return epoch


def figures(row: Row, rates: Mapping[Row, list[float]]) -> dict[str, Any]:
    """A row's medians; the share of the floor where its time goes into decoding the same files on the CPU."""
    decodes = row.source == FILES and row.device == "cpu"
    return {
        **row._asdict(),
        "images_per_second": statistics.median(rates[row]),
        "times_ancestor": median_ratio(rates[row], rates[ANCESTOR]),
        "share_of_floor": median_ratio(rates[row], rates[FLOOR]) if decodes else None,
        "times_hand_written": median_ratio(rates[row], rates[HAND]) if row.source == PREPARED else None,
    }


def differences(
    engines: Mapping[Row, tuple[Engine, torch.device]], files: SampleTable, count: int
) -> list[dict[str, Any]]:
    """How the pictures of our engines differ from exact ones of the original files; DICOM shows other patients."""
    compared = {row: loader for row, (loader, _) in engines.items() if row.source in (FILES, PREPARED)}
    if not count or not compared:
        return []
    exact = exact_pictures(next(iter(compared.values())), files, count)
    return [{**row._asdict(), **difference(loader, exact)} for row, loader in compared.items()]


def report(result: Mapping[str, Any]) -> None:
    """Print the tables."""
    show(
        f"{result['files']} files, epochs of {result['images']} images, {result['threads']} threads, "
        f"{result['rounds']} rounds, medians",
        ("pipeline", "source", "device", "images/s", "× ancestor", "of floor", "× by hand"),
        [
            (
                row["pipeline"],
                row["source"],
                row["device"],
                f"{row['images_per_second']:,.0f}",
                f"{row['times_ancestor']:.2f}",
                f"{row['share_of_floor']:.0%}" if row["share_of_floor"] else "",
                f"{row['times_hand_written']:.2f}" if row["times_hand_written"] else "",
            )
            for row in result["rows"]
        ],
    )
    if result["difference"]:
        show(
            "Difference from an exact rendering, grey levels",
            ("pipeline", "source", "device", "mean", "worst picture", "signed mean"),
            [
                (d["pipeline"], d["source"], d["device"], f"{d['mean']:.2f}", f"{d['worst']:.2f}", f"{d['bias']:+.3f}")
                for d in result["difference"]
            ],
        )
    show_not_measured(result["not_measured"])


if __name__ == "__main__":
    in_sentences(main)
