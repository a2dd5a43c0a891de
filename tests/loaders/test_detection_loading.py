"""Pictures with boxes: every engine shows the same picture, and the boxes lie where the objects are."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loaders.engines import CPU, ENGINES, build
from xraycls.data.table import SampleTable
from xraycls.loaders.objects import ObjectTable, on_canvas
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.recipes.tlt2 import TLT2Recipe
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.views import Canvas
from xraycls.types import Box, Sample

CANVAS = Canvas(height=120, width=160, fill=60)
SSD = SSDRecipe(CANVAS, crop_scale=(0.4, 1.0), zoom_out=(1.0, 2.0), brightness=8.0, contrast=0.1)
TLT2 = TLT2Recipe(CANVAS, zoom=(0.7, 1.8), shift=(12.0, 8.0), vertical_flip=0.5, contrast=0.1, smallest=(2.0, 2.0))
RECIPES = [pytest.param(SSD, id="ssd"), pytest.param(TLT2, id="tlt2")]
CLASSES = ("bright",)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> SampleTable:
    """Dark noise with a bright rectangle each; every fourth picture has none."""
    folder, rng, samples = tmp_path_factory.mktemp("boxes"), np.random.default_rng(0), []
    for number in range(12):
        width, height = rng.integers(150, 420, 2)
        picture = cv2.GaussianBlur(rng.integers(0, 90, (height, width), dtype=np.uint8), (0, 0), 3)
        boxes = []
        if number % 4:
            left, top = rng.integers(10, 60, 2)
            right, bottom = left + rng.integers(40, 80), top + rng.integers(40, 80)
            picture[top:bottom, left:right] = 250
            boxes = [Box("bright", left, top, right, bottom), Box("of no interest", 1, 1, 9, 9)]
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), picture)
        samples.append(Sample(path, label=0, boxes=tuple(boxes)))
    return SampleTable(tuple(samples), ("any",), folder, source="folder")


def batches(kind, table, recipe, *, training=True, epoch=0):
    sampler = Sampler(table.labels, 5, training=training, seed=3)
    loader = build(kind, table, recipe, sampler, objects=ObjectTable(table, CLASSES))
    loader.set_epoch(epoch)
    return list(loader)


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("training", [True, False])
def test_boxes_enclose_what_they_mean(kind, table, recipe, training):
    seen = 0
    for epoch in range(4):
        for batch in batches(kind, table, recipe, training=training, epoch=epoch):
            assert batch.images.shape[1:] == (1, 120, 160)
            for owner, box in zip(batch.objects.owners.tolist(), batch.objects.boxes.numpy(), strict=True):
                bright = (batch.images[owner, 0] > 145).cpu().numpy()
                left, right = np.flatnonzero(bright.any(axis=0))[[0, -1]]
                top, bottom = np.flatnonzero(bright.any(axis=1))[[0, -1]]
                assert np.abs(box - (left, top, right + 1, bottom + 1)).max() < 1.6
                seen += 1
    assert seen > 20


@pytest.mark.parametrize("recipe", RECIPES)
def test_negatives_are_pictures_without_objects(table, recipe):
    (first, *_) = batches(("torch", CPU), table, recipe, training=False)
    assert [bool((first.objects.owners == row).any()) for row in range(5)] == [False, True, True, True, False]
    assert first.objects.labels.tolist() == [0, 0, 0]
    assert not first.objects.difficult.any()


@pytest.mark.parametrize("kind", ENGINES[1:])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_engine_gives_the_same_numbers(kind, table, recipe):
    expected = batches(("torch", CPU), table, recipe)
    for batch, other in zip(batches(kind, table, recipe), expected, strict=True):
        assert torch.equal(batch.objects.boxes, other.objects.boxes)
        assert torch.equal(batch.objects.owners, other.objects.owners)
        difference = (batch.images.cpu().float() - other.images.float()).abs().mean()
        assert difference < 1.0


def test_an_unreadable_picture_has_no_objects(table, tmp_path):
    (tmp_path / "broken.png").write_bytes(table[1].path.read_bytes()[:60])
    broken = table.with_samples([Sample(tmp_path / "broken.png", 0, boxes=table[1].boxes), *table.samples[2:4]])
    (batch,) = batches(("torch", CPU), broken, SSD, training=False)
    assert batch.weights.tolist() == [0, 1, 1]
    assert batch.objects.owners.tolist() == [1, 2]


def test_upstreams_rounding_of_boxes_in_evaluation():
    recipe = SSDRecipe(Canvas(100, 100), rounded=True)
    boxes, kept = recipe.clip(np.array([[0.5, 1.5, 40.5, 41.4], [-8.0, 3.2, 150.0, 99.7], [7.4, 7, 7.45, 50]]), False)
    assert boxes[:2].tolist() == [[0, 2, 40, 41], [0, 3, 99, 99]]
    assert kept.tolist() == [True, True, False]


def test_crops_keep_what_they_promise():
    """Of the views of one box none loses it, unless the whole picture is meant."""
    own = np.array([[30.0, 40.0, 70.0, 90.0]])
    views = SSD.training_views(0, 0, 0, [(100.0, 120.0)] * 300, [own] * 300)
    seen = on_canvas(np.repeat(own, 300, axis=0), views.matrices)
    _, kept = SSD.clip(seen, True, views.cropped)
    assert kept.all()
    assert views.scales.min() < 0.5 < 1.2 < views.scales.max()  # both closer and farther than the whole picture


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ((11, 12, 51, 60), (31, 77), (23, 10, 63, 50)),
        ((90, 90, 120, 120), (96, 96), (60, 60, 63, 63)),
        ((-10, -10, 5, 5), (96, 96), (0, 0, 3, 3)),
    ],
)
def test_an_object_across_the_edge_is_cut_where_the_whole_picture_is_seen(box, size, expected):
    """The figures follow from upstream's rule by hand: pixels of 64 x 64, rounded, then cut; no centre is in sight."""
    recipe = SSDRecipe(Canvas(64, 64), rounded=True)
    views = recipe.evaluation_views([size])
    seen = on_canvas(np.array([box], np.float64), views.matrices)
    for training in (True, False):
        cut, kept = recipe.clip(seen, training, views.cropped)
        assert (cut[0].tolist(), kept.tolist()) == (list(expected), [True])


