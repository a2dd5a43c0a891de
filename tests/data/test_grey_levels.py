import logging
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xraycls.data.depth import bits_of, decided_bits, with_bits
from xraycls.data.dicom.open import encoded_frame, read_dicom
from xraycls.data.image import to_uint8
from xraycls.data.open import open_image, read_grey
from xraycls.data.options import ReadOptions
from xraycls.data.show import shown_table
from xraycls.data.source import read_source
from xraycls.types import Sample

RAMP = np.linspace(0, 1, 64 * 48).reshape(48, 64)


def with_sbit(path: Path, bits: int) -> Path:
    """Put an sBIT chunk behind the header of a PNG."""
    data = path.read_bytes()
    chunk = b"sBIT" + bytes([bits])
    path.write_bytes(data[:33] + struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:])
    return path


@pytest.fixture
def films(tmp_path) -> Path:
    """Twelve-bit films in 16-bit files, one of them under-exposed: its largest value is 700."""
    for name in "AB":
        (tmp_path / name).mkdir()
        for n in range(4):
            largest = 700 if (name, n) == ("A", 0) else 3000 + n
            cv2.imwrite(str(tmp_path / name / f"{n}.png"), (RAMP * largest).astype(np.uint16))
    return tmp_path


def test_an_under_exposed_film_stays_dark_beside_its_set(films, caplog):
    with caplog.at_level(logging.INFO):
        table = read_source(films)
    assert {bits_of(sample) for sample in table} == {12}
    assert "12 bits, as the largest value of 8 looked at is 3003; --bits sets it" in caplog.text
    dark = open_image(next(s for s in table if s.path == films / "A/0.png"))
    assert dark.decode(1).max() == round(700 * 255 / 4095)
    assert dark.encoded is None  # other decoders would take the film's own depth
    assert read_grey(films / "A/0.png").max() == round(700 * 255 / 1023)  # alone, nothing tells


def test_pictures_without_labels_have_one_depth_too(films):
    table = shown_table(films / "A")
    assert {bits_of(sample) for sample in table} == {12}


def test_a_flag_sets_the_bits(films):
    table = read_source(films, options=ReadOptions(bits=16))
    assert max(open_image(s).decode(1).max() for s in table) == round(3003 * 255 / 65535)


@pytest.mark.parametrize("bits", [8, 10, 12, 13, 16])
def test_the_sbit_chunk_of_a_png_comes_first(tmp_path, bits):
    values = (RAMP * (2 ** min(bits, 10) - 1)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    with_sbit(tmp_path / "a.png", bits)
    expected = to_uint8(values, bits)
    (sample,) = with_bits([Sample(tmp_path / "a.png")], 14)
    assert np.array_equal(open_image(sample).decode(1), expected)
    assert expected.max() == round(int(values.max()) * 255 / (2**bits - 1))


def test_sets_of_eight_bits_and_other_suffixes_are_left_alone(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), (RAMP * 200).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "b.jpg"), (RAMP * 200).astype(np.uint8))
    (tmp_path / "c.png").write_bytes(b"broken")
    samples = [Sample(tmp_path / name) for name in ("a.png", "b.jpg", "c.png", "missing.png")]
    assert decided_bits(samples, tmp_path) is None
    assert [bits_of(sample) for sample in with_bits(samples[:2], 12)] == [12, None]
    eight = read_grey(tmp_path / "a.png")
    assert np.array_equal(open_image(with_bits(samples[:1], 12)[0]).decode(1), eight)


def test_values_above_the_bits_are_white():
    assert to_uint8(np.array([[0, 1023, 1024, 5000]], np.uint16), 10).tolist() == [[0, 255, 255, 255]]


def write_tiff(path: Path, values: np.ndarray, photometric: int, order: str = "<") -> Path:
    """A TIFF 6.0 of one strip."""
    bits = values.dtype.itemsize * 8
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
    height, width = values.shape
    entries = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric)]
    entries += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(pixels))]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(pixels))
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        field = struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, 1) + field
    path.write_bytes(head + pixels + directory + bytes(4))
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.uint16, 4095), (np.uint16, 1023)])
def test_a_tiff_of_which_white_is_zero_shows_what_its_twin_shows(tmp_path, order, kind, top):
    values = (RAMP * top).astype(kind)
    black = read_grey(write_tiff(tmp_path / "black.tif", values, 1, order))
    white = read_grey(write_tiff(tmp_path / "white.tif", (top - values).astype(kind), 0, order))
    assert np.abs(black.astype(int) - white).max() <= 1
    assert (black[0, 0], black[-1, -1]) == (0, 255)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_pillow_agrees_on_shallow_ones(tmp_path, mode):
    picture = Image.fromarray((RAMP * 255).astype(np.uint8)).convert(mode)
    picture.save(tmp_path / "a.tif", tiffinfo={262: 0})
    expected = np.asarray(Image.open(tmp_path / "a.tif").convert("L"))
    assert np.array_equal(read_grey(tmp_path / "a.tif"), expected)


def test_tiffs_of_film_digitisers(shared):
    folder = shared / "field_cases/c11-tiff-white-is-zero/folder"
    means = [float(read_grey(path).mean()) for path in sorted(folder.glob("*.tif"))]
    assert means == pytest.approx([141.75] * 3, abs=0.8)  # 12 bits keep 16 times the 8-bit value, of 4095


@pytest.mark.parametrize("name", ["pad_ss", "pad_us", "upad_us", "upad_ss"])
def test_padding_written_with_the_sign_of_the_other_kind(shared, name):
    path = shared / "field_cases/c12-dicom-padding-of-the-other-sign/dcm" / f"{name}.dcm"
    assert round(float(read_dicom(path).mean()), 1) == 142.9


def test_lossless_frames_of_twelve_bits_are_decoded_here(shared):
    from pydicom import dcmread

    files = sorted((shared / "field_cases/c14-gpu-jpeg-lossless-12-bit-UNVERIFIED/data").rglob("*.dcm"))
    assert [encoded_frame(dcmread(path)) for path in files] == [None] * len(files)
    assert [round(float(read_dicom(path).mean()), 1) for path in files] == [168.7] * len(files)
