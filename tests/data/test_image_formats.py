"""Every kind of file becomes the grey picture that Pillow sees, or a DataError that names it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from xraycls.data.image import open_encoded
from xraycls.data.open import open_image
from xraycls.data.square import prepared_picture
from xraycls.errors import DataError
from xraycls.types import Sample

Y, X = np.mgrid[0:120, 0:161]
LEVELS = np.clip(20 + X + 40 * np.sin(Y / 9), 0, 255).astype(np.uint8)
GREY = Image.fromarray(LEVELS)
COLOUR = Image.merge("RGB", [GREY, GREY.transpose(Image.Transpose.FLIP_LEFT_RIGHT), GREY.point(lambda v: 255 - v)])
ALPHA = Image.fromarray((X * 255 // 160).astype(np.uint8))
CMYK = Image.merge("CMYK", [*COLOUR.split(), GREY.point(lambda v: v // 3)])


def exif(orientation):
    made = Image.Exif()
    made[274] = orientation
    return made


FILES = {
    "grey.png": lambda p: GREY.save(p),
    "colour.png": lambda p: COLOUR.save(p),
    "grey_alpha.png": lambda p: Image.merge("LA", [GREY, ALPHA]).save(p),
    "colour_alpha.png": lambda p: Image.merge("RGBA", [*COLOUR.split(), ALPHA]).save(p),
    "palette.png": lambda p: COLOUR.quantize(200).save(p),
    "transparent_palette.png": lambda p: COLOUR.quantize(200).save(p, transparency=3),
    "one_bit.png": lambda p: GREY.convert("1").save(p),
    "rotated.png": lambda p: GREY.save(p, exif=exif(6)),
    "cmyk.jpg": lambda p: CMYK.save(p, quality=95),
    "colour.jpg": lambda p: COLOUR.save(p, quality=95),
    "rgb.jpg": lambda p: COLOUR.save(p, quality=95, keep_rgb=True),
    "progressive.jpg": lambda p: GREY.save(p, progressive=True),
    "progressive_colour.jpg": lambda p: COLOUR.save(p, progressive=True),
    **{f"exif{n}.jpg": lambda p, n=n: GREY.save(p, quality=95, exif=exif(n)) for n in range(1, 9)},
    "rotated_cmyk.jpg": lambda p: CMYK.save(p, quality=95, exif=exif(8)),
    "pixel.png": lambda p: GREY.resize((1, 1)).save(p),
    "pixel.jpg": lambda p: GREY.resize((1, 1)).save(p),
    "wide.png": lambda p: GREY.resize((30_000, 5)).save(p),
    "wide.jpg": lambda p: GREY.resize((30_000, 5)).save(p),
    "tall.jpg": lambda p: GREY.resize((5, 30_000)).save(p, exif=exif(6)),
    "grey.tif": lambda p: GREY.save(p, compression="tiff_lzw"),
    "palette.bmp": lambda p: COLOUR.quantize(200).save(p),
    "colour.webp": lambda p: COLOUR.save(p, lossless=True),
    "palette.gif": lambda p: COLOUR.quantize(200).save(p),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind_look_as_pillow_sees_them(tmp_path, name):
    path = tmp_path / name
    FILES[name](path)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("L")).astype(int)
    image = open_image(Sample(path))
    decoded = image.decode(1)
    assert decoded.dtype == np.uint8
    assert (image.height, image.width) == decoded.shape == expected.shape
    assert np.abs(decoded - expected).max() <= 2


def area_average(levels, size):
    """Brute force: each pixel the mean of the area that it covers, where a side is longer than ``size``."""

    def weights(length):
        target = min(length, size)
        edges = np.arange(target + 1) * length / target
        cover = np.minimum(edges[1:, None], np.arange(length) + 1) - np.maximum(edges[:-1, None], np.arange(length))
        return np.maximum(cover, 0) * target / length

    return weights(levels.shape[0]) @ levels @ weights(levels.shape[1]).T


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind_can_be_prepared(tmp_path, name):
    path = tmp_path / name
    FILES[name](path)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("L"))
    shrunk = Image.fromarray(np.round(area_average(upright, 40)).astype(np.uint8))
    expected = np.asarray(shrunk.resize((40, 40), Image.Resampling.BILINEAR)).astype(int)
    picture = prepared_picture(open_image(Sample(path)), 40)
    assert picture.shape == (40, 40)
    assert np.abs(picture - expected).mean() < 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_deep_png_is_scaled_by_its_significant_bits(tmp_path, bits, mode):
    path = tmp_path / "deep.png"
    deep = (X.astype(np.float64) / X.max() * (2**bits - 1) + 0.5).astype(np.uint16)
    alpha = np.full_like(deep, 9_000)
    planes = {"L": deep, "LA": None, "RGB": np.dstack([deep] * 3), "RGBA": np.dstack([deep] * 3 + [alpha])}[mode]
    if planes is None:
        path.write_bytes(png(161, 120, 16, 4, np.dstack([deep, alpha]).astype(">u2")))
    else:
        assert cv2.imwrite(str(path), planes)
    decoded = open_image(Sample(path)).decode(1)
    assert np.abs(decoded - X / X.max() * 255).max() < 1.5


def png(width, height, depth=8, colour=0, rows=None):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join(b"\0" + row.tobytes() for row in rows) if rows is not None else bytes(100)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def jpeg(width, height, before=b""):
    found = bytearray(cv2.imencode(".jpg", LEVELS)[1].tobytes())
    frame = found.index(b"\xff\xc0")
    found[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(found[:2]) + before + bytes(found[2:])


@pytest.mark.parametrize(
    "encoded",
    [
        png(50_000, 50_000),
        png(2**31 - 1, 2**31 - 1),
        png(14_000, 13_000, depth=1),
        jpeg(65_535, 65_535),
        jpeg(65_535, 65_535, before=b"\xff\xe1\0\x08Exif\0\0"),
    ],
    ids=["png", "largest png", "one bit", "jpeg", "jpeg with exif"],
)
def test_decompression_bombs_are_not_decoded(tmp_path, monkeypatch, encoded):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"bomb\.bin has more than 178 million pixels"):
        open_encoded(encoded, tmp_path / "bomb.bin").decode(1)


def test_a_side_that_opencv_refuses_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"wide\.png"):
        open_encoded(png(2_000_000, 10), tmp_path / "wide.png").decode(1)
