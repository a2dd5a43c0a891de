"""Files of all kinds: what comes with pydicom, real radiographs, every compression, and what can't be shown."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from tests.data.dicoms import PYDICOM, RAMP, SIGNED_RAMP, apart, by_dcmtk, dataset_of, needs_dcmtk, write
from xraycls.data.dicom.open import open_dicom, read_dicom
from xraycls.data.open import open_image
from xraycls.errors import DataError
from xraycls.types import Sample

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # pytest lifts the package's own filter

# Files of pydicom that hold one picture, and those of them on which dcmtk and the standard part ways.
PICTURES = sorted(
    path.relative_to(PYDICOM)
    for path in [*PYDICOM.glob("*.dcm"), *PYDICOM.glob("dicomdirtests/7*/*/*")]
    if (found := dcmread(path, force=True)).get("Rows") and found.get("NumberOfFrames") in (None, 1)
)
DAMAGED = {"JPEG-lossy.dcm", "JPEG2000-embedded-sequence-delimiter.dcm", "MR_truncated.dcm"}
DIFFERENT = {
    "SC_rgb_jpeg.dcm": "dcmtk stops at a fragment that isn't padded",
    "liver_1frame.dcm": "dcmtk draws the 1 of a bit as 128",
    "liver_expb_1frame.dcm": "dcmtk draws the 1 of a bit as 128",
    "rtdose_expb_1frame.dcm": "dcmtk swaps the halves of 32-bit big-endian words; the little-endian twin agrees",
}
DISORDERED = np.random.default_rng(0).permutation(RAMP.reshape(-1)).reshape(RAMP.shape)


def options_for(path: Path) -> tuple[str, ...]:
    """How dcmj2pnm is asked for the first window, the full range of 8 bits, or the range of the values."""
    dataset = dcmread(path, stop_before_pixels=True, force=True)
    if dataset.get("WindowCenter") not in (None, ""):
        return ("+Wi", "1")
    return () if dataset.BitsStored <= 8 else ("+Wm",)


def unpacked(path: Path, folder: Path) -> Path:
    """A file that dcmj2pnm reads: it knows neither JPEG-LS nor JPEG 2000."""
    dataset = dcmread(path, force=True)
    if dataset.file_meta.TransferSyntaxUID not in (*JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes):
        return path
    dataset.PixelData = dataset.pixel_array.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if dataset.SamplesPerPixel == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    target = folder / "unpacked.dcm"
    dataset.save_as(target)
    return target


@needs_dcmtk
@pytest.mark.parametrize("name", PICTURES, ids=str)
def test_dcmtk_draws_pydicoms_files_alike(tmp_path, name):
    path = PYDICOM / name
    if name.name in DAMAGED:
        with pytest.raises(DataError, match="cut short or damaged"):
            read_dicom(path)
        return
    found = read_dicom(path)
    if name.name in DIFFERENT:
        return
    assert apart(found, by_dcmtk(unpacked(path, tmp_path), *options_for(path))) <= 1


def test_big_and_little_endian_words_of_32_bits_are_the_same_dose():
    little, big = (read_dicom(PYDICOM / name) for name in ("rtdose_1frame.dcm", "rtdose_expb_1frame.dcm"))
    assert np.array_equal(little, big)


@needs_dcmtk
def test_dcmtk_draws_real_radiographs_alike(shared, tmp_path):
    files = sorted((shared / "data" / "dicom").rglob("*.dcm"))
    assert files
    for path in files:
        assert apart(read_dicom(path), by_dcmtk(unpacked(path, tmp_path), *options_for(path))) <= 1, path.name


@pytest.mark.parametrize("pixels", [DISORDERED, SIGNED_RAMP, np.uint8(RAMP // 16)], ids=["u12", "i12", "u8"])
@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless],
    ids=lambda syntax: syntax.keyword,
)
def test_every_way_of_writing_gives_the_same_picture(tmp_path, pixels, syntax):
    path = tmp_path / "other.dcm"
    if syntax == RLELossless:
        dataset = dataset_of(pixels)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path, enforce_file_format=True)
    else:
        write(path, pixels, syntax)
    assert np.array_equal(read_dicom(path), read_dicom(write(tmp_path / "plain.dcm", pixels)))


def recompressed(source: Path, target: Path, syntax: str) -> Path:
    """GDCM's version of a file in another transfer syntax."""
    gdcm = pytest.importorskip("gdcm", reason="needs the extra dicom")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


LOSSLESS = ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"]


