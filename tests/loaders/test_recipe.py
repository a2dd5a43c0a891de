"""The recipe: deterministic, within its ranges, and exact in its geometry."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.errors import UsageError
from xraycls.loaders.random import generator
from xraycls.loaders.recipes.classification import PRESETS, Recipe, find_recipe
from xraycls.loaders.views import View

SIZES = st.integers(8, 4000)


@given(
    st.sampled_from(sorted(PRESETS)), st.integers(0, 2**32), st.integers(0, 500), st.integers(0, 10**6), SIZES, SIZES
)
def test_a_view_follows_from_its_four_numbers_alone(preset, seed, epoch, position, width, height):
    recipe = find_recipe(preset, 64)
    view = recipe.training_view(seed, epoch, position, width, height)
    generator(1, 2, 3).random(100)  # other draws in between change nothing
    again = recipe.training_view(seed, epoch, position, width, height)
    assert np.array_equal(view.matrix, again.matrix)
    assert (view.brightness, view.contrast, view.gamma) == (again.brightness, again.contrast, again.gamma)


def test_views_differ_by_seed_epoch_and_position():
    recipe = find_recipe("radiograph", 64)
    matrices = [recipe.training_view(*key, 640, 480).matrix for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    for i, first in enumerate(matrices):
        for second in matrices[i + 1 :]:
            assert not np.allclose(first, second)


@given(st.sampled_from(sorted(PRESETS)), st.integers(0, 10**6), st.integers(40, 3000), st.integers(40, 3000))
def test_crops_have_the_area_and_aspect_of_the_recipe(preset, position, width, height):
    recipe = find_recipe(preset, 100)
    linear = recipe.training_view(0, 0, position, width, height).matrix[:, :2]
    area = abs(np.linalg.det(linear)) * recipe.size**2 / (width * height)
    assert area <= recipe.area[1] + 1e-9
    columns = np.linalg.norm(linear, axis=0)
    aspect = columns[0] / columns[1]
    if recipe.relative_aspect:
        aspect /= width / height
    within = recipe.aspect[0] - 1e-9 <= aspect <= recipe.aspect[1] + 1e-9
    assert within
    if 0.75 < width / height < 1.33:  # else the crop may be cut to the image
        assert area >= recipe.area[0] - 1e-9


def test_without_augmentation_training_sees_the_evaluation_view():
    recipe = find_recipe("none", 128)
    training, evaluation = recipe.training_view(3, 4, 5, 300, 200), recipe.evaluation_view(300, 200)
    assert np.allclose(training.matrix, evaluation.matrix)
    assert not training.is_photometric


def test_the_evaluation_view_maps_corners_to_corners():
    matrix = find_recipe("radiograph", 224).evaluation_view(1000, 700).matrix
    assert np.allclose(matrix @ [0, 0, 1], [0, 0])
    assert np.allclose(matrix @ [224, 224, 1], [1000, 700])


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_the_scale_is_the_smaller_singular_value(entries):
    linear = np.array(entries).reshape(2, 2)
    expected = np.linalg.svd(linear, compute_uv=False)
    assert View(np.column_stack([linear, [0, 0]])).scale == pytest.approx(expected[1], abs=1e-6 * (1 + expected[0]))


def test_rotation_keeps_the_middle_and_turns_by_the_drawn_angle():
    recipe = Recipe(100, horizontal_flip=0.0, rotation=25.0, area=(1.0, 1.0), aspect=(1.0, 1.0))
    angles = []
    for position in range(200):
        matrix = recipe.training_view(0, 0, position, 400, 400).matrix
        assert np.allclose(matrix @ [50, 50, 1], [200, 200])
        angles.append(math.degrees(math.atan2(matrix[1, 0], matrix[0, 0])))
    assert max(np.abs(angles)) <= 25
    assert np.std(angles) == pytest.approx(25 / math.sqrt(3), rel=0.15)  # uniform


def test_flips_happen_half_of_the_time_and_mirror_about_the_middle():
    recipe = Recipe(10, vertical_flip=0.5, rotation=0.0, area=(1.0, 1.0), aspect=(1.0, 1.0))
    signs = []
    for position in range(400):
        matrix = recipe.training_view(0, 0, position, 20, 30).matrix
        assert np.allclose(matrix @ [5, 5, 1], [10, 15])
        signs.append(np.sign(np.diag(matrix[:, :2])))
    assert 0.4 < np.mean(np.array(signs)[:, 0] < 0) < 0.6
    assert 0.4 < np.mean(np.array(signs)[:, 1] < 0) < 0.6


def test_unknown_preset_and_impossible_size_are_one_sentence():
    with pytest.raises(UsageError, match="Did you mean radiograph"):
        find_recipe("radiografh", 224)
    with pytest.raises(UsageError, match="--size 4 is too small"):
        find_recipe("radiograph", 4)
