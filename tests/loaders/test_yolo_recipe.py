"""YOLOv4's augmentation against upstream's executed code: the same draws give the same boxes and pixels."""

import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.data.image import Image
from xraycls.loaders.objects import on_canvas, on_source
from xraycls.loaders.recipes.yolo_v4 import (
    YoloV4Recipe,
    jittered,
    letterbox,
    quarter,
    random_crop,
    random_side,
)
from xraycls.loaders.render import render
from xraycls.loaders.views import Canvas, View

GOLDEN = Path(__file__).parents[1] / "golden" / "yolo_augmentation.json"
CASES = json.loads(GOLDEN.read_text())["cases"]
PIXELS = np.load(GOLDEN.with_suffix(".npz"))
SIZES = [(300.0, 200.0), (150.0, 260.0), (512.0, 512.0)]


def case(name: str) -> dict:
    return next(each for each in CASES if each.get("case") == name)


def formula_image(described: str) -> np.ndarray:
    """The picture that the reference describes as "HxW key", uint8 [H, W, 3]: a hash of every index."""
    shape, key = described.split()
    height, width = map(int, shape.split("x"))
    h = np.arange(height * width * 3, dtype=np.uint64) * 0x9E3779B1 + zlib.crc32(key.encode()) & 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h ^= h >> np.uint64(shift)
        h = h * factor & 0xFFFFFFFF
    h ^= h >> np.uint64(16)
    levels = np.floor(127.5 * (h / 2147483648.0))
    return levels.astype(np.uint8).reshape(height, width, 3)


def opened(pixels: np.ndarray) -> Image:
    return Image(pixels.shape[1], pixels.shape[0], lambda _: np.ascontiguousarray(pixels))


def region_of(name: str) -> tuple[float, float, float, float]:
    """Left, top, width and height that a case's draws give."""
    given_ = case(name)
    height, width = formula_image(given_["image"]).shape[:2]
    if "jitter" in given_:
        return jittered(width, height, given_["jitter"], given_["resize_ar"], given_["rand"])
    # Of a number below n upstream draws integers, we a share of n; the middle of its step gives the same integer.
    ends = [call[1] for call in given_["randint_calls"][1:]]
    shares = [(drawn + 0.5) / end for drawn, end in zip(given_["randint"], ends, strict=True)]
    return random_crop(width, height, given_["crop_ar"], given_["min_box_ratio"], [*given_["rand"], *shares])


@pytest.mark.parametrize("name", ["jitter_wide", "jitter_none", "crop_wide"])
def test_regions_of_jitter_and_crops_are_those_of_upstream(name):
    golden = case(name)
    height, width = formula_image(golden["image"]).shape[:2]
    left, top, across, down = region_of(name)
    assert [down, across] == golden["output_hw"]
    boxes = np.array(golden["boxes_in"]) * (width, height, width, height)
    shown = (boxes - (left, top, left, top)) / (across, down, across, down)
    assert np.abs(shown - golden["boxes_out"]).max() < 1e-12


@pytest.mark.parametrize("name", ["jitter_wide", "jitter_none", "crop_wide"])
def test_regions_hold_the_pixels_of_upstream(name):
    """Inside the picture exactly; what jitter adds is the mean of the picture there, and of what is seen of it here."""
    pixels, (left, top, across, down) = formula_image(case(name)["image"]), region_of(name)
    height, width = pixels.shape[:2]
    canvas = Canvas(int(down), int(across), fill=None)
    target = max(0, -left), max(0, -top), min(across, width - left), min(down, height - top)
    view = View(np.array([[1.0, 0, left], [0, 1, top]]), target=tuple(map(int, target)))
    drawn = np.stack([render(opened(pixels[..., i]), view, canvas) for i in range(3)], axis=-1)
    difference = np.abs(drawn - PIXELS[case(name)["output"]])
    x0, y0, x1, y1 = view.target
    assert difference[y0:y1, x0:x1].max() < 1e-3
    assert difference.max() < 6.0


