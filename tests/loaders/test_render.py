"""Rendering against Pillow: what the engine draws is what the affine says."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from benchmarks.exact import exact_rendering
from xraycls.data.image import decoded, jpeg_frame, to_uint8
from xraycls.data.open import open_image, read_grey
from xraycls.errors import DataError
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.render import decoding_of, draw, draw_each, render
from xraycls.loaders.views import Canvas, View, Views
from xraycls.types import Sample


def smooth(width: int, height: int) -> np.ndarray:
    """A picture without fine detail, so that resampling alone can't explain a difference."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    wave = np.sin(x / width * 9) * np.cos(y / height * 7) + x / width
    return np.uint8(255 * (wave - wave.min()) / np.ptp(wave))


@pytest.mark.parametrize("preset", ["radiograph", "classic2021", "none"])
@pytest.mark.parametrize("suffix", [".jpeg", ".png"])
def test_smooth_pictures_are_rendered_to_a_fraction_of_a_grey_level(tmp_path, preset, suffix):
    path = tmp_path / f"smooth{suffix}"
    PillowImage.fromarray(smooth(900, 700)).save(path, quality=95)
    recipe = find_recipe(preset, 96)
    for position in range(6):
        image = open_image(Sample(path))
        view = recipe.training_view(7, 0, position, image.width, image.height)
        exact = exact_rendering(path, view, 96)
        difference = np.abs(render(image, view, Canvas(96, 96)) - exact)
        # Along the black border outside the image one side interpolates and the other averages.
        assert np.median(difference) < 0.8
        assert difference.mean() < 1.6


@pytest.mark.parametrize("step", [2.3, 3.0, 3.7, 6.5])
def test_a_part_of_a_picture_is_shrunk_as_exactly_as_all_of_it(tmp_path, step):
    """Also where an odd last row and column are at the part's edge, which halves count twice."""
    width, height, size = 457, 391, 48
    path = tmp_path / "smooth.png"
    PillowImage.fromarray(smooth(width, height)).save(path)
    image = open_image(Sample(path))
    for left, top in ((0, 0), (width - size * step, height - size * step), (61.3, 40.8)):
        view = View(np.array([[step, 0.0, left], [0.0, step, top]]))
        difference = np.abs(render(image, view, Canvas(size, size, None)) - exact_rendering(path, view, size))
        assert difference[1:-1, 1:-1].max() <= 1.5
        assert difference.mean() < 0.8


