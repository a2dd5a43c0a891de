import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from xraycls.data.lettering import fitted
from xraycls.data.open import open_image
from xraycls.data.prepare import prepare
from xraycls.data.sheet import contact_sheet
from xraycls.data.show import TILE, shown_table
from xraycls.data.source import read_source
from xraycls.errors import DataError
from xraycls.loaders.recipes.classification import Recipe, find_recipe
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.torch_engine import TorchLoader
from xraycls.types import Box
from xraycls.workflows.show import picture_named, view_sheet

STILL = {"rotation": 0.0, "horizontal_flip": 0.0, "area": (1.0, 1.0), "aspect": (1.0, 1.0)}
GREYS_STAY = {"brightness": 0.0, "contrast": 0.0, "gamma": 0.0}


@pytest.fixture
def seen(monkeypatch):
    """The tiles of every sheet that is drawn."""
    sheets = []

    def drawing(tiles, **arguments):
        sheets.append(list(tiles))
        return contact_sheet(tiles, **arguments)

    monkeypatch.setattr("xraycls.workflows.show.contact_sheet", drawing)
    return sheets


@pytest.mark.parametrize("prepared", [False, True])
def test_the_views_are_those_that_training_begins_with(prepared, tiny, tmp_path, seen):
    source = tiny
    if prepared:
        prepare(tiny, tmp_path / "store", size=32)
        source = tmp_path / "store"
    sample = read_source(source)[5]
    table = read_source(source).with_samples([sample] * 8)
    recipe = find_recipe("radiograph", 48)
    loader = TorchLoader(table, recipe, Sampler(table.labels, batch_size=8, training=True, seed=3))
    trained = next(iter(loader)).images[:, 0].numpy()
    view_sheet(table, replace(sample, boxes=(Box("x", 1, 1, 9, 9),)), recipe, n=9, seed=3)
    original, *views = seen[0]
    image = open_image(sample)
    assert (original.picture == image.pixels()).all()
    assert original.size == (image.width, image.height)
    assert original.boxes == (Box("x", 1, 1, 9, 9),)
    assert np.array_equal([view.picture for view in views], trained)


def captions(seen, recipe, tiny, n=12):
    table = shown_table(tiny)
    view_sheet(table, table[0], recipe, n=n)
    return [tile.caption for tile in seen[-1][1:]]


def test_captions_say_what_a_view_does(tiny, seen):
    assert captions(seen, find_recipe("none", 32), tiny) == ["100% of the area"] * 11
    always = Recipe(32, **{**STILL, "horizontal_flip": 1.0, "vertical_flip": 1.0}, **GREYS_STAY)
    assert set(captions(seen, always, tiny)) == {"mirrored, upside down, 100% of the area"}
    half = Recipe(32, **{**STILL, "area": (0.5, 0.5)}, **GREYS_STAY)
    assert set(captions(seen, half, tiny)) == {"50% of the area"}
    for found in captions(seen, Recipe(32, **STILL), tiny):
        assert re.fullmatch(r"100% of the area\nbrightness [+-]0\.\d\d, contrast [01]\.\d\d, gamma [01]\.\d\d", found)
        assert all(fitted(line, 13, TILE) == line for line in found.split("\n"))


@pytest.mark.parametrize("flip", ["", "horizontal_flip", "vertical_flip"])
def test_the_angle_is_the_one_that_is_seen(flip, tiny, seen):
    """A bright bar across the middle is turned, and its slope measured."""
    turning = Recipe(128, **{**STILL, "rotation": 25.0, **({flip: 1.0} if flip else {})}, **GREYS_STAY)
    table = shown_table(tiny)
    bar = np.zeros((128, 128), np.uint8)
    bar[62:66] = 255
    for position in range(6):
        view = turning.training_view(0, 0, position, 46, 40)
        matrix = np.diag([128 / 46, 128 / 40]) @ view.matrix
        matrix[:, 2] += matrix[:, :2].sum(axis=1) * 0.5 - 0.5
        turned = cv2.warpAffine(bar, matrix, (128, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        y, x = np.nonzero(turned > 128)
        rising = -np.polyfit(x, y, 1)[0]  # upwards to the right is counterclockwise
        view_sheet(table, table[0], turning, n=8)
        said = re.search(r"(\d+)° (.)", seen[-1][1 + position].caption)
        assert said is not None
        assert (said[2] == "↺") == (rising > 0)
        # The picture of 46 × 40 pixels is stretched to a square after it was turned.
        assert int(said[1]) == pytest.approx(abs(np.degrees(np.arctan(rising * 40 / 46))), abs=4)


def test_a_picture_goes_by_path_name_or_number(tiny):
    table = shown_table(tiny)
    wanted = table[7]
    for name in (str(wanted.path), table.name_of(wanted), wanted.path.name, "7"):
        assert picture_named(table, name) == wanted
    drawn = [picture_named(table, None, seed) for seed in range(8)]
    assert len(set(drawn)) > 2
    assert drawn[0] == picture_named(table.with_samples(reversed(table.samples)), None, 0)


def test_a_picture_that_is_not_there_or_is_there_twice(tiny):
    table = shown_table(tiny)
    with pytest.raises(DataError, match=r"has no image 40\. Give a path or a number from 0 to 39"):
        picture_named(table, "40")
    twice = table.with_samples([table[0], replace(table[0], label=1)])
    with pytest.raises(DataError, match=r"2 images of .* are called test-NORMAL-0\.jpeg"):
        picture_named(twice, table[0].path.name)
