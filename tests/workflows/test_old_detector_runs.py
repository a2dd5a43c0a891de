"""A results folder that the first version left: what it is, and what can be done with it.

Its text files are those of a training by that version; its model is one that repeats a pattern, to be small.
"""

import gzip
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import xraycls
from xraycls.errors import UsageError
from xraycls.training.job import DetectionJob
from xraycls.training.run_folder import RunFolder, find_runs
from xraycls.workflows.detection.evaluate import model_of
from xraycls.workflows.detection.resume import check_folder, check_same_job

COMPAT = Path(__file__).parents[1] / "compat"


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(COMPAT / "detector-run", folder)
    model = gzip.decompress((COMPAT / "ssd-whole.safetensors.gz").read_bytes())
    for name in ("checkpoints/best", "checkpoints/last", "weights/ssd_resnet10_epoch_001"):
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model)
    return RunFolder(folder)


def test_it_is_known_as_one_of_a_detector(run):
    assert (run.is_of_detector(), run.exists()) == (True, False)
    assert find_runs(run.path.parent) == []  # of classifiers
    assert model_of(run.path) == run.best
    assert [row["epoch"] for row in run.read_metrics()] == [1]


def test_another_training_does_not_mix_with_it(run):
    with pytest.raises(UsageError, match="already holds a training"):
        check_folder(run, "choose another folder", resume=False)
    check_folder(run, "choose another folder", resume=True)
    job = DetectionJob.parse(
        {"detector": {"network": "ssd", "backbone": "resnet10", "width": 64, "height": 64}, "data": "x"}
    )
    check_same_job(run, job, "")  # it has written no settings to hold these against


@pytest.mark.slow
def test_its_models_evaluate(run, tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / "films" / kind).mkdir(parents=True)
    for number in range(2):
        picture = np.random.default_rng(number).integers(0, 255, (64, 64), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"films/images/{number}.png"), picture)
        (tmp_path / f"films/labels/{number}.txt").write_text("opacity 0 0 0 8 8 40 40 0 0 0 0 0 0 0\n")
    for model in (run.path, run.path / "weights/ssd_resnet10_epoch_001.safetensors"):
        found = xraycls.evaluate_detector(model, tmp_path / "films", results=tmp_path / "out", device="cpu")
        assert set(found.average.per_class) == {"nodule", "opacity"}
        assert found.report.images == 2
    with pytest.raises(UsageError, match="validation images aren't known"):
        xraycls.evaluate_detector(run.path, device="cpu")
