from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from xraycls.data.markers import find_marker
from xraycls.data.open import read_grey
from xraycls.data.source import read_source


@pytest.fixture(scope="module")
def letters():
    """Draws text in a type face that the detector does not know."""
    matplotlib = pytest.importorskip("matplotlib")
    path = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")

    def draw(picture, text, x, y, size):
        image = Image.fromarray(picture)
        font = ImageFont.truetype(path, size)
        ImageDraw.Draw(image).text((x, y), text, 240, font, anchor="mm")
        return np.asarray(image)

    return draw


@pytest.fixture
def film():
    """Something like a chest: dark lungs on a grey ground, with grain."""
    picture = np.full((500, 460), 90, np.uint8)
    for x in (150, 310):
        cv2.ellipse(picture, (x, 270), (65, 150), 0, 0, 360, 40, -1)
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 8) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("letter", ["R", "L"])
@pytest.mark.parametrize(("x", "y"), [(45, 60), (420, 60), (40, 300), (230, 40)])
@pytest.mark.parametrize("size", [20, 36])
def test_a_burnt_in_letter_is_found_where_it_stands(film, letters, letter, x, y, size):
    marker = find_marker(letters(film, letter, x, y, size))
    assert marker is not None
    assert marker.letter == letter
    assert (marker.x * 460, marker.y * 500) == pytest.approx((x, y), abs=6)
    assert marker.height * 500 == pytest.approx(0.73 * size, abs=4)  # of a capital letter


def test_no_letter_no_marker(film, letters):
    assert find_marker(film) is None
    assert find_marker(letters(film, "PORTABLE", 120, 40, 24)) is None
    assert find_marker(letters(film, "R", 230, 300, 24)) is None  # in the mediastinum
    assert find_marker(letters(film, "O", 45, 60, 24)) is None
    assert find_marker(np.zeros((300, 300), np.uint8)) is None


def test_a_picture_too_small_to_read(film, letters):
    small = cv2.resize(letters(film, "R", 45, 60, 30), (140, 150), interpolation=cv2.INTER_AREA)
    assert find_marker(small) is None
    assert find_marker(np.zeros((1, 1), np.uint8)) is None


@pytest.mark.exhaustive
def test_the_real_originals(shared):
    """By eye, 109 of the 120 films have a whole R, all on the patient's right, which is the left of the picture."""
    found = [find_marker(read_grey(sample.path)) for sample in read_source(shared / "data/kermany_native")]
    markers = [marker for marker in found if marker]
    assert 100 <= len(markers) <= 109
    assert all(marker.letter == "R" and marker.x < 0.5 for marker in markers)
