import hashlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from xraycls.data.facts import SIDE, border_share, facts_of, picture_facts
from xraycls.data.headers import header_of, picture_headers
from xraycls.data.open import read_grey
from xraycls.data.phantom import write_phantom
from xraycls.data.prepare import prepare
from xraycls.data.source import read_source
from xraycls.data.store import read_store
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample

RNG = np.random.default_rng(3)


def scene(height=150, width=200, channels=1):
    """A smooth random picture, which JPEG keeps nearly as it is."""
    small = RNG.integers(0, 256, (6, 8, channels), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels).squeeze()


GREY, COLOUR = scene(), scene(channels=3)
FORMATS = {
    "grey.jpg": (Image.fromarray(GREY), {"quality": 95}, 8, 1),
    "rgb.jpg": (Image.fromarray(COLOUR), {"quality": 95}, 8, 3),
    "grey as rgb.jpg": (Image.fromarray(GREY).convert("RGB"), {"quality": 95}, 8, 3),
    "grey.png": (Image.fromarray(GREY), {}, 8, 1),
    "rgba.png": (Image.fromarray(COLOUR).convert("RGBA"), {}, 8, 4),
    "alpha.png": (Image.fromarray(GREY).convert("LA"), {}, 8, 2),
    "palette.png": (Image.fromarray(COLOUR).quantize(200), {}, 8, 3),
    "deep.png": (Image.fromarray(GREY.astype(np.uint16) * 257), {}, 16, 1),
    "deep.tif": (Image.fromarray(GREY.astype(np.uint16) * 257), {}, 16, 1),
    "grey.bmp": (Image.fromarray(GREY), {}, 8, 1),
    "rgb.webp": (Image.fromarray(COLOUR), {"lossless": True}, 8, 3),
}


@pytest.mark.parametrize("name", FORMATS)
def test_facts_against_pillow(tmp_path, name):
    image, options, depth, channels = FORMATS[name]
    path = tmp_path / name
    image.save(path, **options)
    facts = facts_of(Sample(path))
    with Image.open(path) as opened:
        # Pillow clips 16 bits instead of scaling them.
        grey = (np.asarray(opened, float) / 257 if depth == 16 else np.asarray(opened.convert("L"), float)).round()
        colours = np.asarray(opened.convert("RGB"), int)
    assert (facts.width, facts.height) == (200, 150)
    assert (facts.bytes, facts.depth, facts.channels) == (path.stat().st_size, depth, channels)
    assert facts.mean == pytest.approx(grey.mean(), abs=0.6)
    assert facts.contrast == pytest.approx(grey.std(), abs=0.6)
    chroma = np.ptp(colours, axis=2).mean() if depth == 8 else 0.0
    assert facts.colour == pytest.approx(chroma, abs=0.6)
    box = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BOX), int)
    assert facts.thumbnail.shape == (SIDE, SIDE)
    assert np.abs(facts.thumbnail - box).mean() < 1.5
    assert facts.digest == hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    header = header_of(Sample(path))
    for field in ("bytes", "width", "height", "depth", "channels", "format", "attributes"):
        assert getattr(header, field) == getattr(facts, field)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_jpeg_is_told_upright(tmp_path, orientation):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(GREY).save(path, quality=95, exif=exif)
    facts = facts_of(Sample(path))
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened)
    assert (facts.width, facts.height) == upright.size == (lambda h: (h.width, h.height))(header_of(Sample(path)))
    expected = np.asarray(upright.resize((SIDE, SIDE), Image.Resampling.BOX), int)
    assert np.abs(facts.thumbnail - expected).mean() < 2


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path):
    path = tmp_path / "large.jpg"
    big = cv2.resize(COLOUR, (2600, 2100), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(big).save(path, quality=95)
    facts = facts_of(Sample(path))
    grey = read_grey(path)
    assert (facts.width, facts.height) == (2600, 2100)
    assert facts.mean == pytest.approx(grey.mean(), abs=0.5)
    assert facts.colour == pytest.approx(np.ptp(big.astype(int), axis=2).mean(), abs=1)
    assert np.abs(facts.thumbnail - cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(int)).max() <= 2


def test_the_frame_is_measured():
    picture = RNG.integers(50, 200, (100, 200), dtype=np.uint8)
    assert border_share(picture) == 0
    picture[:10] = 0
    picture[:, 150:] = 255
    assert border_share(picture) == pytest.approx(1 - 0.9 * 0.75)
    picture[40, 60] = picture[40, 61] = 77
    assert border_share(np.full((30, 40), 12, np.uint8)) == 1


def test_containers_and_dicom(tmp_path):
    write_phantom(tmp_path / "phantom", images=6, size=96, dicom=True, threads=1)
    table = read_source(tmp_path / "phantom")
    prepare(tmp_path / "phantom", tmp_path / "store", size=32, threads=1)
    stored = read_store(tmp_path / "store")
    for original, facts in zip(picture_facts(table), picture_facts(stored, threads=2), strict=True):
        assert (facts.width, facts.height, facts.format) == (original.width, original.height, "array")
        assert (facts.bytes, facts.depth, facts.channels, facts.colour) == (32 * 32, 8, 1, 0)
        assert np.abs(facts.thumbnail - original.thumbnail.astype(int)).mean() < 12  # it has half the pixels
    dicom = facts_of(Sample(next((tmp_path / "phantom/dicom").rglob("*.dcm"))))
    assert (dicom.format, dicom.channels) == ("DICOM", 1)
    assert dicom.depth in (8, 10, 12, 14, 16)
    assert dict(dicom.attributes)["modality"] == "DX"
    with_pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", train_images=with_pixels, train_labels=np.arange(3))
    rows = picture_facts(read_source(tmp_path / "a.npz"))
    assert [f.mean for f in rows] == pytest.approx(with_pixels.mean(axis=(1, 2)).tolist())
    assert len({f.digest for f in rows}) == 3


def test_what_cannot_be_read_stands_in_its_place(tmp_path):
    good = tmp_path / "good.png"
    Image.fromarray(GREY).save(good)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "report.dcm").write_bytes(b"\0" * 300)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    names = ("good.png", "missing.png", "empty.png", "text.jpg", "report.dcm", "cut.png", "good.png")
    table = SampleTable(tuple(Sample(tmp_path / name) for name in names), ("a",), tmp_path, "files")
    told = []
    found = picture_facts(table, threads=3, progress=lambda *n: told.append(n))
    assert [isinstance(each, DataError) for each in found] == [False, True, True, True, True, True, False]
    assert all(each.path.name == name for each, name in zip(found, names, strict=True) if isinstance(each, DataError))
    assert told == [(n, 7) for n in range(1, 8)]
    quick = picture_headers(table.samples)
    assert [isinstance(each, DataError) for each in quick[:5]] == [False, True, True, True, True]


def test_the_real_originals(shared):
    folder = shared / "data/kermany_native"
    table = read_source(folder)
    found = picture_facts(table.with_samples(table.samples[::12]))
    for sample, facts in zip(table.samples[::12], found, strict=True):
        with Image.open(sample.path) as opened:
            assert (facts.width, facts.height) == opened.size
            assert facts.channels == len(opened.getbands())
            thumbnail = np.asarray(opened.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), int)
        assert np.abs(facts.thumbnail - thumbnail).mean() < 1
        assert facts.colour < 2
