"""Anchors of a YOLOv4 from KITTI labels, as TAO's ``kmeans`` finds them, and into the fields of a spec."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from xraycls.data.files import atomic_write
from xraycls.data.formats.pictures import size_of
from xraycls.errors import DataError, SpecError, UsageError
from xraycls.models.detection.kmeans import Shapes, cluster_shapes
from xraycls.types import Sample

logger = logging.getLogger(__name__)

Anchors = list[tuple[float, float]]

_SUFFIXES = frozenset((".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG"))
_TOKENS = 15  # of a line that counts
_STRING = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''


def find_anchors(
    labels: Sequence[Path],
    images: Sequence[Path],
    size: tuple[int, int],
    clusters: int = 9,
    *,
    smallest: tuple[int, int] = (0, 0),
    max_steps: int = 10_000,
    seed: int = 0,
    on_step: Callable[[int], None] = lambda step: None,
) -> Anchors:
    """Returns widths and heights of anchors in pixels of a network's input, by rising area.

    Args:
        labels: folders of KITTI labels, a ``.txt`` an image.
        images: folders of the images, one for each of ``labels``.
        size: width and height of the input, pixels.
        clusters: the number of anchors.
        smallest: boxes that are no wider or no higher, in pixels of the input, don't count.
        max_steps: of the search.
        seed: of the boxes that it starts from.
        on_step: is told the number of each step, from 0.

    Raises:
        UsageError: the folders aren't pairs, or there are fewer boxes than anchors.
        DataError: a folder, an image or a label can't be read.
    """
    if len(labels) != len(images):
        raise UsageError(
            f"{len(labels)} label folders and {len(images)} image folders are no pairs",
            "Name as many folders after -i as after -l, in the same order",
        )
    found = [read_shapes(*pair) for pair in zip(labels, images, strict=True)]
    shapes = np.concatenate(found) if found else np.zeros((0, 2))
    shapes = shapes[(shapes > np.array(smallest) / np.array(size)).all(axis=1)]
    centres = cluster_shapes(shapes, clusters, seed=seed, max_steps=max_steps, on_step=on_step)
    return [(float(width), float(height)) for width, height in centres * size]


def read_shapes(labels: Path, images: Path) -> Shapes:
    """Returns the widths and heights of all boxes in a folder, float64 [n, 2], as shares of their images.

    Lines of fewer than 15 words don't count, as in TAO. Images without a label file are counted in a warning.

    Raises:
        DataError: a folder, an image or a label can't be read.
    """
    try:
        pictures = sorted(path for path in images.iterdir() if path.suffix in _SUFFIXES)
    except OSError as error:
        raise DataError(f"{images} is no folder that can be read ({error.strerror})", images) from error
    missing, shapes = 0, []
    for picture in pictures:
        file = labels / f"{picture.stem}.txt"
        if not file.is_file():
            missing += 1
            continue
        boxes = list(_boxes(file))
        if boxes:
            shapes.append(np.array(boxes) / size_of(Sample(picture)))
    if missing:
        logger.warning("%d of %d images in %s have no label file in %s.", missing, len(pictures), images, labels)
    return np.concatenate(shapes) if shapes else np.zeros((0, 2))


def _boxes(file: Path) -> Iterator[tuple[float, float]]:
    """Width and height in pixels of each box of a label file."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read as text", file) from error
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) < _TOKENS:
            continue
        try:
            left, top, right, bottom = map(float, words[4:8])
        except ValueError as error:
            raise DataError(
                f"{file}, line {number}: words 5 to 8 are no numbers",
                file,
                "A class of two words shifts them; join it by an underscore",
            ) from error
        yield right - left, bottom - top


def write_anchors(path: Path, anchors: Anchors) -> None:
    """Put anchors by rising area into a spec of YOLOv4, and leave everything else in the file as it is.

    The first third goes to ``small_anchor_shape``, the next to ``mid_anchor_shape``, the last to
    ``big_anchor_shape``; with a ``cspdarknet_tiny`` the first half to ``mid_anchor_shape``.

    Raises:
        UsageError: the number of anchors isn't a multiple of the maps.
        SpecError: the file can't be read, or has no ``yolov4_config``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError("it can't be read as text", path) from error
    tiny = re.search(r"\barch\s*:\s*[\"']cspdarknet_tiny[\"']", text)
    names = ("mid", "big") if tiny else ("small", "mid", "big")
    if len(anchors) % len(names):
        raise UsageError(
            f"{len(anchors)} anchors can't be shared by the {len(names)} maps of {path.name}",
            f"Ask for a multiple of {len(names)} with -n",
        )
    count = len(anchors) // len(names)
    for index, name in enumerate(names):
        shapes = ", ".join(f"({width:.2f}, {height:.2f})" for width, height in anchors[index * count :][:count])
        text = _with_field(text, f"{name}_anchor_shape", f'"[{shapes}]"', path)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _with_field(text: str, name: str, value: str, path: Path) -> str:
    """The text with another string as the value of a field of ``yolov4_config``, which is added where it is missing."""
    field = rf"\b({name}\s*:\s*)(?:{_STRING})(?:\s*(?:{_STRING}))*"
    changed, count = _substituted(field, lambda found: found[1] + value, text)
    if not count:
        opening = r"\b(yolov4_config\s*:?\s*[{<])"
        changed, count = _substituted(opening, lambda found: f"{found[1]}\n  {name}: {value}", text)
    if not count:
        raise SpecError("it has no yolov4_config", path, hint="Name a spec of YOLOv4 after --write")
    return changed


def _substituted(pattern: str, replaced: Callable[[re.Match[str]], str], text: str) -> tuple[str, int]:
    """The text with what a pattern matches outside of comments and other strings replaced, and how often."""
    count = 0

    def each(found: re.Match[str]) -> str:
        nonlocal count
        if found[1] is None:  # a comment or another string
            return found[0]
        count += 1
        return replaced(found)

    return re.sub(rf"{pattern}|#[^\n]*|{_STRING}", each, text), count
