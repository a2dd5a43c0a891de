"""How each network of ``benchmarks.real_boxes`` is trained, and what it finds in the films that it is tested on.

All settings were fixed before any film was tested. A training that was interrupted goes on where it stopped, and a
network whose detections are there is neither trained nor asked again. A network may learn from films of other patients
first, once for all cells. What is found in a film and in its mirror image is fused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_films import Films
from xraycls.cli.tao_printer import TaoPrinter
from xraycls.data.files import atomic_write
from xraycls.data.headers import header_of
from xraycls.data.open import read_grey
from xraycls.data.sheet import Pixels
from xraycls.errors import DataError
from xraycls.inference.fusion import weighted_boxes_fusion
from xraycls.progress import TrainingProgress
from xraycls.training.run_folder import RunFolder
from xraycls.types import Detections
from xraycls.workflows.detect import detect
from xraycls.workflows.detection.train import DetectionTraining, train_detector
from xraycls.workflows.unet.folds import pool_folds

TITLES: Mapping[str, str] = {"ssd": "SSD", "yolo_v4": "YOLOv4", "faster_rcnn": "Faster R-CNN"}

LEAST = 0.01
"""The score from which a box counts."""

COMMON: Mapping[str, Any] = {
    "optimizer": {"name": "adamw", "weight_decay": 0.05},
    "rate": {"kind": "schedule", "name": "cosine", "base": 5e-4, "warmup_epochs": 1.0},
    "loop": {"ema": 0.99, "clip_norm": 10.0},
    "batch_size": 4,
    "tensorboard": False,
    "checkpoint_every": 1000,
}
"""What a network has that says nothing else."""

MONITOR = {"monitor": "train_loss", "higher_is_better": False}
"""No film is left to validate with."""

NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "ssd": {
        "fill": 0,
        "detector": {
            "suppression": {"confidence": LEAST, "iou": 0.6, "top_k": 200},
            "anchors": {"scales": [0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85]},
            "loss": {"box_weight": 0.8, "focal": [0.25, 2.0]},
        },
        "recipe": {
            "kind": "tlt2",
            "zoom": [1 / 1.8, 1 / 0.7],
            "shift": [8.0, 8.0],
            "contrast": 0.1,
            "smallest": [1.0, 1.0],
        },
        "optimizer": {"name": "sgd", "options": {"momentum": 0.9, "nesterov": False}},
        "rate": {
            "kind": "soft_start_annealing",
            "lowest": 5e-5,
            "highest": 2e-2,
            "soft_start": 0.15,
            "annealing": 0.8,
        },
        "regularizer": {"kind": "L1", "weight": 3e-5},
        "freeze_blocks": [0],
        "batch_size": 16,
        "loop": {"seed": 42},
    },
    "yolo_v4": {
        "fill": None,
        "detector": {"loss": {"box_weight": 5.0, "background_weight": 5.0}},
        "recipe": {"kind": "yolo_v4", "jitter": 0.2, "mosaic": 0.3, "mosaic_min_ratio": 0.3},
    },
    "faster_rcnn": {
        "fill": 0,
        "detector": {
            "scales": [13.0, 19.0, 29.0, 43.0, 64.0],
            "scaling": 57.6,
            "pool_size": 4,
            "loss": {
                "rpn_positive": 0.5,
                "rpn_batch": 32,
                "roi_batch": 32,
                "gt_as_roi": True,
                "proposals": {"candidates": 2000, "count": 300, "iou": 0.7},
            },
            "proposals": {"candidates": 1000, "count": 64, "iou": 0.7},
        },
        "recipe": {"kind": "detectnet", "zoom": [0.8, 1.2], "shift": [8, 8], "contrast": 0.2},
    },
}
"""What differs; ``fill`` is the grey level around a picture, None for its mean.

