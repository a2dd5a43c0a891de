"""U-Net on phantoms in the layout of RSNA's challenge: what twenty epochs learn, and how fast new DICOMs are done.

    python -m benchmarks.unet_phantom

Training films, and the films of another seed that are tested, are drawn anew. The speed is that of
``xraycls unet predict`` on DICOM files of 1,024 pixels a side, with and without pictures, in rounds that take turns;
reading and decoding the same files alone is its floor. ``--dicoms FOLDER`` takes other files, ``--model FILE`` another
U-Net instead of training one, and ``--films 24 --epochs 1 --size 64 --new 8 --rounds 1`` is a quick try.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import in_sentences, show, write_json
from xraycls.data.folder import image_files
from xraycls.data.open import open_image
from xraycls.data.phantom import write_phantom
from xraycls.data.rsna_features import RsnaSources, write_rsna_features
from xraycls.evaluation.summary import format_estimate
from xraycls.progress import TrainingProgress
from xraycls.types import Sample
from xraycls.workflows.detection.evaluate import evaluate_detector
from xraycls.workflows.detection.train import train_detector
from xraycls.workflows.unet.predict import predict_boxes
from xraycls.workflows.unet.settings import Asked, unet_job

IMAGES, TABLE = "stage_2_train_images", "train.csv"
FIGURES = ("ap_sample", "ap_integrate", "froc_1", "froc_4", "rsna")
DICOM_SIDE = 1024  # pixels, of the challenge's films
FLOOR = "reading and decoding alone"


def main() -> None:
    """Train, test and time; print two tables and write JSON."""
    given = parsed()
    result: dict[str, Any] = {"settings": {name: getattr(given, name) for name in ("films", "size", "epochs", "seed")}}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = given.model or trained(given, work, result)
        new = given.dicoms or phantom(work / "new", given.new, DICOM_SIDE, given.seed + 2) / IMAGES
        how = {"device": given.device, "threads": given.threads}
        result["predict"] = speed(model, list(image_files(new)), work / "boxes", how, given.rounds)
    write_json(given.json, result)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=480, help="drawn for training, and half as many for the test")
    parser.add_argument("--side", type=int, default=256, help="mean width of these, pixels")
    parser.add_argument("--size", type=int, default=192, help="of the network's input, pixels")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--start", type=Path, help="weights of a classifier for the backbone; random when omitted")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="a trained U-Net, whose speed alone is measured")
    parser.add_argument("--dicoms", type=Path, help="folder of films to be timed on")
    parser.add_argument("--new", type=int, default=60, help="DICOMs that are drawn for it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="that read and write; one a processor by default")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def phantom(folder: Path, films: int, side: int, seed: int) -> Path:
    """A phantom of the challenge with its features table; returns its folder."""
    write_phantom(folder, images=films, size=side, seed=seed, layout="rsna")
    write_rsna_features(RsnaSources.below(folder), folder)
    return folder


def trained(given: argparse.Namespace, work: Path, result: dict[str, Any]) -> Path:
    """The run folder of a U-Net trained on one phantom; prints its figures on another."""
    films = phantom(work / "films", given.films, given.side, given.seed)
    test = phantom(work / "test", max(given.films // 2, 6), given.side, given.seed + 1)
    asked = Asked(
        data=films / IMAGES,
        labels=films / TABLE,
        backbone=given.backbone,
        size=given.size,
        epochs=given.epochs,
        seed=given.seed,
        batch_size=8,
        val_fraction=0.2,
        weights=given.start and given.start.resolve(),
    )
    before = time.process_time()
    with TrainingProgress() as reporter:
        job, how = unet_job(asked), {"device": given.device, "threads": given.threads}
        run = train_detector(job, output=work / "run", reporter=reporter, **how).run
    seconds = time.process_time() - before
    report = evaluate_detector(run.path, test / TABLE, images=test / IMAGES, results=work / "results", **how).report
    rows = [[format_estimate(report.figures[name]) for name in FIGURES]]
    header = ("AP@0.5, 11 points", "AP, area", "FROC at 1", "at 4", "RSNA")
    title = f"{report.images} films of another seed, after {given.epochs} epochs at {given.size} pixels"
    show(f"{title}; {seconds:.0f} CPU seconds of training", header, rows)
    result.update(report=report.to_dict(), cpu_seconds=seconds)
    return run.path


def speed(model: Path, films: list[Path], output: Path, how: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Films a second and CPU milliseconds a film of predictions with and without pictures, and of the floor."""

    def predict(pictures: bool) -> None:
        predict_boxes(model, films[0].parent, output, pictures=pictures, **how)

    def read() -> None:
        for film in films:
            open_image(Sample(film)).pixels()

    ways: dict[str, Callable[[], None]] = {
        "predict --no-save-images": lambda: predict(False),
        "predict": lambda: predict(True),
        FLOOR: read,
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first warms up
        for name, way in ways.items():
            started, before = time.perf_counter(), cpu()
            way()
            if number:
                taken[name].append((time.perf_counter() - started, cpu() - before))
    kept = {
        name: {
            "films_per_second": len(films) / statistics.median(wall for wall, _ in each),
            "cpu_ms": 1000 * statistics.median(used for _, used in each) / len(films),
        }
        for name, each in taken.items()
    }
    rows = [(name, f"{one['films_per_second']:.1f}", f"{one['cpu_ms']:.1f}") for name, one in kept.items()]
    title = f"{len(films)} films, {rounds} rounds; loading the model counts"
    show(title, ("", "films/s", "CPU ms a film, all threads"), rows)
    return {"films": len(films), "ways": kept}


def cpu() -> float:
    """CPU seconds of this process so far."""
    used = os.times()
    return used.user + used.system


if __name__ == "__main__":
    in_sentences(main)
