"""The compiled inner loops, and what stands in for them, against plain arithmetic, OpenCV and torch."""

from __future__ import annotations

import math
import platform
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from xraycls.loaders import kernels

FILLS = [0, 77, 255, None]


@pytest.fixture(params=[True, False], ids=["compiled", "OpenCV and NumPy"])
def compiled(request, monkeypatch):
    if request.param and not kernels.IS_COMPILED:
        pytest.skip("the kernels aren't compiled here: no compiler, or a processor without AVX2")
    monkeypatch.setattr(kernels, "IS_COMPILED", request.param)


def _has_avx2():
    try:
        return "avx2" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not shutil.which("gcc") or not _has_avx2(), reason="needs gcc and AVX2"
)
def test_they_are_compiled_where_they_can_be():
    assert kernels.IS_COMPILED


def _exact(picture, matrix, shape, fill):
    """Bilinear samples in float64; outside lies ``fill``, or the nearest pixel where that is None."""
    (height, width), (rows, columns) = picture.shape, np.mgrid[: shape[0], : shape[1]] + 0.5
    frame = 0 if fill is None else 1
    x, y = (a * columns + b * rows + c - 0.5 for a, b, c in matrix)
    x, y = x.clip(-frame, width - 1 + frame) + 1, y.clip(-frame, height - 1 + frame) + 1
    how = {"mode": "edge"} if fill is None else {"constant_values": fill}
    padded = np.pad(np.pad(picture.astype(float), 1, **how), ((0, 1), (0, 1)), mode="edge")
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = x - left, y - top
    upper = padded[top, left] * (1 - across) + padded[top, left + 1] * across
    lower = padded[top + 1, left] * (1 - across) + padded[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


def _cases(count, seed):
    """Smooth pictures of any size with turned, stretched, mirrored and misplaced views; and noise."""
    random = np.random.default_rng(seed)
    for number in range(count):
        height, width, rows, columns = random.integers(1, 200, 4)
        picture = random.integers(0, 256, (height, width)).astype(np.uint8)
        if number % 2:
            picture = cv2.GaussianBlur(picture, (0, 0), 2)
        if number % 3 == 0:
            picture = np.asfortranarray(picture)
        if number % 5 == 0:
            picture = np.kron(picture, np.ones((2, 2), np.uint8))[::2, ::2]
        angle, steps = random.uniform(-math.pi, math.pi), random.uniform(0.05, 2.0, 2) * random.choice([-1, 1], 2)
        turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * steps
        centre = random.uniform(-0.3, 1.3, 2) * [width, height] * (1000 if number % 20 == 0 else 1)
        matrix = np.column_stack([turned, centre - turned @ [columns / 2, rows / 2]])
        yield picture, matrix, (int(rows), int(columns)), FILLS[number % 4]


@pytest.mark.usefixtures("compiled")
def test_views_of_any_picture_are_exact_to_the_rounding_of_a_position():
    for number, (picture, matrix, shape, fill) in enumerate(_cases(400, 0)):
        guarded = np.full((shape[0], shape[1] + 2), 9, np.uint8)
        picture.flags.writeable = False
        kernels.warp([picture], matrix[None], [guarded[:, 1:-1]], fill)
        errors = np.abs(guarded[:, 1:-1] - _exact(picture, matrix, shape, fill))
        # Between black and white pixels, 1/64 of a pixel is four grey levels (OpenCV before 5 has 1/32: eight).
        assert errors.max() <= (9 if not kernels.IS_COMPILED else 4), number
        assert errors.mean() <= (0.9 if not kernels.IS_COMPILED else 0.7), number
        assert (guarded[:, [0, -1]] == 9).all(), "only the picture is drawn on"


def test_compiled_pictures_are_opencvs_but_for_rounding(monkeypatch):
    if not kernels.IS_COMPILED:
        pytest.skip("the kernels aren't compiled here")
    differences = []
    for picture, matrix, shape, fill in _cases(200, 1):
        drawn = []
        for is_compiled in (True, False):
            monkeypatch.setattr(kernels, "IS_COMPILED", is_compiled)
            drawn.append(np.zeros(shape, np.uint8))
            kernels.warp([picture], matrix[None], drawn[-1:], fill)
        differences.append(np.abs(np.subtract(*drawn, dtype=np.int16)).mean())
    assert np.mean(differences) < 0.5


@pytest.mark.usefixtures("compiled")
def test_many_pictures_at_once_are_those_of_each():
    cases = [case for case in _cases(60, 2) if case[3] == 77]
    pictures, matrices, shapes, _ = zip(*cases, strict=True)
    together = [np.zeros(shape, np.uint8) for shape in shapes]
    kernels.warp(pictures, np.stack(matrices), together, 77)
    for picture, matrix, drawn in zip(pictures, matrices, together, strict=True):
        alone = np.zeros_like(drawn)
        kernels.warp([picture], matrix[None], [alone], 77)
        np.testing.assert_array_equal(drawn, alone)


@pytest.mark.usefixtures("compiled")
def test_a_picture_as_it_is_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (37, 61)).astype(np.uint8)
    drawn = np.zeros_like(picture)
    kernels.warp([picture], np.eye(2, 3)[None], [drawn], 0)
    np.testing.assert_array_equal(drawn, picture)


