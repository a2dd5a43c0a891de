"""Darknet and YOLO labels: a text file a picture, a line a box, all in shares of the picture's size."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xraycls.data.formats.format import boxed_sample, boxed_table, finite, first_few
from xraycls.data.formats.pairs import Pair, first_lines, label_text, write_labels
from xraycls.data.formats.pictures import Size, common_folder, required_sizes, sizes_of
from xraycls.data.formats.yolo_set import find_set, is_config, write_config
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample

logger = logging.getLogger(__name__)

_WORDS = (5, 6)
_MOST = 1.02  # share of the picture that a centre or a side may reach: rounding, and detectors at the very edge
_PLACES = 6  # of a pixel, so that whole pixels come back as they were


@dataclass(frozen=True, slots=True)
class YoloObject:
    """One line of a label file.

    Attributes:
        index: of the class, from 0.
        x: of the centre, 0–1 of the picture's width; likewise width.
        y: of the centre, 0–1 of its height; likewise height.
        score: the confidence of a predicted box, 0–1; None for a drawn one.
    """

    index: int
    x: float
    y: float
    width: float
    height: float
    score: float | None = None

    def box(self, label: str, size: Size) -> Box:
        """The box in a picture of that many pixels."""
        across, down = size
        left, right = (self.x - self.width / 2) * across, (self.x + self.width / 2) * across
        top, bottom = (self.y - self.height / 2) * down, (self.y + self.height / 2) * down
        left, top, right, bottom = (round(at, _PLACES) for at in (left, top, right, bottom))
        return Box(label, left, top, right, bottom, self.score)

    @classmethod
    def of(cls, box: Box, index: int, size: Size) -> YoloObject | None:
        """What of the box lies inside the picture, as the format has no place outside; None where that is nothing."""
        across, down = size
        left, right = (min(max(at, 0.0), across) / across for at in (box.left, box.right))
        top, bottom = (min(max(at, 0.0), down) / down for at in (box.top, box.bottom))
        if right <= left or bottom <= top:
            return None
        return cls(index, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top, box.score)


def parse_yolo(text: str, path: Path) -> list[YoloObject]:
    """The objects of a label file: class, x, y, width and height a line, and a confidence perhaps.

    An outline, class and three points or more, becomes the box around it.

    Args:
        text: of the file.
        path: names it in messages.

    Raises:
        DataError: a line that isn't such an object; names it.
    """
    objects = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        found = _outline(words) if len(words) > max(_WORDS) and len(words) % 2 else None
        if found is None and len(words) not in _WORDS:
            message = f"Line {number} of {path} has {len(words)} values; a YOLO box has 5, or 6 with a confidence"
            raise DataError(message, path, "An outline has a class and three points or more, each x and y")
        found = found or _object(words)
        if found is None:
            raise DataError(f"Line {number} of {path} is no YOLO box (class x y width height): {line.strip()}", path)
        _require_shares(found, number, path)
        objects.append(found)
    return objects


def _require_shares(found: YoloObject, number: int, path: Path) -> None:
    """Raise DataError for a box that can't be right: in pixels, or of negative size."""
    if found.width < 0 or found.height < 0:
        raise DataError(f"Line {number} of {path} has a box of negative size: {found.width:g} × {found.height:g}", path)
    largest = max(found.x, found.y, found.width, found.height)
    if largest > _MOST or min(found.x, found.y) < 1 - _MOST:
        raise DataError(
            f"Line {number} of {path} isn't normalised: it has {largest:g} where YOLO has shares of the picture, 0–1",
            path,
            "Divide x and width by the picture's width, y and height by its height",
        )


