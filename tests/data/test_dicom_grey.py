"""Stored values to grey levels: by the formulas of the standard, and against dcmtk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.dicoms import RAMP, SIGNED_RAMP, apart, by_dcmtk, dataset_of, needs_dcmtk, table, write
from xraycls.data.dicom.grey import grey_levels, grey_picture
from xraycls.data.dicom.open import read_dicom

CURVE = (4095 / (1 + np.exp(-(np.arange(4096) - 2048) / 400))).astype(int)
WINDOW = ("+Wi", "1")
MINMAX = ("+Wm",)
TABLE = ("+Wl", "1")
# Pixels, tags, and the options with which dcmj2pnm is asked for the same.
CASES = {
    "no window": (RAMP, {}, MINMAX),
    "MONOCHROME1": (RAMP, {"PhotometricInterpretation": "MONOCHROME1"}, MINMAX),
    "shape INVERSE": (RAMP, {"PresentationLUTShape": "INVERSE"}, MINMAX),
    "MONOCHROME1 and INVERSE": (
        RAMP,
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        MINMAX,
    ),
    "MONOCHROME1 but IDENTITY": (
        RAMP,
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
        MINMAX,
    ),
    "first of two windows": (RAMP, {"WindowCenter": ["1000", "3000"], "WindowWidth": ["500", "100"]}, WINDOW),
    "narrowest window": (RAMP, {"WindowCenter": "1000", "WindowWidth": "1"}, WINDOW),
    "sigmoid": (RAMP, {"WindowCenter": "1000", "WindowWidth": "800", "VOILUTFunction": "SIGMOID"}, WINDOW),
    "rescaled window": (
        RAMP,
        {"RescaleSlope": "2", "RescaleIntercept": "-1000", "WindowCenter": "1000", "WindowWidth": "2000"},
        WINDOW,
    ),
    "negative slope": (RAMP, {"RescaleSlope": "-2", "RescaleIntercept": "100"}, MINMAX),
    "window and MONOCHROME1": (
        RAMP,
        {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": "1000", "WindowWidth": "2000"},
        WINDOW,
    ),
    "signed window": (SIGNED_RAMP, {"WindowCenter": "0", "WindowWidth": "2000"}, WINDOW),
    "signed 16 bits": (SIGNED_RAMP * 8, {"BitsStored": 16, "HighBit": 15}, MINMAX),
    "10 bits": (RAMP // 4, {"BitsStored": 10, "HighBit": 9}, MINMAX),
    "14 bits": (RAMP * 4, {"BitsStored": 14, "HighBit": 13}, MINMAX),
    "16 bits": (RAMP * 16, {"BitsStored": 16, "HighBit": 15}, MINMAX),
    "8 bits": (np.uint8(RAMP // 32), {}, ()),
    "8 bits, signed": (np.int8(SIGNED_RAMP // 32), {}, ()),
    "8 bits of 16": (RAMP // 32, {"BitsStored": 8, "HighBit": 7}, ()),
    "VOI LUT": (RAMP, {"VOILUTSequence": table(CURVE, 0, 12)}, TABLE),
    "VOI LUT as numbers": (RAMP, {"VOILUTSequence": table(CURVE, 0, 12, "US")}, TABLE),
    "VOI LUT from below zero": (SIGNED_RAMP, {"VOILUTSequence": table(CURVE, -2048, 12)}, TABLE),
    "VOI LUT after rescale": (
        RAMP,
        {"RescaleSlope": "1", "RescaleIntercept": "-1024", "VOILUTSequence": table(CURVE[:3000], -1024, 12)},
        TABLE,
    ),
    "VOI LUT of 12 bits that says 16": (RAMP, {"VOILUTSequence": table(CURVE, 0, 16)}, (*TABLE, "+Mv")),
    "modality LUT": (
        RAMP,
        {"ModalityLUTSequence": table(CURVE, 0, 12), "WindowCenter": "2000", "WindowWidth": "3000"},
        WINDOW,
    ),
    "modality LUT without a window": (RAMP, {"ModalityLUTSequence": table(CURVE[:2000], 0, 12)}, MINMAX),
    "overlay above the stored bits": (
        RAMP | np.uint16(0x8000) * (RAMP % 32 == 0),
        {"WindowCenter": "2048", "WindowWidth": "4096"},
        WINDOW,
    ),
    "stored in the high bits": (RAMP << 4, {"HighBit": 15, "WindowCenter": "2048", "WindowWidth": "4096"}, WINDOW),
    "signed in the high bits": (SIGNED_RAMP << 4, {"HighBit": 15, "WindowCenter": "0", "WindowWidth": "4096"}, WINDOW),
    "one value only": (RAMP * 0 + 77, {}, MINMAX),
}


@needs_dcmtk
@pytest.mark.parametrize("case", CASES)
def test_dcmtk_draws_the_same(tmp_path, case):
    pixels, tags, options = CASES[case]
    path = write(tmp_path / "a.dcm", pixels, **tags)
    assert apart(read_dicom(path), by_dcmtk(path, *options)) <= 1


def picture(pixels: np.ndarray, **tags: object) -> np.ndarray:
    return grey_picture(pixels, dataset_of(pixels, **tags)).astype(float)


def test_linear_exact_and_sigmoid_follow_their_formulas():
    # PS3.3, C.11.2.1.3.2 and C.11.2.1.3.1.
    tags = {"WindowCenter": "1000", "WindowWidth": "800"}
    exact = np.clip((RAMP - 1000.0) / 800 + 0.5, 0, 1) * 255
    assert np.abs(picture(RAMP, **tags, VOILUTFunction="LINEAR_EXACT") - exact).max() <= 0.5
    sigmoid = 255 / (1 + np.exp(-4 * (RAMP - 1000.0) / 800))
    assert np.abs(picture(RAMP, **tags, VOILUTFunction="SIGMOID") - sigmoid).max() <= 0.5


def test_linear_follows_its_formula():
    # PS3.3, C.11.2.1.2.1: between centre - 0.5 - (width - 1) / 2 and centre - 0.5 + (width - 1) / 2.
    expected = np.clip((RAMP - 999.5) / 799 + 0.5, 0, 1) * 255
    assert np.abs(picture(RAMP, WindowCenter="1000", WindowWidth="800") - expected).max() <= 0.5


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("width", ["0", "-5", "", "nan", "inf"])
def test_a_window_without_width_is_none(width):
    assert np.array_equal(picture(RAMP, WindowCenter="1000", WindowWidth=width), picture(RAMP))


def test_a_window_narrower_than_1_is_taken_as_exact():
    tags = {"RescaleSlope": "0.0001", "RescaleIntercept": "0", "WindowCenter": "0.2", "WindowWidth": "0.4"}
    assert np.abs(picture(RAMP, **tags) - np.clip(RAMP * 0.0001 / 0.4, 0, 1) * 255).max() <= 0.5


def test_eight_bits_stay_as_they_are():
    pixels = np.uint8(RAMP // 32 + 20)
    assert np.array_equal(picture(pixels), pixels)
    assert np.array_equal(picture(pixels, PhotometricInterpretation="MONOCHROME1"), 255 - pixels)


@pytest.mark.parametrize("padding", [0, 4095])
@pytest.mark.parametrize("tags", [{}, {"PhotometricInterpretation": "MONOCHROME1"}])
def test_padding_is_black_and_does_not_spoil_the_stretch(padding, tags):
    inside = np.uint16(1000 + RAMP // 4)
    padded = inside.copy()
    padded[:, :40] = padding
    found = picture(padded, PixelPaddingValue=padding, **tags)
    assert not found[:, :40].any()
    assert np.array_equal(found[:, 40:], picture(inside[:, 40:], **tags))


def test_a_range_of_padding():
    pixels = RAMP.copy()
    found = picture(pixels, PixelPaddingValue=3000, PixelPaddingRangeLimit=4095)
    assert not found[pixels >= 3000].any()
    assert found[pixels < 3000].max() == 255


def test_nothing_but_padding_is_black():
    assert not picture(RAMP * 0, PixelPaddingValue=0).any()


def test_a_presentation_table_comes_last():
    halved = np.arange(256) // 2 + 128
    found = picture(np.uint8(RAMP // 16), PresentationLUTSequence=table(halved, 0, 8))
    assert np.abs(found - (RAMP // 16 // 2 + 128)).max() <= 1


def test_entries_of_eight_bits_are_packed_two_a_word():
    item = table(np.zeros(1), 0, 8)
    item[0].LUTDescriptor = [256, 0, 8]
    item[0].LUTData = bytes(range(255, -1, -1))
    pixels = np.uint8(RAMP // 16)
    assert np.array_equal(picture(pixels, VOILUTSequence=item), 255 - pixels)


@pytest.mark.parametrize(("factor", "offset"), [(1000, 0), (1, 4_000_000_000)])
def test_values_of_32_bits_are_stretched_as_well(factor, offset):
    wide = RAMP.astype(np.uint32) * np.uint32(factor) + np.uint32(offset)
    dataset = dataset_of(RAMP, BitsAllocated=32, BitsStored=32)
    assert np.array_equal(grey_picture(wide, dataset), picture(RAMP))


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("slope", ["nan", "inf", "0"])
def test_a_slope_that_is_none_is_1(slope):
    assert np.array_equal(picture(RAMP, RescaleSlope=slope, RescaleIntercept="5"), picture(RAMP))


@given(
    st.integers(-5000, 5000),
    st.floats(1, 10000),
    st.sampled_from([0.5, 1, 3, -2]),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_brighter_never_gets_darker_and_monochrome1_is_the_negative(center, width, slope, function):
    tags = {"WindowCenter": center, "WindowWidth": width, "RescaleSlope": slope, "RescaleIntercept": 0}
    levels = np.arange(-3000, 3000, 7.0)
    found = grey_levels(levels, dataset_of(SIGNED_RAMP, **tags, VOILUTFunction=function), -3000, 3000).astype(int)
    assert (np.diff(found) * np.sign(slope) >= 0).all()
    film = dataset_of(SIGNED_RAMP, **tags, VOILUTFunction=function, PhotometricInterpretation="MONOCHROME1")
    assert np.abs(found + grey_levels(levels, film, -3000, 3000) - 255).max() <= 1