@pytest.mark.parametrize("pixels", [DISORDERED, SIGNED_RAMP * 8, np.uint8(RAMP // 16)], ids=["u12", "i16", "u8"])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_compression_loses_nothing(tmp_path, pixels, syntax):
    bits = {} if pixels.dtype != np.int16 else {"BitsStored": 16, "HighBit": 15}
    plain = write(tmp_path / "plain.dcm", pixels, WindowCenter="100", WindowWidth="3000", **bits)
    packed = recompressed(plain, tmp_path / "packed.dcm", syntax)
    assert dcmread(packed).file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(read_dicom(packed), read_dicom(plain))


@needs_dcmtk
def test_twelve_bit_jpeg_is_close(tmp_path):
    plain = write(tmp_path / "plain.dcm", RAMP, WindowCenter="2048", WindowWidth="4096")
    packed = tmp_path / "packed.dcm"
    subprocess.run(["dcmcjpeg", "+ee", "+q", "99", plain, packed], check=True)
    assert apart(read_dicom(packed), read_dicom(plain)) <= 1


def jpeg_dicom(path: Path, picture: np.ndarray, **tags: object) -> Path:
    dataset = dataset_of(picture, JPEGBaseline8Bit, **tags)
    dataset.PixelData = encapsulate([cv2.imencode(".jpg", picture)[1].tobytes()])
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def film() -> np.ndarray:
    x, y = np.meshgrid(np.arange(96), np.arange(64))
    return np.uint8(40 + x + y // 2)


def test_jpeg_frames_are_decoded_at_a_reduced_scale(tmp_path, film):
    image = open_dicom(jpeg_dicom(tmp_path / "a.dcm", film))
    assert image.scales == (1, 2, 4, 8)
    assert image.decode(4).shape == (16, 24)
    assert np.abs(image.decode(1).astype(int) - film).mean() < 1
    assert image.encoded is not None


@pytest.mark.parametrize(
    "tags",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": "100", "WindowWidth": "60"},
        {"RescaleSlope": "2", "RescaleIntercept": "-3", "WindowCenter": "200", "WindowWidth": "300"},
        {"PixelPaddingValue": 40},
    ],
)
def test_what_the_header_says_of_grey_levels_holds_at_every_scale(tmp_path, film, tags):
    plain = open_dicom(write(tmp_path / "plain.dcm", film, **tags)).decode(1).astype(float)
    image = open_dicom(jpeg_dicom(tmp_path / "a.dcm", film, **tags))
    assert image.encoded is None
    for reduce in (1, 2):
        expected = cv2.resize(plain, None, fx=1 / reduce, fy=1 / reduce, interpolation=cv2.INTER_AREA)
        assert np.abs(image.decode(reduce) - expected).mean() < 4


def test_colours_become_grey_as_in_any_picture(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(read_dicom(write(tmp_path / "a.dcm", colours)), cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY))


def test_names_do_not_matter_to_files_that_say_they_are_dicom(tmp_path):
    expected = read_dicom(write(tmp_path / "a.dcm", RAMP))
    for name in ("IM000001", "1.2.840.113619.2.5", "scan.jpg", "A.DICOM"):
        path = tmp_path / name
        path.write_bytes((tmp_path / "a.dcm").read_bytes())
        assert np.array_equal(open_image(Sample(path)).decode(1), expected)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_files_without_preamble_and_meta_header_are_read(tmp_path, syntax):
    dataset = dataset_of(RAMP, syntax)
    expected = read_dicom(write(tmp_path / "whole.dcm", RAMP))
    del dataset.file_meta
    path = tmp_path / "bare.dcm"
    dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    assert path.read_bytes()[128:132] != b"DICM"
    assert np.array_equal(open_image(Sample(path)).decode(1), expected)


def whole(path: Path) -> bytes:
    return write(path.with_name("whole.dcm"), RAMP).read_bytes()


REFUSED = {
    "empty": (lambda _: b"", "is empty"),
    "text": (lambda _: b"no picture", "is not a DICOM file"),
    "page": (lambda _: b"<html>" * 99, "is not a DICOM file"),
    "header only": (lambda p: whole(p)[:200], "holds no pixels, or is cut short"),
    "half of the pixels": (lambda p: whole(p)[:-2000], "cut short or damaged"),
    "report": (lambda _: (PYDICOM / "test-SR.dcm").read_bytes(), "kind Comprehensive SR Storage"),
    "waveform": (lambda _: (PYDICOM / "waveform_ecg.dcm").read_bytes(), "12-lead ECG"),
    "DICOMDIR": (lambda _: (PYDICOM / "dicomdirtests" / "DICOMDIR").read_bytes(), "Media Storage Directory"),
    "frames": (lambda _: (PYDICOM / "rtdose.dcm").read_bytes(), "holds 15 frames; one picture is expected"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_picture_is_one_sentence_that_names_the_file(tmp_path, kind):
    make, words = REFUSED[kind]
    path = tmp_path / "odd.dcm"
    path.write_bytes(make(path))
    with pytest.raises(DataError, match=r"odd\.dcm") as caught:
        open_image(Sample(path)).decode(1)
    assert words in str(caught.value)
    assert caught.value.path == path
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Rows": None}, "lacks Rows"),
        ({"Rows": 65535, "Columns": 65535}, "million pixels"),
        ({"Columns": 0}, "has no size"),
        ({"BitsStored": 99}, "cut short or damaged"),
        ({"PhotometricInterpretation": "ODD"}, "cut short or damaged"),
    ],
)
def test_headers_that_make_no_sense_are_one_sentence(tmp_path, tags, words):
    with pytest.raises(DataError, match=words):
        read_dicom(write(tmp_path / "odd.dcm", RAMP, **tags))


def test_a_jpeg_frame_that_is_cut_short_is_refused(tmp_path, film):
    dataset = dataset_of(film, JPEGBaseline8Bit)
    frame = cv2.imencode(".jpg", film)[1].tobytes()
    dataset.PixelData = encapsulate([frame[: len(frame) // 2]])
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match="cut short or damaged"):
        read_dicom(tmp_path / "a.dcm")


def test_an_unknown_way_of_writing_is_not_quoted(tmp_path):
    dataset = dataset_of(RAMP)
    dataset.save_as(tmp_path / "odd.dcm", enforce_file_format=True)
    encoded = (tmp_path / "odd.dcm").read_bytes()
    (tmp_path / "odd.dcm").write_bytes(encoded.replace(b"1.2.840.10008.1.2.1\0", b"Mustermann^Maximilia"))
    with pytest.raises(DataError, match="the standard doesn't know") as caught:
        read_dicom(tmp_path / "odd.dcm")
    assert "Mustermann" not in str(caught.value)


def test_a_video_is_refused_by_name(tmp_path):
    dataset = dataset_of(RAMP)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    dataset.PixelData = encapsulate([b"\0" * 10])
    dataset.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match=r"film\.dcm is a video"):
        read_dicom(tmp_path / "film.dcm")


WITHOUT_THE_EXTRA = """
import json, sys
for name in ("gdcm", "pylibjpeg", "libjpeg", "openjpeg", "rle", "jpeg_ls"):
    sys.modules[name] = None
from pathlib import Path
from xraycls.data.dicom.open import read_dicom
from xraycls.errors import DataError
said = {}
for name in sys.argv[1:]:
    try:
        said[name] = read_dicom(Path(name)).shape
    except DataError as error:
        said[name] = str(error)
print(json.dumps(said))
"""


def test_without_the_extra_common_files_are_read_and_others_name_the_pip_command(tmp_path, film):
    read = [
        write(tmp_path / "plain.dcm", RAMP),
        write(tmp_path / "deflated.dcm", RAMP, DeflatedExplicitVRLittleEndian),
        jpeg_dicom(tmp_path / "jpeg.dcm", film),
        jpeg_dicom(tmp_path / "windowed.dcm", film, WindowCenter="100", WindowWidth="60"),
        PYDICOM / "MR_small_RLE.dcm",
        PYDICOM / "JPEG2000.dcm",
        PYDICOM / "693_J2KI.dcm",
        PYDICOM / "SC_rgb_jpeg_dcmtk.dcm",
    ]
    refused = [PYDICOM / "MR_small_jpeg_ls_lossless.dcm", PYDICOM / "JPGExtended.dcm", PYDICOM / "SC_rgb_jpeg_gdcm.dcm"]
    command = [sys.executable, "-c", WITHOUT_THE_EXTRA, *map(str, read + refused)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    said = json.loads(done.stdout)
    for path in read:
        assert isinstance(said[str(path)], list), said[str(path)]
    for path in refused:
        assert path.name in said[str(path)]
        assert "pip install 'pylibjpeg>=" in said[str(path)]


def test_a_missing_codec_is_named(tmp_path, monkeypatch):
    from pydicom.pixels.decoders.base import get_decoder

    path = recompressed(write(tmp_path / "a.dcm", RAMP), tmp_path / "b.dcm", "JPEGLosslessProcess14_1")
    monkeypatch.setattr(get_decoder(JPEGLosslessSV1), "_available", {})
    with pytest.raises(DataError, match=r"b\.dcm is compressed as JPEG Lossless.*no codec for it is installed"):
        open_dicom(path)


def test_a_codec_that_panics_is_one_sentence_too(tmp_path, monkeypatch):
    class PanicException(BaseException):
        pass

    def panic(*_, **__):
        raise PanicException("index out of bounds")

    path = recompressed(write(tmp_path / "a.dcm", RAMP), tmp_path / "b.dcm", "RLELossless")
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.as_array", panic)
    with pytest.raises(DataError, match=r"b\.dcm \(RLE Lossless\) could not be decoded"):
        read_dicom(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_picture_or_one_error(tmp_path, data):
    encoded = bytearray((PYDICOM / "MR_small_RLE.dcm").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        encoded[data.draw(st.integers(128, 2000))] = data.draw(st.integers(0, 255))
    path = tmp_path / "odd.dcm"
    path.write_bytes(encoded[: data.draw(st.integers(0, len(encoded)))])
    try:
        assert read_dicom(path).dtype == np.uint8
    except DataError as error:
        assert "odd.dcm" in str(error)  # noqa: PT017 - either way is right
