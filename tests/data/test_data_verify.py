import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xraycls.data.dicom.sniff import DICOM_SUFFIXES
from xraycls.data.folder import IMAGE_SUFFIXES, read_folder
from xraycls.data.table import SampleTable
from xraycls.data.verify import drop_unreadable, find_unreadable
from xraycls.errors import DataError
from xraycls.types import Sample

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
GREY = Image.fromarray(PIXELS)


def reason(path: Path) -> str | None:
    return find_unreadable([Sample(path)]).get(path)


def exif() -> Image.Exif:
    made = Image.Exif()
    made[274] = 6
    return made


WHOLE = {
    "grey.jpg": lambda p: GREY.save(p),
    "tiny.jpg": lambda p: GREY.resize((1, 1)).save(p),
    "progressive.jpg": lambda p: GREY.save(p, progressive=True),
    "cmyk.jpg": lambda p: GREY.convert("CMYK").save(p),
    "exif.jpg": lambda p: GREY.save(p, exif=exif()),
    "comment.jpg": lambda p: GREY.save(p, comment=b"\xff\xda" * 20),
    "grey.png": lambda p: GREY.save(p),
    "deep.png": lambda p: Image.fromarray(PIXELS.astype(np.uint16) * 257).save(p),
    "palette.png": lambda p: GREY.convert("P").save(p),
    "text.png": lambda p: GREY.save(p, pnginfo=None, optimize=True),
    "alpha.png": lambda p: GREY.convert("LA").save(p),
    "one_bit.png": lambda p: GREY.convert("1").save(p),
    "plain.tif": lambda p: GREY.save(p),
    "lzw.tiff": lambda p: GREY.save(p, compression="tiff_lzw"),
    "frames.tif": lambda p: GREY.save(p, save_all=True, append_images=[GREY, GREY]),
    "big.tif": lambda p: GREY.save(p, big_tiff=True),
    "float.tif": lambda p: GREY.convert("F").save(p),
    "frames.gif": lambda p: GREY.save(p, save_all=True, append_images=[GREY.rotate(90)]),
    "grey.bmp": lambda p: GREY.save(p),
    "grey.webp": lambda p: GREY.save(p),
    "frames.webp": lambda p: GREY.convert("RGB").save(p, save_all=True, append_images=[GREY.convert("RGB")]),
    "grey.pgm": lambda p: GREY.save(p),
    "float.pfm": lambda p: GREY.convert("F").save(p),
    "wrong_suffix.png": lambda p: GREY.save(p, format="JPEG"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_images_of_every_kind_pass(tmp_path, name):
    path = tmp_path / name
    WHOLE[name](path)
    assert reason(path) is None


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - DICOM_SUFFIXES))
def test_whatever_opencv_writes_passes(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    if not cv2.haveImageWriter(str(path)):
        pytest.skip(f"OpenCV doesn't write {suffix} here")
    pixels = PIXELS.astype(np.float32) if suffix == ".pfm" else PIXELS
    assert cv2.imwrite(str(path), cv2.merge([pixels] * 3) if suffix in (".ppm", ".gif") else pixels)
    assert cv2.haveImageReader(str(path))
    assert reason(path) is None


@pytest.mark.parametrize("size", [1, 2, 100, 5_000, 100_000])
@pytest.mark.parametrize("filler", [b"\0", b"\r\n", b"\xff\xda"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_bytes_after_the_end_are_harmless(tmp_path, suffix, filler, size):
    path = tmp_path / f"a{suffix}"
    GREY.save(path)
    with path.open("ab") as file:
        file.write(filler * size)
    assert reason(path) is None


@pytest.mark.parametrize("name", ["grey.jpg", "progressive.jpg", "exif.jpg", "grey.png", "deep.png"])
def test_a_file_cut_anywhere_is_found(tmp_path, name):
    path = tmp_path / name
    WHOLE[name](path)
    whole = path.read_bytes()
    for kept in [*range(1, 40), *np.linspace(40, len(whole) - 30, 20, dtype=int), *range(len(whole) - 30, len(whole))]:
        path.write_bytes(whole[:kept])
        assert reason(path) in ("truncated", "not an image")
    path.write_bytes(whole)
    assert reason(path) is None


def test_a_cut_jpeg_with_a_whole_thumbnail_is_found(tmp_path):
    thumbnail, main = tmp_path / "t.jpg", tmp_path / "m.jpg"
    GREY.resize((8, 6)).save(thumbnail)
    GREY.save(main, quality=30)
    segment = thumbnail.read_bytes()
    body = main.read_bytes()
    whole = body[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + body[2:]
    path = tmp_path / "a.jpg"
    path.write_bytes(whole)
    assert reason(path) is None
    start = whole.rfind(b"\xff\xda")
    for kept in range(start + 30, len(whole) - 40, 50):
        path.write_bytes(whole[:kept])
        assert reason(path) == "truncated"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jpg", b"", "empty"),
        ("a.dcm", b"", "empty"),
        ("a.jpg", b"<html>404</html>", "not an image: web page"),
        ("a.png", b"%PDF-1.7", "not an image: PDF"),
        ("a.jpg", b"\xff", "not an image"),
        ("a.png", b"PK\x03\x04" * 99, "not an image: archive"),
        ("a.pgm", b"P5", "not an image"),
        ("a.jpg", b"\0" * 128 + b"DICM" + b"\0" * 99, None),  # whatever says so is read as DICOM
        ("a.dcm", b"\0" * 128 + b"DICM" + b"\0" * 99, None),
        ("a.DCM", b"\0" * 128 + b"DICM", None),
        ("a.dcm", b"\0" * 500, "not a DICOM file"),
    ],
)
def test_other_contents(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert reason(path) == expected


def test_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert reason(tmp_path / "nowhere.jpg") == reason(tmp_path / "broken.jpg") == "missing"
    assert reason(tmp_path / "folder.jpg") == "Is a directory"
    if os.geteuid() != 0:
        GREY.save(tmp_path / "secret.png")
        (tmp_path / "secret.png").chmod(0)
        assert reason(tmp_path / "secret.png") == "Permission denied"


def test_rows_of_a_container_are_passed_over(tmp_path):
    assert find_unreadable([Sample(tmp_path / "nowhere.npz", member="train_images", row=0)]) == {}


def test_progress_counts_every_file(tmp_path):
    GREY.save(tmp_path / "a.png")
    told: list[tuple[int, int]] = []
    find_unreadable([Sample(tmp_path / name) for name in ("a.png", "b.png", "c.png")], lambda *n: told.append(n))
    assert told == [(1, 3), (2, 3), (3, 3)]


def make_table(tmp_path: Path) -> SampleTable:
    for split in ("train", "test"):
        (tmp_path / split / "A").mkdir(parents=True)
        for i in range(3):
            GREY.save(tmp_path / split / "A" / f"{i}.png")
    for i in range(4):
        (tmp_path / "train/A" / f"bad{i}.jpg").write_bytes(b"" if i else b"text")
    return read_folder(tmp_path)


def test_unreadable_files_are_left_out_with_one_warning(tmp_path, caplog):
    table = make_table(tmp_path)
    with caplog.at_level(logging.WARNING):
        kept = drop_unreadable(table)
    assert [s.path.suffix for s in kept] == [".png"] * 6
    assert [record.message for record in caplog.records] == [
        "4 of 10 files could not be read and are left out: "
        "train/A/bad0.jpg (not an image), train/A/bad1.jpg (empty), train/A/bad2.jpg (empty), …"
    ]


def test_strict_stops_at_unreadable_files(tmp_path):
    with pytest.raises(DataError, match=r"4 of 10 files .* the first being train/A/bad0\.jpg \(not an image\)"):
        drop_unreadable(make_table(tmp_path), strict=True)


def test_a_split_of_which_nothing_is_left(tmp_path):
    table = make_table(tmp_path)
    for sample in table.split("test"):
        sample.path.write_bytes(b"")
    with pytest.raises(DataError, match=r"No file of the test split .* test/A/0\.png \(empty\)"):
        drop_unreadable(table)
    with pytest.raises(DataError, match="No file of the test split"):
        drop_unreadable(table.split("test"))


def test_good_tables_are_untouched(tmp_path, caplog):
    good = make_table(tmp_path).split("test")
    assert drop_unreadable(good, strict=True) is good
    assert not caplog.records


@pytest.mark.exhaustive
def test_real_radiographs_raise_no_alarm(shared):
    for folder in ("kermany_224", "kermany_native"):
        table = read_folder(shared / "data" / folder)
        assert find_unreadable(table) == {}
    for pattern in ("nih_rsna_bbox/images/*.png", "dicom/*/*.dcm"):
        files = [Sample(path) for path in (shared / "data").glob(pattern)]
        assert files
        assert find_unreadable(files) == {}