SSD has the settings of examples/siim_ssd/train.txt, by which it was measured first. The anchors of Faster R-CNN are
those of an input of 128 pixels and grow with it. A film has one anchor in four hundred that overlaps an object by
TAO's 0.7: with 256 anchors a film the first stage still proposed the same regions of every film after a thousand steps,
so 0.5 is enough here, and 32 anchors count. The statistics of batch normalisation follow the training, unlike TAO's:
with those of the classifier nearly all of the second stage's last features were zero after so few and so large steps.
Both were seen on films of the first training.
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One network, trained on all parts but one, and what it finds in that one.

    Attributes:
        network: a key of ``NETWORKS``.
        part: that is tested.
        folder: for results.
    """

    network: str
    part: str
    folder: Path

    @property
    def results(self) -> Path:
        """What was found, as JSON; absent until then."""
        return self.folder / self.network / f"{self.part}.json"


@dataclass(frozen=True, slots=True)
class Training:
    """Size and length of all trainings.

    Attributes:
        backbone: of every network.
        size: of the input, pixels.
        epochs: by network.
        start: weights of a classifier for the backbone; None for random ones.
        threads: decoding threads.
    """

    backbone: str
    size: int
    epochs: Mapping[str, int]
    start: Path | None
    threads: int | None = None


def learn_first(network: str, others: Films, settings: Training, folder: Path) -> Training:
    """Train a network on all films of other patients unless that is done; returns settings that start from it."""
    cell = Cell(network, "first", folder)
    if not cell.results.is_file():
        started = time.process_time()
        _train(cell, others, settings)
        _keep(cell, started)
    return replace(settings, start=_run_folder(cell).last)


def run(cell: Cell, films: Films, settings: Training) -> None:
    """Train and test a cell unless its results are there."""
    if cell.results.is_file():
        return
    started = time.process_time()
    model = _train(cell, films, settings).model
    tested = films.parts[cell.part]
    pictures = [read_grey(film.path) for film in tested]
    as_they_are = found_in(model, pictures, settings.threads)
    mirrored = found_in(model, [picture[:, ::-1] for picture in pictures], settings.threads)
    detections = {}
    for film, picture, one, other in zip(tested, pictures, as_they_are, mirrored, strict=True):
        found = fused_with_mirrored(one, other, picture.shape[1])
        detections[film.path.stem] = {
            "boxes": np.round(found.boxes, 2).tolist(),
            "labels": found.labels.tolist(),
            "scores": np.round(found.scores, 4).tolist(),
        }
    _keep(cell, started, detections=detections)


def found_in(model: Path, pictures: Sequence[Pixels], threads: int | None) -> list[Detections]:
    """What a network finds in pictures [H, W] with a score of ``LEAST`` or more."""
    results, _ = detect(model, pictures, threshold=LEAST, threads=threads)
    return [result.output for result in results if result.output is not None]


def fused_with_mirrored(found: Detections, mirrored: Detections, width: int) -> Detections:
    """Returns what was found in a picture of some width and in its mirror image as one set, in the picture's pixels."""
    boxes = mirrored.boxes.copy()
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]  # left and right change places
    return weighted_boxes_fusion([found, replace(mirrored, boxes=boxes)])


def minutes_of(cell: Cell) -> float:
    """CPU minutes that a finished cell took."""
    return float(json.loads(cell.results.read_text())["cpu_minutes"])


def _run_folder(cell: Cell) -> RunFolder:
    return RunFolder(cell.folder / cell.network / cell.part)


def _train(cell: Cell, films: Films, settings: Training) -> DetectionTraining:
    with TrainingProgress() as reporter:
        return train_detector(
            **job(cell, films, settings),
            output=_run_folder(cell).path,
            resume=True,
            threads=settings.threads,
            reporter=TaoPrinter(reporter),
        )


def _keep(cell: Cell, started: float, **found: object) -> None:
    minutes = round((time.process_time() - started) / 60, 2)
    with atomic_write(cell.results) as temporary:
        temporary.write_text(json.dumps({"cpu_minutes": minutes, **found}))


def job(cell: Cell, films: Films, settings: Training) -> dict[str, Any]:
    """Returns the settings of a training, as ``train_detector`` takes them."""
    own = NETWORKS[cell.network]
    detector = dict(own.get("detector", {}))
    if scales := detector.get("scales"):
        detector["scales"] = [scale * settings.size / 128 for scale in scales]
    learned = [cell.folder / name for name in films.parts if name != cell.part]
    return {
        **COMMON,
        "detector": {
            "network": cell.network,
            "backbone": settings.backbone,
            "classes": list(films.classes),
            "width": settings.size,
            "height": settings.size,
            **detector,
        },
        "data": {
            "training": [{"labels": str(each / "labels"), "images": str(each / "images")} for each in learned],
            "val_fraction": 0.0,
        },
        **{name: value for name, value in own.items() if name not in ("detector", "fill")},
        "recipe": {**own["recipe"], "canvas": {"width": settings.size, "height": settings.size, "fill": own["fill"]}},
        "loop": {**MONITOR, **own.get("loop", COMMON["loop"]), "epochs": settings.epochs[cell.network]},
        "weights": None if settings.start is None else str(settings.start.resolve()),
    }


def read_detections(cell: Cell, films: Films) -> list[Detections]:
    """Returns what was found in each film of the tested part, in its order."""
    found = json.loads(cell.results.read_text())["detections"]
    return [Detections.of(**found[film.path.stem]) for film in films.parts[cell.part]]


def read_unet(folder: Path, films: Films) -> list[Detections]:
    """Returns what a finished seed of ``benchmarks.unet`` finds in each tested film, in pixels of the film here.

    The folds are drawn by the seed, and of each the network counts that didn't learn from the film.

    Raises:
        DataError: there are no folds, or they lack a film that is tested.
    """
    runs = [RunFolder(path) for path in sorted(folder.glob("fold-*"))]
    if not runs:
        raise DataError(
            f"There are no folds in {folder}", folder, "Name the folder of a seed, which holds fold-1, fold-2 …"
        )
    pooled = pool_folds(runs)
    found = {}
    for picture, each in zip(pooled.pictures, pooled.detections, strict=True):
        found[picture.path.stem] = (header_of(picture).width, each)
    if lacking := [film.path.stem for film in films.judged if film.path.stem not in found]:
        raise DataError(
            f"The U-Nets of {folder} were not asked about {lacking[0]}", folder, "Finish benchmarks.unet first"
        )
    scaled = []
    for film in films.judged:
        width, each = found[film.path.stem]
        scaled.append(replace(each, boxes=each.boxes * np.float32(header_of(film).width / width)))
    return scaled
