"""Validation of a detector by two processes gives the figures that one gives."""

import json
import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.multiprocessing

from tests.models.detectors import small_detector
from xraycls.data.table import SampleTable
from xraycls.inference.detection import TrainedDetector
from xraycls.inference.predictor import Predictor
from xraycls.loaders.choose import build_loader
from xraycls.loaders.objects import ObjectTable
from xraycls.models.detection.base import Suppression
from xraycls.training.detection import Detection, Regularizer
from xraycls.training.distributed import World, joined
from xraycls.training.job import EvaluationConfig
from xraycls.types import Box, Sample
from xraycls.workflows.detection.evaluator import Evaluator

CPU = torch.device("cpu")
CLASSES = ("nodule", "opacity")
PICTURES = 7  # which two processes share unevenly
UNREADABLE = 3
SUPPRESSION = Suppression(0.005, 0.6, 50)


def table_of(folder: Path) -> SampleTable:
    """The pictures; objects lie where the detector is surest in every other of them, and elsewhere in the others."""
    surest, samples = json.loads((folder / "surest.json").read_text()), []
    for number in range(PICTURES):
        label, corners = surest.get(str(number), (0, [0, 0, 40, 40]))
        corners = corners if number % 4 < 2 else [0, 0, 9, 9]
        samples.append(Sample(folder / f"{number}.png", 1, boxes=(Box(CLASSES[label], *corners),)))
    return SampleTable(tuple(samples), ("NEGATIVE", "POSITIVE"), folder, "boxes")


def surest_of(detector, folder: Path) -> dict[str, tuple[int, list[float]]]:
    """The label and the corners, in pixels of the picture, of the best detection in every picture."""
    trained = TrainedDetector(detector, detector.evaluation_recipe(), folder)
    results = Predictor(model=trained, precision="fp32", threads=1)(folder)
    found = {result.sample.path.stem: result.output for result in results if result.output}
    return {name: (int(each.labels[0]), each.boxes[0].clip(0, 70).tolist()) for name, each in found.items()}


def validate(rank: int, processes: int, folder: Path) -> None:
    """What each process of a training does after an epoch; every one writes the figures that it has got."""
    world, table = World(rank, processes, rank), table_of(folder)
    if processes > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes)}
    detector = small_detector(suppression=SUPPRESSION)
    recipe = detector.evaluation_recipe()
    evaluator = Evaluator.of(table, CLASSES, recipe, EvaluationConfig(iou=0.2), 0.005)

    def figures(detections, proposals):
        rows = sorted(detections)
        scores, boxes = ([float(getattr(detections[row], name).sum()) for row in rows] for name in ("scores", "boxes"))
        return {**evaluator.figures(detections), "rows": rows, "scores": scores, "boxes": boxes}

    with joined(world, CPU):
        task = Detection(Regularizer(), figures, lambda *_: None)
        loader = build_loader(
            table,
            recipe,
            batch_size=1,  # the loss of a batch is normalised by its objects
            training=False,
            device=CPU,
            engine="torch",
            rank=rank,
            world=processes,
            threads=1,
            objects=ObjectTable(table, CLASSES),
        )
        with torch.inference_mode():
            for batch in loader:
                task.update(detector, batch)
        (folder / f"{processes}-{rank}.json").write_text(json.dumps(task.compute(world)))


@pytest.mark.walkthrough
@pytest.mark.slow
def test_two_processes_validate_as_one_does(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    for number in range(PICTURES):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (70, 80), dtype=np.uint8))
    (tmp_path / f"{UNREADABLE}.png").write_bytes(b"no picture")
    (tmp_path / "surest.json").write_text(json.dumps(surest_of(small_detector(suppression=SUPPRESSION), tmp_path)))
    validate(0, 1, tmp_path)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", str(port))
    torch.multiprocessing.spawn(validate, (2, tmp_path), nprocs=2)
    alone, *both = (json.loads((tmp_path / name).read_text()) for name in ("1-0.json", "2-0.json", "2-1.json"))
    assert alone["rows"] == [number for number in range(PICTURES) if number != UNREADABLE]
    assert min(alone["scores"]) > 0
    assert 0 < alone["mAP"] < 1
    assert alone["loss"] > 0
    for figures in both:
        assert figures["rows"] == alone["rows"]
        assert figures["scores"] == pytest.approx(alone["scores"], rel=1e-5)
        assert figures["boxes"] == pytest.approx(alone["boxes"], rel=1e-4)
        assert figures["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        for name in ("mAP", "AP_nodule", "AP_opacity"):
            assert figures[name] == pytest.approx(alone[name], abs=1e-6)