def _outline(words: list[str]) -> YoloObject | None:
    """The box around an outline, class x1 y1 x2 y2 x3 y3 …; None where the words are no such numbers."""
    values = [value for word in words if (value := finite(word)) is not None]
    if len(values) < len(words) or values[0] < 0 or not values[0].is_integer():
        return None
    across, down = values[1::2], values[2::2]
    left, right, top, bottom = min(across), max(across), min(down), max(down)
    return YoloObject(int(values[0]), (left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


def _object(words: list[str]) -> YoloObject | None:
    values = [value for word in words if (value := finite(word)) is not None]
    if len(values) < len(words) or values[0] < 0 or not values[0].is_integer():
        return None
    return YoloObject(int(values[0]), *values[1:])


def format_yolo(objects: Iterable[YoloObject]) -> str:
    """The text of a label file, with twelve significant digits: less than a millionth of a pixel."""
    lines = []
    for each in objects:
        numbers = [each.x, each.y, each.width, each.height] + ([] if each.score is None else [each.score])
        lines.append(" ".join([str(each.index), *(f"{number:.12g}" for number in numbers)]))
    return "".join(f"{line}\n" for line in lines)


def detect_yolo(path: Path) -> bool:
    """Whether this is a ``data.yaml``, a folder with one, or one whose label files hold YOLO boxes."""
    if is_config(path):
        return True
    return any(len(words) in _WORDS and _object(words) is not None for words in first_lines(path))


def read_yolo(path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
    """Read a YOLO data set, by its ``data.yaml``, by lists such as ``train.txt``, or by its folders.

    Labels lie in ``labels`` where the pictures lie in ``images``, or beside the pictures. A picture without a label
    file is a negative, as for Ultralytics; a warning counts them. Classes are called as in ``data.yaml``,
    ``obj.names`` or ``classes.txt``, or else by their numbers.

    Raises:
        DataError: a file can't be read or holds something else, no picture is there, none has labels, or, when strict,
            a picture is missing.
    """
    found = find_set(path, images, strict)
    objects = [_labels(pair) for pair in found.pairs]
    root = common_folder(found.folders) if found.folders else path
    unlabelled = [pair.picture for pair, each in zip(found.pairs, objects, strict=True) if each is None]
    if unlabelled and len(unlabelled) == len(found.pairs):
        raise DataError(f"No label file belongs to any of the {len(unlabelled):,} pictures of {path}", path)
    if unlabelled:
        named = first_few(picture.relative_to(root) for picture in unlabelled)
        logger.warning("%d pictures of %s have no label file and count as negative: %s", len(unlabelled), root, named)
    boxed = [(pair, each) for pair, each in zip(found.pairs, objects, strict=True) if each]
    sizes = dict(zip((pair.picture for pair, _ in boxed), sizes_of(Sample(p.picture) for p, _ in boxed), strict=True))
    samples = []
    nameless: set[int] = set()
    for pair, each in zip(found.pairs, objects, strict=True):
        size = sizes.get(pair.picture)
        if isinstance(size, DataError):  # its boxes can't be told, but that it has some; who opens it hears why
            samples.append(Sample(pair.picture, label=1, split=pair.split))
            continue
        nameless.update(one.index for one in each or () if one.index not in found.names)
        boxes = [one.box(found.names.get(one.index, str(one.index)), size) for one in each or () if size]
        samples.append(boxed_sample(pair.picture, boxes, pair.split))
    if nameless:
        logger.warning("The classes %s of %s have no name and go by their number.", first_few(sorted(nameless)), path)
    return boxed_table(samples, root, "yolo", path)


def _labels(pair: Pair) -> list[YoloObject] | None:
    """The objects of a picture; None where it has no label file."""
    return parse_yolo(label_text(pair.labels), pair.labels) if pair.labels.is_file() else None


def write_yolo(table: SampleTable, folder: Path) -> None:
    """Write ``labels/train/a.txt`` for every ``train/a.png`` below the table's root, and ``data.yaml``.

    Boxes are cut off at the edges of their picture. Which are difficult is lost.

    Raises:
        DataError: a picture can't be read.
        XrayclsError: a file can't be written.
    """
    sizes = required_sizes(table)
    names = sorted({box.label for sample in table for box in sample.boxes})
    index = {name: at for at, name in enumerate(names)}
    objects = [
        [YoloObject.of(box, index[box.label], size) for box in sample.boxes]
        for sample, size in zip(table, sizes, strict=True)
    ]
    outside = sum(each.count(None) for each in objects)
    if outside:
        logger.warning("%d boxes of %s have no area inside their picture and are left out.", outside, table.root)
    write_labels(table, folder / "labels", lambda at: format_yolo(each for each in objects[at] if each))
    write_config(table, names, folder)
