"""Pictures that are in memory give the same grey levels as those in files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from pydicom import dcmread

from tests.data.dicoms import RAMP, dataset_of, write
from xraycls.data.open import open_content, open_image
from xraycls.errors import DataError
from xraycls.types import Sample

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 40), np.uint8)


def pixels_of(content):
    return open_content(content, Path("picture 1")).decode(1)


def test_bytes_give_what_their_file_gives(tmp_path):
    path = tmp_path / "a.png"
    PillowImage.fromarray(GREY).save(path)
    image = open_content(path.read_bytes(), Path("picture 1"))
    assert (image.width, image.height) == (40, 30)
    np.testing.assert_array_equal(image.decode(1), GREY)


def test_a_sample_with_content_reads_no_file():
    encoded = cv2.imencode(".png", GREY)[1].tobytes()
    np.testing.assert_array_equal(open_image(Sample(Path("nowhere"), content=encoded)).decode(1), GREY)


@pytest.mark.parametrize("extra", [(), (1,)])
def test_grey_arrays_stay_as_they_are(extra):
    np.testing.assert_array_equal(pixels_of(GREY.reshape(*GREY.shape, *extra)), GREY)


def test_colours_become_grey_as_pillow_weighs_them():
    colours = RNG.integers(0, 256, (30, 40, 4), np.uint8)
    grey = np.asarray(PillowImage.fromarray(colours[..., :3]).convert("L"))
    assert abs(pixels_of(colours).astype(int) - grey).max() <= 1
    np.testing.assert_array_equal(pixels_of(colours[..., :3]), pixels_of(colours))


def test_twelve_bits_are_scaled_to_eight():
    deep = np.array([[0, 4095]], np.uint16)
    assert pixels_of(deep).tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((5, 20, 20), np.uint8), "list of arrays"),
        (np.zeros(7), "shape"),
        (np.zeros((0, 4)), "shape"),
        (np.zeros((4, 4), bool), "bool"),
        (np.full((4, 4), "a"), "whole or floating-point"),
    ],
)
def test_arrays_that_are_no_picture_are_refused(array, sentence):
    with pytest.raises(DataError, match=sentence):
        pixels_of(array)


@pytest.mark.parametrize("damaged", [b"", b"no picture", b"\xff\xd8\xff\xe0"])
def test_damaged_bytes_are_named(damaged):
    with pytest.raises(DataError, match="picture 1"):
        pixels_of(damaged)


def test_a_dataset_gives_what_its_file_gives(tmp_path):
    path = write(tmp_path / "a.dcm", RAMP)
    np.testing.assert_array_equal(pixels_of(dcmread(path)), open_image(Sample(path)).decode(1))


def test_a_dataset_without_a_file_header_is_read_and_left_as_it_is(tmp_path):
    bare = dataset_of(RAMP)
    del bare.file_meta
    expected = open_image(Sample(write(tmp_path / "a.dcm", RAMP))).decode(1)
    np.testing.assert_array_equal(pixels_of(bare), expected)
    assert not hasattr(bare, "file_meta")
