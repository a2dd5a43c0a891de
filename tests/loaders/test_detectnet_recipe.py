"""The DetectNet recipe of Faster R-CNN: its geometry against OpenCV, its distributions against their closed forms."""

import math

import cv2
import numpy as np
import pytest
from scipy.stats import kstest, truncnorm

from xraycls.loaders.objects import on_canvas
from xraycls.loaders.recipes.detectnet import DetectNetRecipe, Placement
from xraycls.loaders.views import Canvas

CANVAS = Canvas(100, 200)
STILL = {"horizontal_flip": 0.0}


def matrices(recipe, size=(400, 300), count=400):
    return recipe.training_views(0, 0, 0, [size] * count).matrices


def test_without_augmentation_training_sees_the_evaluation_view():
    recipe = DetectNetRecipe(CANVAS, **STILL)
    views = recipe.training_views(3, 1, 7, (400, 300))
    assert np.allclose(views.matrices, recipe.evaluation_views((400, 300)).matrices)
    assert not views.is_photometric
    assert np.allclose(views.matrices[0] @ [200, 100, 1], [400, 300])


def test_a_crop_is_all_that_is_used_of_a_source():
    matrix = DetectNetRecipe(CANVAS, Placement((40, 20, 140, 70))).evaluation_views((400, 300)).matrices[0]
    assert np.allclose(matrix @ [0, 0, 1], [40, 20])
    assert np.allclose(matrix @ [200, 100, 1], [140, 70])


def test_without_resizing_a_source_keeps_its_own_scale():
    matrix = DetectNetRecipe(CANVAS, Placement(resize=False)).evaluation_views((400, 300)).matrices[0]
    assert np.allclose(matrix, np.eye(2, 3))
    recipe = DetectNetRecipe(CANVAS, Placement(resize=False, scale=(0.5, 0.25)))
    halved = recipe.evaluation_views((400, 300)).matrices[0]
    assert np.allclose(halved @ [10, 10, 1], [20, 40])
    # Another canvas shows as much of the picture.
    larger = recipe.resized(400, 300).evaluation_views((400, 300)).matrices[0]
    assert np.allclose(larger @ [400, 300, 1], halved @ [200, 100, 1])


def test_an_input_of_no_fixed_size_keeps_the_aspect():
    """The shorter side becomes as long as size_min says, unless the longer would be longer than it may."""
    recipe = DetectNetRecipe(Canvas(100, 100), Placement(sides=(60, 100)))
    upright, narrow = recipe.evaluation_views([(300, 400), (100, 400)]).matrices
    assert np.allclose(upright @ [60, 80, 1], [300, 400])
    assert np.allclose(narrow @ [25, 100, 1], [100, 400])
    assert np.allclose(recipe.resized(50, 50).evaluation_views((300, 400)).matrices[0] @ [30, 40, 1], [300, 400])


def test_flips_mirror_about_the_middle():
    recipe = DetectNetRecipe(CANVAS, horizontal_flip=0.5, vertical_flip=0.3)
    signs = []
    for matrix in matrices(recipe):
        assert np.allclose(matrix @ [100, 50, 1], [200, 150])
        signs.append(np.diag(matrix[:, :2]) < 0)
    assert np.mean(signs, axis=0) == pytest.approx([0.5, 0.3], abs=0.08)


def test_rotation_is_opencvs_about_the_middle_of_the_canvas():
    recipe = DetectNetRecipe(CANVAS, rotation=0.4, **STILL)
    size = (200, 100)  # of the canvas: nothing but the rotation is left
    angles = []
    for matrix in matrices(recipe, size, 200):
        angle = math.atan2(matrix[1, 0], matrix[0, 0])
        expected = cv2.invertAffineTransform(cv2.getRotationMatrix2D((100, 50), math.degrees(angle), 1.0))
        assert np.allclose(matrix, expected, atol=1e-9)
        angles.append(angle)
    assert kstest(angles, "uniform", (-0.4, 0.8)).pvalue > 0.01
    sometimes = DetectNetRecipe(CANVAS, rotation=0.4, rotation_probability=0.25, **STILL)
    assert np.mean(matrices(sometimes, size)[:, 0, 1] != 0) == pytest.approx(0.25, abs=0.08)