@pytest.mark.usefixtures("compiled")
def test_no_pictures_are_no_work():
    kernels.warp([], np.zeros((0, 2, 3)), [], 0)


@pytest.mark.usefixtures("compiled")
def test_a_view_of_a_very_wide_picture():
    picture = np.tile(np.arange(256, dtype=np.uint8), 160)[None].repeat(3, axis=0)  # 40,960 pixels across
    drawn = np.zeros((1, 100), np.uint8)
    matrix = np.array([[[1.0, 0.0, 40_000.0], [0.0, 1.0, 1.0]]])
    kernels.warp([picture], matrix, [drawn], 0)
    np.testing.assert_array_equal(drawn, picture[1:2, 40_000:40_100])
    everything = np.zeros((1, 100), np.uint8)  # too much for the kernel's positions: drawn by OpenCV
    kernels.warp([picture], np.array([[[409.6, 0.0, 0.0], [0.0, 1.0, 1.0]]]), [everything], 0)
    assert everything.any()


@pytest.mark.skipif(not kernels.IS_COMPILED, reason="the kernels aren't compiled here")
@pytest.mark.parametrize(
    ("pictures", "matrices", "outs", "words"),
    [
        ([np.zeros((2, 2), np.float32)], np.zeros((1, 2, 3)), [np.zeros((2, 2), np.uint8)], "pictures must have 2"),
        ([np.zeros((2, 2, 1), np.uint8)], np.zeros((1, 2, 3)), [np.zeros((2, 2), np.uint8)], "pictures must have 2"),
        ([np.zeros((2, 2), np.uint8)], np.zeros((2, 2, 3)), [np.zeros((2, 2), np.uint8)], "as many matrices"),
        ([np.zeros((2, 2), np.uint8)], np.zeros((1, 3, 3)), [np.zeros((2, 2), np.uint8)], "as many matrices"),
        ([np.zeros((2, 2), np.uint8)], np.zeros((1, 2, 3)), [], "as many matrices"),
        ([np.zeros((0, 2), np.uint8)], np.zeros((1, 2, 3)), [np.zeros((2, 2), np.uint8)], "must not be empty"),
        ([np.zeros((2, 2), np.uint8)], np.zeros((1, 2, 3)), [np.zeros((2, 4), np.uint8)[:, ::2]], "in a row"),
    ],
)
def test_the_kernel_looks_at_what_it_is_given(pictures, matrices, outs, words):
    with pytest.raises(ValueError, match=words):
        kernels.warp(pictures, matrices, outs, 0)


@pytest.mark.skipif(not kernels.IS_COMPILED, reason="the kernels aren't compiled here")
def test_the_kernel_writes_to_nothing_that_is_read_only():
    out = np.zeros((2, 2), np.uint8)
    out.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        kernels.warp([np.ones((2, 2), np.uint8)], np.eye(2, 3)[None], [out], 0)
    assert not out.any()


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_pictures_are_torchs_to_the_bit(channels):
    random = np.random.default_rng(3)
    pictures = random.integers(0, 256, (3, 17, 23)).astype(np.uint8)
    means, factors = random.random((2, channels)).astype(np.float32)
    out = np.empty((3, channels, 17, 23), np.float32)
    kernels.normalize(pictures, out, means, factors)
    expected = torch.from_numpy(pictures)[:, None].float().sub(torch.from_numpy(means)[:, None, None])
    np.testing.assert_array_equal(out, expected.mul(torch.from_numpy(factors)[:, None, None]).numpy())


@pytest.mark.skipif(not kernels.IS_COMPILED, reason="the kernels aren't compiled here")
def test_shapes_of_a_normalisation_belong_together():
    pictures, numbers = np.zeros((2, 4, 4), np.uint8), np.zeros(1, np.float32)
    for shape in [(1, 1, 4, 4), (2, 1, 4, 5), (2, 2, 4, 4)]:
        with pytest.raises(ValueError, match="shapes must be"):
            kernels.normalize(pictures, np.zeros(shape, np.float32), numbers, numbers)