def test_a_letterbox_is_upstreams_of_evaluation():
    golden = case("letterbox_wide")
    pixels, canvas = formula_image(golden["image"]), Canvas(32, 32, fill=None)
    height, width = pixels.shape[:2]
    view = YoloV4Recipe(canvas).evaluation_views((width, height))[0]
    assert view.target == letterbox(width, height, canvas)
    boxes = np.array(golden["boxes_in"]) * (width, height, width, height)
    shown = on_canvas(boxes, np.repeat(view.matrix[None], 2, axis=0))
    assert np.abs(shown / 32 - golden["boxes_out"]).max() < 1e-12
    assert np.abs(on_source(shown, np.repeat(view.matrix[None], 2, axis=0)) - boxes).max() < 1e-9
    drawn = np.stack([render(opened(pixels[..., i]), view, canvas) for i in range(3)], axis=-1)
    assert np.abs(drawn - PIXELS[golden["output"]]).max() < 1.6  # upstream keeps fractions of grey levels


class Listed(YoloV4Recipe):
    """A recipe whose random numbers are given."""

    __slots__ = ()
    numbers = np.zeros((1, 56))

    @staticmethod
    def _drawn(seed, epoch, first, count):
        return Listed.numbers


def test_the_boxes_of_a_whole_sample_are_upstreams(monkeypatch):
    golden = case("no_mosaic_jitter")
    config, rand = golden["config"], golden["rand"]
    numbers = np.zeros((1, 56))
    numbers[0, 0] = rand[0]  # mosaic or not; then factor and its inverse, flips, and four margins of the picture
    numbers[0, 8:17] = [rand[2], rand[4], rand[7], rand[6], 0.0, *rand[8:12]]
    monkeypatch.setattr(Listed, "numbers", numbers)
    width, height = golden["output_wh"]
    recipe = Listed(
        Canvas(height, width, fill=None),
        vertical_flip=config["vertical_flip"],
        horizontal_flip=config["horizontal_flip"],
        jitter=config["jitter"],
        mosaic=config["mosaic_prob"],
    )
    assert recipe.sources(0, 0, 0, np.array([0]), np.arange(4)).tolist() == [[0, -1, -1, -1]]
    source = formula_image(golden["images"][0]).shape
    size = np.array([source[1], source[0]] * 2)
    boxes = np.array(golden["labels_in"][0])[:, 2:] * size
    views = recipe.training_views(0, 0, 0, size[:2])
    shown, kept = recipe.clip(on_canvas(boxes, np.repeat(views.matrices, len(boxes), axis=0)), True)
    assert kept.all()
    assert np.abs(shown / (width, height, width, height) - np.array(golden["labels_out"])[:, 2:]).max() < 1e-12


@pytest.mark.parametrize(("ftype", "field"), [(0, "vertical_flip"), (1, "horizontal_flip")])
def test_flips_are_upstreams(ftype, field):
    golden = next(each for each in CASES if each["function"] == "aug_flip" and each["ftype"] == ftype)
    flips = {"vertical_flip": 0.0, "horizontal_flip": 0.0, field: 1.0}
    recipe = YoloV4Recipe(Canvas(100, 100, fill=None), jitter=0.0, mosaic=0.0, **flips)
    matrices = np.repeat(recipe.training_views(0, 0, 0, (100, 100)).matrices, 2, axis=0)
    shown = on_canvas(np.array(golden["boxes_in"]) * 100, matrices) / 100
    assert np.abs(shown - golden["boxes_out"]).max() < 1e-12


