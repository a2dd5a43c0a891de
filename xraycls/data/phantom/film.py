"""From attenuation to a picture: beam, scatter, quantum noise, development, shutters, lead marker."""

from __future__ import annotations

import cv2
import numpy as np

from xraycls.data.phantom.canvas import Field, as_field

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)


def expose(attenuation: Field, rng: np.random.Generator) -> Field:
    """The picture, 0–1 with bone white, from the attenuation of the beam (natural logarithm) at each pixel."""
    height, width = attenuation.shape
    scale = width / 512
    beam = np.exp(-attenuation)
    small = cv2.resize(beam, (width // 8, height // 8), interpolation=cv2.INTER_AREA)
    haze = cv2.resize(cv2.GaussianBlur(small, (0, 0), 4 * scale), (width, height))
    beam = as_field(beam + rng.uniform(0.1, 0.3) * np.minimum(haze, 0.25))
    # Quanta arrive by Poisson's law, near enough a normal one of the same variance; the detector blurs it.
    grain = cv2.GaussianBlur(rng.standard_normal(beam.shape, dtype=np.float32), (0, 0), 0.6 * scale)
    beam = as_field(beam + grain * np.sqrt(beam) * rng.uniform(0.020, 0.040))
    density = -np.log(np.maximum(beam, 1e-4))
    density = cv2.GaussianBlur(density, (0, 0), rng.uniform(0.5, 0.8) * scale)
    if rng.uniform() < 0.6:  # edge enhancement, as many consoles do it
        density = density + rng.uniform(0.2, 0.6) * (density - cv2.GaussianBlur(density, (0, 0), 6 * scale))
    picture = _develop(as_field(density), rng)
    if rng.uniform() < 0.5:
        picture *= _shutters(picture.shape, rng)
    return np.maximum(picture, _marker(picture.shape, rng))


def _develop(density: Field, rng: np.random.Generator) -> Field:
    """A window over the body's range, a gamma and an S-shaped curve, as film and display tables have."""
    body = density[::8, ::8]
    low, high = (float(q) for q in np.percentile(body[body > 0.5], [2, 99]))
    low -= rng.uniform(0.15, 0.60)
    high += rng.uniform(0.0, 0.5)
    grey = np.clip((density - low) / (high - low), 0.0, 1.0) ** rng.uniform(0.85, 1.25)
    bend = rng.uniform(0.0, 0.6)
    return as_field(grey + bend * (grey * grey * (3.0 - 2.0 * grey) - grey))


def _shutters(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """1 inside the collimated rectangle, which may stand a little askew, 0 outside."""
    height, width = shape
    inset = rng.uniform(0.0, 0.05, 4) * width
    left, top, right, bottom = inset[0], inset[1], width - inset[2], height - inset[3]
    askew = rng.normal(0.0, 0.006) * width
    corners = [(left, top + askew), (right - askew, top), (right, bottom - askew), (left + askew, bottom)]
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(np.array(corners) * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    return as_field(cv2.GaussianBlur(mask, (0, 0), 1.0)) / np.float32(255.0)


def _marker(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """The lead letter for the patient's side, and now and then the projection below it; 0–1."""
    height, width = shape
    mask = np.zeros(shape, np.uint8)
    side = "R" if rng.uniform() < 0.7 else "L"
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    letter = rng.uniform(0.0013, 0.0024) * width  # of OpenCV's 22-pixel capitals
    x = rng.uniform(0.03, 0.10) * width
    x = x if side == "R" else width - x - 20 * letter
    y = rng.uniform(0.10, 0.30) * height
    stroke = max(1, round(1.6 * letter))
    lines = [(side, letter)]
    if rng.uniform() < 0.3:
        lines.append((str(rng.choice(["AP", "PA", "SUPINE", "ERECT"])), 0.4 * letter))
    for text, size in lines:
        thickness = max(1, round(stroke * size / letter))
        cv2.putText(mask, text, (round(x), round(y)), font, size, (255,), thickness, cv2.LINE_AA)
        y += 18 * letter
    return mask * np.float32(rng.uniform(0.8, 1.0) / 255.0)