def test_a_random_crop_keeps_objects_by_their_centres():
    recipe = SSDRecipe(Canvas(64, 64))
    boxes = np.array([[-10.0, 8.0, 6.0, 20.0], [-6.0, 8.0, 10.0, 20.0], [-10.0, 8.0, 6.0, 20.0]])
    assert recipe.clip(boxes, True, np.array([True, True, False]))[1].tolist() == [False, True, True]


def test_which_views_are_random_crops():
    """One draw in seven means the whole picture, expanded or not, as does a crop that isn't found."""
    own = np.array([[30.0, 40.0, 70.0, 90.0]])
    views = replace(SSD, flip=0.0).training_views(0, 0, 0, [(100.0, 120.0)] * 300, [own] * 300)
    low = views.matrices[:, :, 2]
    high = low + views.matrices[:, :, :2] @ np.array([SSD.canvas.width, SSD.canvas.height])
    holds_all = ((low <= 1e-9) & (high >= np.array([100.0, 120.0]) - 1e-9)).all(axis=1)
    assert holds_all[~views.cropped].all()
    assert (~views.cropped).mean() > 1 / 7
    assert views.cropped.sum() > 50
    assert not holds_all[views.cropped].all()


@given(seed=st.integers(0, 2**32), first=st.integers(0, 10_000), epoch=st.integers(0, 500))
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("recipe", [SSD, TLT2])
def test_a_view_follows_from_its_place_alone(recipe, seed, first, epoch):
    sizes = [(300.0, 200.0), (150.0, 260.0), (512.0, 512.0)]
    boxes = [np.array([[10.0, 10.0, 60.0, 80.0]]), np.zeros((0, 4)), np.array([[100.0, 200.0, 300.0, 400.0]])]
    together = recipe.training_views(seed, epoch, first, sizes, boxes)
    alone = recipe.training_views(seed, epoch, first + 2, sizes[2:], boxes[2:])
    assert np.array_equal(together.matrices[2], alone.matrices[0])
    assert together.brightness[2] == alone.brightness[0]
    assert together.contrast[2] == alone.contrast[0]
