"""benchmarks.real_boxes: films, folds and figures, without training."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks import real_boxes
from xraycls.data.box_sources import read_boxes
from xraycls.tao.networks.ssd import ssd_job
from xraycls.tao.networks.ssd_spec import SSDSpec
from xraycls.tao.programs import open_spec

ROWS = """image,x,y,width,height,Target
00000001_000.png,10,20,30,40,1
00000001_000.png,60,20,20,30,1
00000001_001.png,,,,,0
00000002_000.png,5,5,50,60,1
"""


@pytest.fixture
def films(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("00000001_000", "00000001_001", "00000002_000"):
        cv2.imwrite(str(images / f"{name}.png"), np.full((100, 100), 90, np.uint8))
    (tmp_path / "labels.csv").write_text(ROWS)
    return real_boxes.read_films(tmp_path / "labels.csv", images, tmp_path / "work")


def test_films_have_their_boxes(films):
    found = {sample.path.stem: [(box.label, box.left, box.bottom) for box in sample.boxes] for sample in films}
    assert found == {
        "00000001_000": [("opacity", 10, 60), ("opacity", 60, 50)],
        "00000001_001": [],
        "00000002_000": [("opacity", 5, 65)],
    }


@pytest.mark.parametrize("fold", [0, 1])
def test_no_patient_is_on_both_sides(films, tmp_path, fold):
    records = real_boxes.write_records(films, tmp_path / "work", folds=2)
    path = real_boxes.write_fold(records, fold, "resnet:10", tmp_path / "work")
    spec = open_spec(path, SSDSpec)
    assert spec.config.ssd_config.nlayers == 10
    data = read_boxes(ssd_job(spec).data)
    assert len(data.training) + len(data.validation) == 3
    of = [{sample.path.stem: len(sample.boxes) for sample in part} for part in (data.training, data.validation)]
    first, second = {"00000001_000": 2, "00000001_001": 0}, {"00000002_000": 1}
    assert of in ([first, second], [second, first])


def test_what_readers_drew_is_found_perfectly(films):
    table = list(films)
    found = [replace(s, boxes=tuple(replace(box, score=0.9) for box in s.boxes)) for s in table]
    report = real_boxes.judged(table, found)
    assert report.figures["ap_integrate"].value == 1.0
    assert (report.images, report.negatives, report.groups) == (3, 1, 2)
    missed = real_boxes.judged(table, [replace(s, boxes=()) for s in table])
    assert missed.figures["ap_integrate"].value == 0.0
    assert real_boxes.sheet(table, found).ndim == 3
