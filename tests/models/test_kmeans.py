"""Anchors by k-means."""

import numpy as np
import pytest

from xraycls.errors import UsageError
from xraycls.models.detection.kmeans import cluster_shapes, shape_iou


def test_planted_shapes_are_found():
    planted = np.array([[10.0, 40.0], [40.0, 12.0], [60.0, 60.0]])
    noise = np.random.default_rng(1).uniform(0.97, 1.03, (3, 41, 2))
    shapes = (planted[:, None] * noise).reshape(-1, 2)
    found = cluster_shapes(shapes, 3, first=(0, 50, 100))
    assert np.allclose(found, [np.median(group, axis=0) for group in shapes.reshape(3, 41, 2)])


def test_areas_rise():
    shapes = np.random.default_rng(2).uniform(5, 100, (60, 2))
    assert (np.diff(cluster_shapes(shapes, 9).prod(axis=1)) >= 0).all()


def test_one_step_by_hand():
    """The first centres are shapes 0 and 1; shapes 2 and 3 join the nearer, whose centre becomes the median."""
    shapes = np.array([[1.0, 1.0], [10.0, 10.0], [2.0, 1.0], [12.0, 8.0]])
    found = cluster_shapes(shapes, 2, first=(0, 1))
    assert found.tolist() == [[1.5, 1.0], [11.0, 9.0]]


def test_equal_first_centres_leave_no_nan():
    shapes = np.array([[4.0, 4.0]] * 5 + [[30.0, 20.0]] * 5)
    assert np.isfinite(cluster_shapes(shapes, 2, first=(0, 1))).all()


def test_a_limit_of_steps():
    steps: list[int] = []
    cluster_shapes(np.random.default_rng(3).uniform(1, 50, (200, 2)), 9, max_steps=2, on_step=steps.append)
    assert steps == [0, 1]


def test_fewer_boxes_than_anchors():
    with pytest.raises(UsageError, match="9 anchors can't be found in 8 boxes"):
        cluster_shapes(np.ones((8, 2)))


def test_iou_of_shapes_is_that_of_boxes_with_one_centre():
    import torch
    from torchvision.ops import box_iou

    rng = np.random.default_rng(4)
    first, second = rng.uniform(1, 20, (5, 2)), rng.uniform(1, 20, (7, 2))
    boxes = [torch.from_numpy(np.concatenate([-shapes / 2, shapes / 2], axis=1)) for shapes in (first, second)]
    assert np.allclose(shape_iou(first, second), box_iou(*boxes).numpy())
