"""Label files of what was found: literal lines, and back through the reader of KITTI labels."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xraycls.data.formats.kitti import parse_kitti
from xraycls.tao.detection_labels import detection_labels

BOXES = np.array([[0.1, -3.5, 1234.5678, 1e-5], [1.0, 2.0, 65536.5, 100000.01]], np.float32)


def test_lines_are_those_of_tao():
    text = detection_labels(BOXES, ["opacity", "lung nodule"], np.array([0.87, 1.0], np.float32))
    assert text == (
        "opacity 0 0 0 0.1 -3.5 1234.5677 1e-05 0 0 0 0 0 0 0 0.87\n"
        "lung_nodule 0 0 0 1.0 2.0 65536.5 100000.01 0 0 0 0 0 0 0 1.0\n"
    )
    assert {len(line.split()) for line in text.splitlines()} == {16}


def test_nothing_found_is_an_empty_file():
    assert detection_labels(np.zeros((0, 4), np.float32), [], np.zeros(0, np.float32)) == ""


FINITE = st.floats(-1e6, 1e6, width=32)


@given(st.integers(0, 4).flatmap(lambda n: arrays(np.float32, (n, 5), elements=FINITE)))
def test_what_is_read_back_is_the_same_float32(rows):
    boxes, scores = rows[:, :4], rows[:, 4]
    objects = parse_kitti(detection_labels(boxes, ["a"] * len(rows), scores), Path("x.txt"))
    found = [(o.left, o.top, o.right, o.bottom, o.score) for o in objects]
    assert np.array_equal(np.array(found, np.float32).reshape(-1, 5), rows)
    assert not any(o.box.difficult for o in objects)