def test_a_box_of_a_turned_picture_is_the_box_around_its_corners():
    recipe = DetectNetRecipe(CANVAS, rotation=0.4, zoom=(0.8, 1.4), shift=(5, 3))
    own = np.array([[100.0, 80.0, 180.0, 200.0]])
    corners = np.array([[100, 80, 1], [180, 80, 1], [180, 200, 1], [100, 200, 1]], np.float64)
    for matrix in matrices(recipe, count=30):
        seen = corners @ cv2.invertAffineTransform(matrix).T
        (box,) = on_canvas(own, matrix[None])
        assert np.allclose(box, [*seen.min(axis=0), *seen.max(axis=0)])


def test_zoom_above_one_shows_more_than_the_picture_and_keeps_it_in_sight():
    recipe = DetectNetRecipe(CANVAS, zoom=(1.0, 2.0), **STILL)
    whole = np.array([[0.0, 0.0, 400.0, 300.0]])
    shown = on_canvas(np.repeat(whole, 400, axis=0), matrices(recipe))
    assert shown[:, :2].min() >= -1e-9
    assert (shown[:, 2:] <= np.array([200, 100]) + 1e-9).all()
    ratios = 200 / (shown[:, 2] - shown[:, 0])
    assert kstest(ratios, "uniform", (1.0, 1.0)).pvalue > 0.01
    closer = matrices(DetectNetRecipe(CANVAS, zoom=(0.5, 0.5), **STILL))
    assert np.allclose(closer[:, 0, 0], 1.0)  # half of the 400 pixels fill 200
    assert closer[:, 0, 2].min() >= 0
    assert closer[:, 0, 2].max() <= 200


def test_shifts_are_whole_pixels_of_the_canvas_either_way():
    shifts = -matrices(DetectNetRecipe(CANVAS, shift=(3, 1), **STILL), (200, 100))[:, :, 2]
    assert set(shifts[:, 0]) == set(range(-3, 4))
    assert set(shifts[:, 1]) == {-1, 0, 1}


def test_contrast_and_grey_shift_follow_truncated_normal_distributions():
    recipe = DetectNetRecipe(CANVAS, contrast=0.2, contrast_center=0.5, color_shift=0.05)
    views = recipe.training_views(0, 0, 0, [(400, 300)] * 500)
    assert kstest((views.contrast - 1.0) / 0.1, truncnorm(-2, 2).cdf).pvalue > 0.01
    assert kstest(views.brightness / 0.05, truncnorm(-2, 2).cdf).pvalue > 0.01
    darker = DetectNetRecipe(CANVAS, contrast=0.2, contrast_center=0.25).training_views(0, 0, 0, (400, 300))[0]
    assert darker.curve[64] == pytest.approx(64, abs=1)  # a quarter of the range keeps its level


def test_boxes_are_rounded_clipped_and_filtered_as_upstream_does():
    recipe = DetectNetRecipe(CANVAS, smallest=(4.0, 2.0))
    boxes = np.array([[10.4, 10.6, 50.5, 60.2], [-5, -5, 300, 300], [10, 10, 13, 30], [250, 10, 260, 20]], float)
    cut, kept = recipe.clip(boxes, True)
    assert cut[:2].tolist() == [[10, 11, 50, 60], [0, 0, 199, 99]]
    assert kept.tolist() == [True, True, False, False]
    assert recipe.clip(boxes, False)[1].tolist() == [True, True, True, False]


def test_a_view_follows_from_its_place_alone():
    recipe = DetectNetRecipe(CANVAS, rotation=0.3, zoom=(0.9, 1.2), shift=(4, 4), contrast=0.1)
    together = recipe.training_views(5, 2, 10, [(300, 200), (100, 100), (512, 400)])
    alone = recipe.training_views(5, 2, 12, (512, 400))
    assert np.array_equal(together.matrices[2], alone.matrices[0])
    assert together.brightness[2] == alone.brightness[0]