@pytest.mark.parametrize("fill", [0, 90, None])
@pytest.mark.parametrize("targets", [None, [(0, 0, 40, 32), (8, 4, 40, 32)]])
def test_several_pictures_are_drawn_as_each_would_be_alone(tmp_path, fill, targets):
    """JPEGs decoded at a smaller scale; pictures shrunk, enlarged or only warped; and one that is no picture."""
    rng, canvas = np.random.default_rng(3), Canvas(32, 40, fill)
    images: list = [decoded(smooth(side, side - 10)) for side in (48, 70, 100, 200)]
    for side in (90, 300):
        path = tmp_path / f"{side}.jpeg"
        PillowImage.fromarray(smooth(side, side)).save(path)
        images.append(open_image(Sample(path)))
    images = [replace(image, grid=(0.5, 0.25)) if image.scales == (1,) else image for image in images * 4]
    count = len(images)
    turns, steps = rng.uniform(-1, 1, count), rng.choice([0.2, 0.9, 1.0, 1.9, 2.0, 2.7, 5.0], count)
    matrices = np.empty((count, 2, 3))
    matrices[:, 0] = np.stack([steps * np.cos(turns), -steps * np.sin(turns), rng.uniform(-20, 20, count)], axis=1)
    matrices[:, 1] = np.stack([steps * np.sin(turns), steps * np.cos(turns), rng.uniform(-20, 20, count)], axis=1)
    greys = rng.uniform(-0.2, 0.2, (2, count))
    where = None if targets is None else np.array(targets * (count // 2))
    views = Views(matrices, greys[0], 1.0 + greys[1], 2.0 ** greys[1], where)
    images[5] = DataError("no picture")
    together = np.zeros((count, 32, 40), np.uint8)
    assert list(draw_each(images, views, canvas, list(together))) == [5]
    for number in set(range(count)) - {5}:
        alone = np.zeros((32, 40), np.uint8)
        draw(images[number], views[number], canvas, alone)
        assert np.array_equal(together[number], alone), number


@pytest.mark.exhaustive
@pytest.mark.parametrize("preset", ["radiograph", "classic2021"])
def test_real_radiographs_differ_from_the_exact_rendering_by_less_than_two_grey_levels(shared, preset):
    recipe = find_recipe(preset, 224)
    files = sorted((shared / "data" / "kermany_native").glob("*/*.jpeg"))[::12]
    differences = []
    for position, path in enumerate(files):
        image = open_image(Sample(path))
        view = recipe.training_view(0, 0, position, image.width, image.height)
        differences.append(np.abs(render(image, view, Canvas(224, 224)) - exact_rendering(path, view, 224)).mean())
    assert len(differences) == 10
    assert np.mean(differences) < 1.5
    assert np.max(differences) < 2.5


def test_large_jpegs_are_decoded_small_and_small_ones_whole(tmp_path):
    recipe = find_recipe("none", 100)
    for side, reduce in ((90, 1), (199, 1), (200, 2), (450, 4), (900, 8), (4000, 8)):
        path = tmp_path / f"{side}.jpeg"
        PillowImage.fromarray(smooth(side, side)).save(path)
        image = open_image(Sample(path))
        assert decoding_of(image, recipe.evaluation_view(side, side))[0] == reduce
        assert image.decode(reduce).shape == (-(-side // reduce),) * 2


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpeg"])
def test_exif_orientation_turns_every_format(tmp_path, suffix):
    path = tmp_path / f"turned{suffix}"
    picture = PillowImage.fromarray(smooth(80, 40))
    exif = PillowImage.Exif()
    exif[274] = 6
    picture.save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    image = open_image(Sample(path))
    assert (image.width, image.height) == (40, 80)
    upright = np.asarray(picture.rotate(-90, expand=True), np.float64)
    assert np.abs(image.decode(1) - upright).mean() < 3


def test_exif_orientation_turns_size_and_pixels_at_every_scale(tmp_path):
    path = tmp_path / "turned.jpeg"
    picture = PillowImage.fromarray(smooth(320, 160))
    exif = PillowImage.Exif()
    exif[274] = 6
    picture.save(path, exif=exif, quality=95)
    image = open_image(Sample(path))
    assert (image.width, image.height) == (160, 320)
    upright = np.asarray(picture.rotate(-90, expand=True), np.float64)
    assert np.abs(image.decode(1) - upright).mean() < 1.5
    assert image.decode(2).shape == (160, 80)


def test_grey_levels_change_by_the_formula():
    view = View(np.eye(3)[:2], brightness=0.1, contrast=1.3, gamma=0.7)
    expected = [min(max(((g / 255) ** 0.7 - 0.5) * 1.3 + 0.6, 0), 1) * 255 for g in range(256)]
    assert np.abs(view.curve - np.array(expected)).max() <= 0.5 + 1e-9
    assert np.array_equal(View(np.eye(3)[:2]).curve, np.arange(256))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"x" * 3000}, {"dpi": (300, 300)}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_the_size_of_every_kind_of_jpeg_is_read_as_pillow_does(tmp_path, options, mode):
    path = tmp_path / "a.jpeg"
    picture = PillowImage.fromarray(smooth(333, 77)).convert(mode)
    picture.save(path, **options)
    assert jpeg_frame(path.read_bytes()) == (None if mode == "CMYK" else (333, 77, len(mode)))
    image = open_image(Sample(path))
    assert image.decode(1).shape == (image.height, image.width) == (77, 333)


@pytest.mark.parametrize(
    ("tags", "is_simple"), [({}, True), ({271: "maker"}, True), ({274: 1}, True), ({271: "maker", 274: 6}, False)]
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_of_jpegs_with_exif_is_told_from_the_header_unless_they_are_turned(tmp_path, tags, is_simple, order):
    path = tmp_path / "a.jpeg"
    exif = PillowImage.Exif()
    exif.endian = order
    exif.update(tags)
    PillowImage.fromarray(smooth(333, 77)).save(path, exif=exif.tobytes())
    whole = path.read_bytes()
    assert jpeg_frame(whole) == ((333, 77, 1) if is_simple else None)
    assert jpeg_frame(whole[:40]) is None
    image = open_image(Sample(path))
    assert image.decode(1).shape == (image.height, image.width) == ((77, 333) if is_simple else (333, 77))
    cut = whole.index(b"Exif") + 12
    damaged = whole[:cut] + b"\xff\xff" + whole[cut + 2 :]
    assert jpeg_frame(damaged) is None


def test_the_size_of_real_jpegs_is_read_as_pillow_does(shared):
    for path in sorted((shared / "data" / "kermany_native").glob("*/*.jpeg"))[::5]:
        with PillowImage.open(path) as picture:
            assert jpeg_frame(path.read_bytes()) in ((*picture.size, len(picture.getbands())), None)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_sixteen_bit_files_use_the_bits_they_hold(tmp_path, bits):
    values = np.linspace(0, 2**bits - 1, 64 * 48).reshape(48, 64).astype(np.uint16)
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), values)
    assert np.abs(read_grey(path) - values * (255.0 / (2**bits - 1))).max() <= 0.5 + 1e-3


def test_colour_and_alpha_become_the_luma_that_pillow_computes(tmp_path):
    rng = np.random.default_rng(0)
    for mode, channels in (("RGB", 3), ("RGBA", 4)):
        path = tmp_path / f"{mode}.png"
        picture = PillowImage.fromarray(rng.integers(0, 256, (20, 30, channels), dtype=np.uint8), mode)
        picture.save(path)
        assert np.abs(read_grey(path).astype(int) - np.asarray(picture.convert("L"), int)).max() <= 1


def test_floating_point_pixels_are_stretched_to_their_range():
    assert to_uint8(np.array([[0.5, 1.0], [1.5, 2.5]])).tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.png", b"not a picture", "is not an image"),
        ("gone.jpg", None, "could not be read"),
    ],
)
def test_bad_files_are_one_sentence_that_names_them(tmp_path, name, content, words):
    path: Path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        open_image(Sample(path)).decode(1)
    assert str(path) in str(caught.value)
    assert caught.value.path == path