def test_exposure_of_a_grey_picture_is_what_opencv_makes_of_its_value():
    """Upstream's colour step on grey: value times factor, rounded and clipped."""
    levels = np.arange(256, dtype=np.float32).reshape(16, 16)
    hsv = cv2.cvtColor(np.repeat(levels[..., None], 3, axis=2), cv2.COLOR_RGB2HSV)
    recipe = YoloV4Recipe(Canvas(16, 16, fill=None), exposure=1.5, mosaic=0.0)
    for view in recipe.training_views(0, 0, 0, [(16, 16)] * 20):
        expected = np.clip(np.round(hsv[..., 2] * view.contrast), 0, 255)
        assert np.abs(view.curve.reshape(16, 16) - expected).max() <= 1
    factors = recipe.training_views(0, 0, 0, [(16, 16)] * 400).contrast
    assert 1 / 1.5 <= factors.min() < 0.72
    assert 1.4 < factors.max() <= 1.5
    assert 0.4 < (factors < 1).mean() < 0.6


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.sampled_from([0.1, 0.2, 0.45]))
def test_the_parts_of_a_mosaic_tile_the_canvas(x, y, least):
    canvas = Canvas(96, 160)
    parts = [quarter(canvas, least, (x, y), place) for place in range(4)]
    covered = np.zeros(canvas.shape, int)
    for left, top, right, bottom in parts:
        covered[top:bottom, left:right] += 1
        assert right - left >= int(160 * least)
        assert bottom - top >= int(96 * least)
    assert (covered == 1).all()


@given(
    st.floats(0.1, 0.9),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4),
    st.integers(20, 900),
    st.integers(20, 900),
)
def test_crops_lie_inside_their_picture_and_have_the_aspect_asked_for(least, draws, width, height):
    left, top, across, down = random_crop(width, height, 1.5, least, draws[:3])
    assert 0 <= left <= left + across <= width
    assert 0 <= top <= top + down <= height
    assert abs(across - 1.5 * down) <= 1.5


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(20, 900), st.integers(20, 900))
def test_jitter_never_loses_the_picture(draws, width, height):
    left, top, across, down = jittered(width, height, 0.9, 1.0, draws)
    assert min(left + across, width) > max(left, 0)
    assert min(top + down, height) > max(top, 0)


def test_sizes_of_training_go_from_three_fifths_to_three_halves():
    """The same for all batches of a period, another one after it."""
    recipe = YoloV4Recipe(Canvas(320, 416, fill=None), shape_period=5)
    canvases = [recipe.for_batch(3, 0, number).canvas for number in range(400)]
    assert all(canvases[i] == canvases[i - i % 5] for i in range(400))
    assert {c.height for c in canvases} == set(range(192, 481, 32))
    assert {c.width for c in canvases} == set(range(256, 641, 32))
    assert recipe.for_batch(3, 1, 0).canvas != canvases[0]
    assert [random_side(320, draw) for draw in (0.0, 0.999)] == [192, 480]
    assert YoloV4Recipe(Canvas(320, 320)).for_batch(0, 0, 9).canvas == Canvas(320, 320)


@given(seed=st.integers(0, 2**32), first=st.integers(0, 10_000), epoch=st.integers(0, 500))
def test_a_mosaic_follows_from_its_place_alone(seed, first, epoch):
    recipe = YoloV4Recipe(Canvas(64, 96, fill=None), mosaic=0.5)
    pool = np.arange(100)[::-1]
    together = recipe.sources(seed, epoch, first, np.array([5, 6, 7]), pool)
    alone = recipe.sources(seed, epoch, first + 2, np.array([7]), pool)
    assert together[2].tolist() == alone[0].tolist()
    counts = (together >= 0).sum(axis=1)
    owners = np.repeat(np.arange(3), counts)
    sizes = np.array(SIZES)[owners]
    all_views = recipe.training_views(seed, epoch, first, sizes, owners=owners)
    last = recipe.training_views(seed, epoch, first + 2, sizes[owners == 2], owners=np.zeros(counts[2], np.int64))
    assert np.array_equal(all_views.matrices[owners == 2], last.matrices)
    assert np.array_equal(all_views.targets[owners == 2], last.targets)
    assert np.array_equal(all_views.contrast[owners == 2], last.contrast)


def test_boxes_below_a_thousandth_of_the_canvas_are_dropped():
    recipe = YoloV4Recipe(Canvas(1000, 2000, fill=None))
    boxes = np.array([[0, 0, 2.1, 1.1], [0, 0, 1.9, 5], [0, 0, 5, 0.9], [-9, -9, 3000, 3000]], float)
    cut, kept = recipe.clip(boxes, False)
    assert kept.tolist() == [True, False, False, True]
    assert cut[3].tolist() == [0, 0, 2000, 1000]
