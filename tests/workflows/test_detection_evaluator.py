"""What is found is held against the boxes of its own picture."""

from pathlib import Path

import pytest

from xraycls.data.table import SampleTable
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.loaders.views import Canvas
from xraycls.training.job import EvaluationConfig
from xraycls.types import Detections, Sample
from xraycls.workflows.detection.evaluator import Evaluator

SETTINGS = EvaluationConfig(mode="integrate", iou=0.5)


def found(*corners):
    return Detections.of([corners], [0], [0.9])


@pytest.fixture
def evaluator():
    samples = tuple(Sample(Path(f"{name}.png"), patient=name) for name in "abc")
    truths = [ImageBoxes.of([(at, at, at + 10, at + 10)], [0]) for at in (0, 20, 40)]
    table = SampleTable(samples, ("NEGATIVE", "POSITIVE"), Path(), "tao")
    return Evaluator(table, truths, ("opacity",), Canvas(64, 64), SETTINGS, 0.01)


@pytest.mark.parametrize(
    ("told", "images", "value"),
    [
        ({2: found(40, 40, 50, 50), 0: found(0, 0, 10, 10), 1: found(20, 20, 30, 30)}, 3, 1.0),
        ({2: found(40, 40, 50, 50), 0: found(0, 0, 10, 10)}, 2, 1.0),  # the other could not be read
        ({0: found(40, 40, 50, 50), 1: found(20, 20, 30, 30), 2: found(0, 0, 10, 10)}, 3, pytest.approx(1 / 6)),
    ],
)
def test_each_picture_is_judged_by_its_own_boxes(evaluator, told, images, value):
    assert evaluator.average(told).mean == value
    assert evaluator.report(told).images == images
