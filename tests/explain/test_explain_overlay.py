"""Pictures of class activation maps."""

import cv2
import matplotlib
import numpy as np
import pytest
from PIL import Image

from xraycls.data.lettering import write_picture
from xraycls.errors import UsageError
from xraycls.explain.overlay import overlay, side_by_side

GREY = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (90, 1))


def test_where_the_map_is_low_the_radiograph_is_untouched():
    low = np.full((7, 7), 0.09, np.float32)
    assert np.array_equal(overlay(GREY, low), np.repeat(GREY[..., None], 3, axis=2))


def test_the_peak_has_the_top_colour_of_plasma_over_the_grey_level():
    blended = overlay(GREY, np.ones((7, 7), np.float32))
    top = 255 * np.array(matplotlib.colormaps["plasma"](1.0)[:3])
    np.testing.assert_allclose(blended, 0.6 * top + 0.4 * GREY[..., None], atol=1.5)


def test_colour_grows_with_the_map():
    flat = np.full((10, 101), 110, np.uint8)
    blended = overlay(flat, np.tile(np.linspace(0, 1, 101, dtype=np.float32), (10, 1))).astype(int)
    colourfulness = np.ptp(blended, axis=2)[5]
    assert colourfulness[0] == 0
    assert (np.diff(colourfulness[::10]) >= 0).all()
    assert colourfulness[-1] > 80


def test_the_map_covers_the_whole_image_whatever_its_size():
    cam = np.zeros((7, 7), np.float32)
    cam[6, 0] = 1
    colour = np.ptp(overlay(np.full((300, 700), 100, np.uint8), cam).astype(int), axis=2)
    row, column = np.unravel_index(colour.argmax(), colour.shape)
    assert row > 250
    assert column < 100
    assert colour[:150].max() == 0


@pytest.mark.parametrize("shape", [(28, 28), (1200, 1500), (2000, 300), (90, 2000), (640, 640)])
def test_panels_have_a_sensible_size_and_the_images_own_shape(shape):
    rgb = side_by_side(np.full(shape, 200, np.uint8), np.zeros((7, 7)), "NORMAL", 0.75, "ResNet18")
    assert rgb.dtype == np.uint8
    assert 100 < rgb.shape[0] <= 720
    assert 700 < rgb.shape[1] < 2800
    panels = (rgb == 200).all(axis=2)
    height = (panels.sum(1) > 100).sum()
    assert panels.sum() == pytest.approx(2 * height**2 * shape[1] / shape[0], rel=0.03)


def test_the_radiograph_is_on_the_left_and_the_map_on_the_right():
    image = np.full((640, 640), 128, np.uint8)
    rgb = side_by_side(image, np.ones((7, 7)), "PNEUMONIA", 0.5, "ResNet18").astype(int)
    assert (rgb[60:690, 20:640] == 128).all()
    assert np.ptp(rgb[60:690, 680:1300], axis=2).min() > 50


def header(rgb):
    return rgb[:52].max(axis=2) > 128


def test_class_and_probability_are_written_and_long_names_are_cut_not_spilled():
    image, cam = np.full((640, 640), 0, np.uint8), np.zeros((7, 7))
    short = header(side_by_side(image, cam, "A", 0.1, ""))
    assert short.any()
    assert not np.array_equal(short, header(side_by_side(image, cam, "B", 0.1, "")))
    assert not np.array_equal(short, header(side_by_side(image, cam, "A", 0.2, "")))
    long = header(side_by_side(image, cam, "x" * 500, 0.1, "t" * 500))
    assert not long[:, 656:672].any()
    assert not long[:, 1312:].any()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_is_written_and_reads_back(tmp_path, suffix):
    smooth = cv2.applyColorMap(GREY, cv2.COLORMAP_VIRIDIS)[..., ::-1]
    write_picture(smooth, tmp_path / f"CAM_ResNet18{suffix}")
    with Image.open(tmp_path / f"CAM_ResNet18{suffix}") as picture:
        assert np.abs(np.asarray(picture).astype(int) - smooth).mean() < 2
    assert len(list(tmp_path.iterdir())) == 1


def test_a_suffix_without_a_format_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"can't be written as \.xyz"):
        write_picture(np.zeros((2, 2, 3), np.uint8), tmp_path / "cam.xyz")
