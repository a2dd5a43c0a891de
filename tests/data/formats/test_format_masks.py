"""Masks beside pictures as boxes."""

import numpy as np
import pytest
from PIL import Image

from xraycls.data.formats import detect_format
from xraycls.data.formats.masks import regions
from xraycls.data.source import read_table
from xraycls.errors import DataError
from xraycls.loaders.outlines import drawn
from xraycls.loaders.views import Canvas


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    mask = np.zeros((20, 30))
    mask[2:6, 3:10] = mask[10:15, 20:25] = 255
    for name in ("a", "b", "c"):
        save(tmp_path / "images" / f"{name}.png", np.arange(600).reshape(20, 30) % 251)
    save(tmp_path / "masks" / "nodule" / "a.png", mask)
    save(tmp_path / "masks" / "b_mask.png", np.zeros((20, 30)))
    return tmp_path


def corners(sample):
    return [(b.label, b.left, b.top, b.right, b.bottom) for b in sample.boxes]


def test_every_region_is_an_object_of_the_class_of_its_folder(folder, caplog):
    assert detect_format(folder).name == "masks"
    table = read_table(folder)
    assert [sample.path.name for sample in table] == ["a.png", "b.png"]
    assert corners(table[0]) == [("nodule", 3, 2, 10, 6), ("nodule", 20, 10, 25, 15)]
    assert corners(table[1]) == []
    assert "1 pictures of" in caplog.text
    assert "have no mask: c" in caplog.text


def test_regions_are_those_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = (np.random.default_rng(0).random((40, 50)) > 0.7).astype(np.uint8) * 3
    found = ndimage.find_objects(ndimage.label(mask, np.ones((3, 3)))[0])
    ours = [(b.left, b.top, b.right, b.bottom) for b in regions(mask)]
    assert sorted(ours) == sorted((x.start, y.start, x.stop, y.stop) for y, x in found)


def test_an_outline_drawn_again_is_the_region_with_its_holes():
    rows, columns = np.mgrid[:300, :400]
    blob = ((rows - 140) / 110) ** 2 + ((columns - 170) / 90) ** 2 + 0.3 * np.sin(columns / 25) < 1
    hole = (rows - 150) ** 2 + (columns - 160) ** 2 < 900
    mask = (blob & ~hole).astype(np.uint8) * 255
    (region,) = regions(mask)
    rings = [
        np.array(ring) * (region.right - region.left, region.bottom - region.top) + (region.left, region.top)
        for ring in region.outline
    ]
    (again,) = drawn([rings], Canvas(300, 400)) > 127
    assert len(region.outline) == 2
    assert (again & (mask > 0)).sum() / (again | (mask > 0)).sum() > 0.98
    assert sum(map(len, region.outline)) < 100


def test_a_region_of_one_line_has_no_outline_but_its_box():
    mask = np.zeros((9, 9), np.uint8)
    mask[4, 2:7] = 1
    (region,) = regions(mask)
    assert (region.left, region.top, region.right, region.bottom, region.outline) == (2, 4, 7, 5, ())


def test_a_mask_of_another_size_is_refused(folder):
    save(folder / "masks" / "c.png", np.zeros((10, 30)))
    with pytest.raises(DataError, match=r"c\.png is 30 × 10 pixels, and its picture 30 × 20"):
        read_table(folder)


def test_a_picture_without_a_mask_stops_a_strict_reading(folder):
    with pytest.raises(DataError, match=r"1 pictures of .* have no mask: c"):
        read_table(folder, strict=True)
