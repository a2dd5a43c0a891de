"""Synthetic radiographs with lead plates on them: five kinds of objects, as Darknet labels.

A plate and its four corners are what the YOLOv4 spec of this example was made for. Each film is a phantom of
``xraycls``; a bright plate lies on it, turned a little, with a rivet of its own kind at every corner.
``python draw.py FOLDER --films 300`` writes ``FOLDER/{train,valid}/{images,labels}`` with ``classes.txt``, and
``data.yaml``.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from xraycls.data.phantom import draw_radiograph

NAMES = (
    "0",
    "1",
    "2",
    "3",
    "license_plate",
)  # the spec maps the numbers to top_left, top_right, bottom_right, bottom_left
CORNER = 0.22  # side of a corner's box, of the film's width


def plate(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """The corners of a plate, [4, 2] clockwise from the top left, pixels."""
    size = np.array([rng.uniform(0.42, 0.58) * width, rng.uniform(0.26, 0.36) * width])
    centre = rng.uniform([0.42 * width, 0.30 * height], [0.58 * width, 0.70 * height])
    angle = rng.uniform(-0.25, 0.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return centre + (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * size) @ turn.T


def lay(film: np.ndarray, corners: np.ndarray, rng: np.random.Generator) -> None:
    """Lay a plate with letters onto a film uint8 [H, W], in place."""
    width, height = 160, 48
    plate = np.full((height, width), int(rng.integers(190, 240)), np.uint8)
    cv2.rectangle(plate, (2, 2), (width - 3, height - 3), (60,), 2)
    text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVXYZ0123456789"), 6))
    cv2.putText(plate, text, (12, 35), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (40,), 3, cv2.LINE_AA)
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    size = film.shape[::-1]
    mask = cv2.warpPerspective(np.full_like(plate, 255), matrix, size)
    film[:] = np.where(mask > 127, cv2.warpPerspective(plate, matrix, size), film)
    for number, corner in enumerate(corners):
        rivet(film, corner, number, CORNER * film.shape[1] / 2)


def rivet(film: np.ndarray, centre: np.ndarray, number: int, radius: float) -> None:
    """Draw a bright disc with a dot, a cross, a bar or nothing in it; flipping the film doesn't make one another."""
    bits, dark, thick = 4, (20,), max(round(radius / 4), 1)
    x, y, r = (round(float(value) * 2**bits) for value in (*centre, radius))
    cv2.circle(film, (x, y), r, (250,), -1, cv2.LINE_AA, bits)
    cv2.circle(film, (x, y), r, dark, thick, cv2.LINE_AA, bits)
    arm = round(0.55 * r)
    if number == 0:
        cv2.circle(film, (x, y), arm, dark, -1, cv2.LINE_AA, bits)
    elif number == 1:
        for sign in (-1, 1):
            cv2.line(film, (x - arm, y - sign * arm), (x + arm, y + sign * arm), dark, thick, cv2.LINE_AA, bits)
    elif number == 2:
        cv2.line(film, (x - arm, y), (x + arm, y), dark, 2 * thick, cv2.LINE_AA, bits)


def boxes(corners: np.ndarray, width: int, height: int) -> list[tuple[int, float, float, float, float]]:
    """Class, centre and size of a plate and its corners, as shares of the film."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = np.array([width, height], float)
    side = np.array([CORNER * width] * 2)
    spots = [(number, corner, side) for number, corner in enumerate(corners)]
    spots.append((4, (low + high) / 2, high - low))
    return [(number, *(centre / scale), *(size / scale)) for number, centre, size in spots]


def draw(number: int, folder: Path, size: int, seed: int, valid: int) -> None:
    """Write one film and its labels; the first ``valid`` are for validation."""
    part = folder / ("valid" if number < valid else "train")
    rng = np.random.default_rng([seed, number])
    film = draw_radiograph(seed, number + 1, 1, pneumonia=bool(number % 2), size=size).grey(8)
    height, width = film.shape
    corners = plate(rng, width, height)
    lay(film, corners, rng)
    lines = [" ".join([str(row[0]), *(f"{value:.6f}" for value in row[1:])]) for row in boxes(corners, width, height)]
    cv2.imwrite(str(part / "images" / f"film{number:04d}.png"), film)
    (part / "labels" / f"film{number:04d}.txt").write_text("".join(f"{line}\n" for line in lines))


def main() -> None:
    """Draw a data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=300, help="of both splits")
    parser.add_argument("--valid", type=float, default=0.2, help="share for validation")
    parser.add_argument("--size", type=int, default=256, help="mean width, pixels")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for part in ("train", "valid"):
        for kind in ("images", "labels"):
            (given.folder / part / kind).mkdir(parents=True, exist_ok=True)
        (given.folder / part / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    names = "".join(f"  {number}: '{name}'\n" for number, name in enumerate(NAMES))
    (given.folder / "data.yaml").write_text(f"path: .\ntrain: train/images\nval: valid/images\nnames:\n{names}")
    valid = round(given.valid * given.films)
    one = partial(draw, folder=given.folder, size=given.size, seed=given.seed, valid=valid)
    with ProcessPoolExecutor() as pool:
        list(pool.map(one, range(given.films), chunksize=8))


if __name__ == "__main__":
    main()
