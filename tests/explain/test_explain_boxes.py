"""Annotated pictures, pixel by pixel against Pillow's own drawing."""

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw

from xraycls.explain.boxes import annotated, colour_of
from xraycls.types import Box

GREY = np.tile(np.arange(200, dtype=np.uint8), (300, 1))
COLOURS = [ImageColor.getrgb(name) for name in ("Black", "Red", "Blue", "Gold", "Purple")]


def differs(picture: np.ndarray) -> np.ndarray:
    return (picture != np.repeat(GREY[:, :, None], 3, axis=2)).any(axis=2)


def test_nothing_found_leaves_the_picture():
    assert not differs(annotated(GREY, [], [])).any()


def test_the_frame_lies_on_the_outermost_pixels_of_the_box():
    picture = annotated(GREY, [Box("opacity", 40, 100, 120.2, 180.4, 0.871)], [1])
    expected = Image.fromarray(GREY).convert("RGB")
    ImageDraw.Draw(expected).rectangle((40, 100, 119, 179), outline=COLOURS[1], width=2)
    assert np.array_equal(picture[100:], np.asarray(expected)[100:])
    rows, columns = np.nonzero(differs(picture)[:100])
    assert rows.min() >= 80  # the caption stands on the frame
    assert columns.min() == 40


@pytest.mark.parametrize("number", range(8))
def test_the_first_classes_have_the_colours_of_tao_and_others_one_of_their_own(number):
    picture = annotated(GREY, [Box("a", 40, 100, 120, 180, 0.5)], [number])
    colour = tuple(picture[179, 60].tolist())
    assert colour == colour_of(number)
    assert colour == COLOURS[number] if number < 5 else colour not in [colour_of(other) for other in range(number)]
    caption = picture[86:99, 42:50].reshape(-1, 3)
    assert (caption == colour).all(axis=1).any()


def test_the_caption_says_class_and_score_in_two_digits():
    def caption(label: str, score: float | None) -> np.ndarray:
        return annotated(GREY, [Box(label, 10, 100, 120, 180, score)], [2])[:100]

    assert np.array_equal(caption("opacity", 0.871), caption("opacity", 0.8749))
    assert not np.array_equal(caption("opacity", 0.871), caption("opacity", 0.88))
    assert not np.array_equal(caption("opacity", 0.871), caption("nodule", 0.871))
    assert np.array_equal(caption("opacity: 0.87", None), caption("opacity", 0.87))


@pytest.mark.parametrize(
    "corners",
    [(-50, -60, 90, 100), (150, 250, 900, 1000), (-1e9, -1e9, 1e9, 1e9), (400, 400, 500, 500), (50, 50, 50, 50)],
)
def test_boxes_outside_the_picture_are_drawn_as_far_as_they_reach(corners):
    picture = annotated(GREY, [Box("opacity", *corners, 0.5)], [1])
    assert picture.shape == (300, 200, 3)
    red = (picture == COLOURS[1]).all(axis=2)
    assert red.any()  # the caption at least
    _, top, right, bottom = corners
    if 0 < right < 200 and bottom > 0:
        assert red[max(top, 0) + 40 : min(bottom, 300) - 1, right - 1].all()
    if right > 1000:
        assert not red[40:260, 195:].any()


def test_the_first_box_is_on_top():
    same = [Box("a", 40, 100, 120, 180, 0.9), Box("a", 40, 100, 120, 180, 0.2)]
    assert np.array_equal(annotated(GREY, same, [3, 1]), annotated(GREY, same[:1], [3]))


def test_lines_and_letters_grow_with_the_picture():
    large = np.zeros((2400, 2000), np.uint8)
    picture = annotated(large, [Box("opacity", 400, 1000, 1200, 1800, 0.9)], [1])
    assert (picture[1400, 390:420] == COLOURS[1]).all(axis=1).sum() == 6
    rows = np.nonzero((picture[:1000] > 0).any(axis=(1, 2)))[0]
    assert 1000 - rows.min() == 70
