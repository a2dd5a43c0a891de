"""Samples of several pictures, canvases that change, letterboxes: every engine draws the same from the same numbers."""

import cv2
import numpy as np
import pytest
import torch

from tests.loaders.engines import CPU, ENGINES, build
from xraycls.data.table import SampleTable
from xraycls.errors import UsageError
from xraycls.loaders.choose import build_loader, choose_engine
from xraycls.loaders.objects import ObjectTable
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.recipes.yolo_v4 import YoloV4Recipe
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.views import Canvas
from xraycls.types import Box, Sample

CANVAS = Canvas(height=128, width=160, fill=None)
MOSAIC = YoloV4Recipe(CANVAS, exposure=1.1, mosaic=1.0)
MIXED = YoloV4Recipe(CANVAS, exposure=1.1, mosaic=0.5, vertical_flip=0.5, shape_period=2)
JITTER = YoloV4Recipe(CANVAS, exposure=1.0, mosaic=0.0, jitter=0.5)
RECIPES = [pytest.param(MOSAIC, id="mosaic"), pytest.param(MIXED, id="mixed"), pytest.param(JITTER, id="jitter")]
DRAWING = [kind for kind in ENGINES if not kind.id.startswith("resident")]
TORCH = ("torch", CPU)
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
            boxes = [Box("bright", left, top, right, bottom)]
        path = folder / f"{number}.{'png' if number % 2 else 'jpeg'}"
        cv2.imwrite(str(path), picture)
        samples.append(Sample(path, label=0, boxes=tuple(boxes)))
    return SampleTable(tuple(samples), ("any",), folder, source="folder")


def loader_of(kind, table, recipe, *, training=True, epoch=0, **options):
    sampler = Sampler(table.labels, 5, training=training, seed=3, **options)
    loader = build(kind, table, recipe, sampler, objects=ObjectTable(table, CLASSES))
    loader.set_epoch(epoch)
    return loader


@pytest.mark.parametrize("kind", DRAWING)
@pytest.mark.parametrize("recipe", RECIPES)
def test_boxes_cover_what_is_bright_and_nothing_else(kind, table, recipe):
    boxes = 0
    for epoch in range(2):
        for batch in loader_of(kind, table, recipe, epoch=epoch):
            bright = (batch.images[:, 0] > 145).cpu().numpy()
            expected = np.zeros_like(bright)
            for owner, box in zip(batch.objects.owners.tolist(), batch.objects.boxes.numpy().round(), strict=True):
                left, top, right, bottom = box.astype(int)
                expected[owner, top:bottom, left:right] = True
                boxes += 1
            edges = cv2.morphologyEx(np.uint8(expected).transpose(1, 2, 0), cv2.MORPH_GRADIENT, np.ones((5, 5)))
            sure = edges.reshape(*bright.shape[1:], -1).transpose(2, 0, 1) == 0
            assert np.array_equal(bright & sure, expected & sure)
    assert boxes > 10


@pytest.mark.parametrize("kind", DRAWING[1:])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("training", [True, False])
def test_every_engine_draws_the_same(kind, table, recipe, training):
    expected = list(loader_of(TORCH, table, recipe, training=training))
    found = list(loader_of(kind, table, recipe, training=training))
    assert len(found) == len(expected)
    for batch, other in zip(found, expected, strict=True):
        assert batch.images.shape == other.images.shape
        assert torch.equal(batch.objects.boxes, other.objects.boxes)
        assert torch.equal(batch.objects.owners, other.objects.owners)
        assert (batch.images.cpu().float() - other.images.float()).abs().mean() < 1.0


def test_a_mosaic_is_made_of_several_pictures(table):
    (first, *_) = loader_of(TORCH, table, MOSAIC)
    assert (torch.bincount(first.objects.owners, minlength=5) > 1).any()


@pytest.mark.parametrize("kind", DRAWING)
def test_canvases_change_by_batch_alike_for_all_processes_and_after_a_pause(kind, table):
    alone = [batch.images for batch in loader_of(kind, table, MIXED)]
    shapes = [tuple(images.shape[2:]) for images in alone]
    assert shapes[0] == shapes[1] != shapes[2]
    ranks = [[b.images.shape[2:] for b in loader_of(kind, table, MIXED, rank=rank, world=2)] for rank in range(2)]
    assert ranks[0] == ranks[1]
    resumed = loader_of(kind, table, MIXED)
    resumed.load_state_dict({"epoch": 0, "batch": 1})
    assert all(torch.equal(a.images, b) for a, b in zip(resumed, alone[1:], strict=True))


@pytest.mark.parametrize("kind", DRAWING)
def test_a_letterbox_keeps_proportions_and_is_filled_with_the_mean_of_its_picture(kind, table):
    for batch in loader_of(kind, table, JITTER, training=False):
        for index, image in zip(batch.indices.tolist(), batch.images[:, 0].cpu().numpy(), strict=True):
            pixels = cv2.imread(str(table[index].path), cv2.IMREAD_GRAYSCALE)
            height, width = pixels.shape
            ratio = min(128 / height, 160 / width)
            down, across = round(height * ratio), round(width * ratio)
            top, left = (128 - down) // 2, (160 - across) // 2
            outside = np.ones_like(image, bool)
            outside[top : top + down, left : left + across] = False
            assert np.abs(image[outside].astype(float) - pixels.mean()).max(initial=0) < 2.5
            inside = image[top : top + down, left : left + across]
            exact = cv2.resize(pixels, (across, down), interpolation=cv2.INTER_AREA)
            assert np.abs(inside.astype(float) - exact).mean() < 2.5


@pytest.mark.parametrize("kind", DRAWING)
def test_an_unreadable_picture_costs_its_own_sample_and_its_part_of_others(kind, table, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no")
    damaged = table.with_samples([Sample(broken, 0, boxes=table[1].boxes), *table.samples[1:]])
    loader = loader_of(kind, damaged, MOSAIC)
    batches = list(loader)
    assert list(loader.failures) == [str(broken)]
    lost = [int(i) for b in batches for i, w in zip(b.indices, b.weights, strict=True) if not w]
    assert lost.count(0) == 1
    assert sum(int(b.weights.sum()) for b in batches) == 11
    for batch in batches:
        rows = torch.nonzero((batch.indices == 0) & (batch.weights == 0)).flatten()
        assert not torch.isin(batch.objects.owners, rows).any()


def test_the_resident_engine_gives_way_by_name(table, caplog):
    assert choose_engine("resident", table, CPU, MOSAIC) == "torch"
    assert "the torch engine takes over" in caplog.text
    assert choose_engine("resident", table, CPU, find_recipe("radiograph", 32)) == "resident"
    loader = build_loader(table, MOSAIC, batch_size=4, training=True, device=CPU, engine="resident", threads=0)
    assert type(loader).__name__ == "TorchLoader"


def test_a_mosaic_of_too_few_pictures_is_one_sentence(table):
    few = table.with_samples(table.samples[:3])
    with pytest.raises(UsageError, match="A mosaic takes 4 pictures, and there are only 3 training images"):
        build_loader(few, MOSAIC, batch_size=1, training=True, device=CPU)
    build_loader(few, MOSAIC, batch_size=1, training=False, device=CPU)


def test_mosaics_take_their_pictures_as_the_sampling_weights_say(table):
    """Pictures of weight 0 appear in no mosaic either."""
    weights = np.ones(12)
    weights[6:] = 0.0
    loader = loader_of(TORCH, table, MOSAIC, weights=weights)
    assert max(int(plan.pictures.max()) for plan in loader._plans(0, 0)) < 6
