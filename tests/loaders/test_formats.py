"""Unusual files: every engine gives the right picture, or the same named failure."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.loaders.engines import ENGINES, build
from xraycls.data.table import SampleTable
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.sampler import Sampler
from xraycls.types import Sample

SIZE = 64


def radiograph(width: int = 300, height: int = 200) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    grey = 255 * (0.2 + 0.5 * x + 0.3 * y * np.sin(6 * x))
    return Image.fromarray(np.uint8(np.clip(grey, 0, 255)))


def turned() -> dict[str, Image.Exif]:
    exif = Image.Exif()
    exif[274] = 6
    return {"exif": exif}


def deep(path):
    cv2.imwrite(str(path), np.uint16(np.asarray(radiograph(), np.float64) * 257))


FILES = {
    "grey.jpeg": lambda p: radiograph().save(p, quality=95),
    "colour.jpeg": lambda p: radiograph().convert("RGB").save(p, quality=95),
    "progressive.jpeg": lambda p: radiograph().save(p, quality=95, progressive=True),
    "cmyk.jpeg": lambda p: radiograph().convert("CMYK").save(p, quality=95),
    "turned.jpeg": lambda p: radiograph().save(p, quality=95, **turned()),
    "grey.png": lambda p: radiograph().save(p),
    "colour.png": lambda p: radiograph().convert("RGB").save(p),
    "alpha.png": lambda p: radiograph().convert("RGBA").save(p),
    "grey_alpha.png": lambda p: radiograph().convert("LA").save(p),
    "palette.png": lambda p: radiograph().convert("P", palette=Image.Palette.ADAPTIVE).save(p),
    "sixteen_bit.png": deep,
    "turned.png": lambda p: radiograph().save(p, **turned()),
    "picture.webp": lambda p: radiograph().convert("RGB").save(p, quality=95),
    "picture.tiff": lambda p: radiograph().save(p),
    "one_pixel.png": lambda p: Image.new("L", (1, 1), 77).save(p),
    "one_pixel.jpeg": lambda p: Image.new("L", (1, 1), 77).save(p),
    "wide.jpeg": lambda p: radiograph(30_000, 120).save(p, quality=90),
    "tall.png": lambda p: radiograph(120, 30_000).save(p),
}
BROKEN = {
    "broken.png": lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40)),
    "huge.png": lambda p: Image.new("1", (30_000, 30_000)).save(p),
    "page.jpeg": lambda p: p.write_text("<html>not found</html>"),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    for name, write in (FILES | BROKEN).items():
        write(folder / name)
    samples = tuple(Sample(folder / name, label=0) for name in FILES | BROKEN)
    return SampleTable(samples, ("a", "b"), folder, "files")


def pictures(kind, table, training):
    recipe = find_recipe("radiograph", SIZE)
    loader = build(kind, table, recipe, Sampler(table.labels, 7, training=training))
    found = {}
    for batch in loader:
        for index, image, weight in zip(batch.indices.tolist(), batch.images, batch.weights.tolist(), strict=True):
            if weight:
                found[table[index].path.name] = image[0].float().cpu()
    return found, {Path(name).name for name in loader.failures}


@pytest.fixture(scope="module")
def of_torch(table):
    return {training: pictures(("torch", torch.device("cpu")), table, training) for training in (True, False)}


def expected(path) -> np.ndarray:
    with Image.open(path) as image:
        if image.mode.startswith("I;16"):
            return np.asarray(image, np.float64) / 257
        exif = image.getexif().get(274)
        grey = image.convert("L")
        return np.asarray(grey.rotate(-90, expand=True) if exif == 6 else grey, np.float64)


def test_torch_gives_what_pillow_sees(table, of_torch):
    found, _ = of_torch[False]
    for sample in table:
        if sample.path.name in FILES:
            pixels = expected(sample.path)
            exact = cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            difference = np.abs(found[sample.path.name].numpy() - exact)
            assert difference.mean() < 2.5, sample.path.name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ENGINES)
def test_every_engine_gives_the_same_pictures_and_the_same_failures(kind, table, of_torch, training):
    found, failed = pictures(kind, table, training)
    others, failed_of_torch = of_torch[training]
    assert failed == failed_of_torch == set(BROKEN)
    assert set(found) == set(others) == set(FILES)
    for name, picture in found.items():
        assert (picture - others[name]).abs().mean() < 2.5, name


@pytest.mark.parametrize("name", ["lossless_12bit.dcm", "lossless_16bit.dcm"])
@pytest.mark.parametrize("kind", ENGINES)
def test_lossless_jpeg_of_more_than_8_bits_is_the_same_picture_on_every_engine(kind, name):
    """Decoders of GPUs have filled such frames with zeros and reported success."""
    pytest.importorskip("pylibjpeg", reason="needs the extra dicom")
    path = Path(__file__).parents[1] / "golden" / name
    files = SampleTable((Sample(path, label=0),), ("a", "b"), path.parent, "files")
    found, failed = pictures(kind, files, training=False)
    assert not failed
    assert float(found[name].mean()) == pytest.approx(168.7, abs=1.5)
