"""Outlines: drawn as others draw them, and where the picture shows the object."""

import cv2
import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from tests.loaders.engines import CPU, build
from xraycls.data.formats.masks import read_masks
from xraycls.data.table import SampleTable
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.outlines import drawn
from xraycls.loaders.recipes.unet import UNetRecipe
from xraycls.loaders.recipes.yolo_v4 import YoloV4Recipe
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.views import Canvas
from xraycls.types import Box, Sample

GREYS_STAY = {"gamma": 0.0, "contrast": 0.0, "brightness": 0.0}
CANVAS = Canvas(96, 128)


def test_polygons_cover_what_matplotlib_says():
    rng = np.random.default_rng(4)
    canvas, steps = Canvas(14, 18), 4
    y, x = np.mgrid[: 14 * steps, : 18 * steps]
    points = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1) / steps
    for _ in range(20):
        outer = np.sort(rng.uniform(0, 2 * np.pi, 7))
        ring = np.stack([9 + 11 * np.cos(outer), 7 + 8 * np.sin(outer)], axis=1)  # some of it lies beyond the canvas
        hole = ring * 0.3 + (6.3, 4.9)
        inside = Polygon(ring).contains_points(points) ^ Polygon(hole).contains_points(points)
        expected = inside.reshape(14, steps, 18, steps).mean(axis=(1, 3)) * 255
        assert np.abs(drawn([[ring, hole]], canvas)[0] - expected).max() <= 0.5


def test_what_lies_beyond_the_canvas_is_cut_off():
    ring = np.array([[-9.0, -9.0], [-2.0, -9.0], [-2.0, 20.0]])
    assert not drawn([[ring], [ring + np.array([100, 0])]], Canvas(8, 8)).any()


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Pictures that are their own masks: a blob with a hole, and a smaller one beside it."""
    root = tmp_path_factory.mktemp("masks")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for number in range(6):
        picture = np.zeros((300, 400), np.uint8)
        cv2.ellipse(picture, (150 + 5 * number, 140), (90, 60 + 5 * number), 20 * number, 0, 360, 255, -1)
        cv2.circle(picture, (150 + 5 * number, 140), 25, 0, -1)
        cv2.rectangle(picture, (310, 200), (350, 260 + number), 255, -1)
        for name in ("images", "masks"):
            cv2.imwrite(str(root / name / f"{number}.png"), picture)
    return read_masks(root)


def seen(table, recipe, training, **how):
    loader = build(
        ("torch", CPU),
        table,
        recipe,
        Sampler(table.labels, 3, training=training, seed=3),
        objects=ObjectTable(table, ("object",), **how),
    )
    return list(loader)


@pytest.mark.parametrize(
    ("recipe", "training"),
    [
        (UNetRecipe(CANVAS, **GREYS_STAY), False),
        (UNetRecipe(CANVAS, degrees=25.0, zoom=0.4, **GREYS_STAY), True),
        (YoloV4Recipe(CANVAS, exposure=1.0, mosaic=1.0), True),
    ],
)
def test_masks_lie_where_the_picture_shows_the_objects(table, recipe, training):
    for batch in seen(table, recipe, training, outlines=True):
        for row, image in enumerate(batch.images[:, 0].numpy()):
            masks = batch.objects.masks[batch.objects.owners == row].numpy().astype(int)
            assert np.abs(masks.max(axis=0, initial=0) - image).mean() < 3.0
            assert masks.max() == 255


def test_an_object_without_an_outline_is_its_box(table):
    boxed = Sample(table[0].path, label=0, boxes=(Box("object", 100, 75, 200, 150),))
    mixed = SampleTable((*table.samples[:2], boxed), table.classes, table.root, "masks")
    (batch,) = seen(mixed, UNetRecipe(CANVAS, **GREYS_STAY), False, outlines=True)
    mask = batch.objects.masks[batch.objects.owners == 2][0].numpy()
    assert (mask[24:48, 32:64] == 255).all()
    assert mask.sum() == 255 * 24 * 32


def test_no_mask_is_drawn_where_none_is_known_or_wanted(table):
    boxed = SampleTable((Sample(table[0].path, boxes=(Box("object", 1, 2, 30, 40),)),), table.classes, table.root, "x")
    (batch,) = seen(boxed, UNetRecipe(CANVAS), False, outlines=True)
    assert batch.objects.masks is None
    assert all(each.objects.masks is None for each in seen(table, UNetRecipe(CANVAS), False))
