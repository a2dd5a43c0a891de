"""KITTI object labels: a text file a picture, a line an object (Geiger, Lenz and Urtasun, CVPR 2012)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xraycls.data.formats.format import boxed_sample, boxed_table, finite, first_few
from xraycls.data.formats.pairs import find_folders, first_lines, label_text, pairs_in, text_files, write_labels
from xraycls.data.formats.pictures import common_folder
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample

logger = logging.getLogger(__name__)

_TOKENS = 15
_LEAST = 9  # that TAO's SSD and YOLO take from a folder of labels
_CORNERS = slice(4, 8)
_READ = (1, 3, 4, 5, 6, 14)  # of the numbers after the class, in a folder of labels: occlusion, box and score


@dataclass(frozen=True, slots=True)
class KittiObject:
    """One line of a label file; the defaults stand for what a radiograph doesn't have.

    Attributes:
        name: the class, as written.
        left: pixels; likewise top, right and bottom, right and bottom exclusive.
        truncation: 0–1, the share of the object outside the picture.
        occlusion: 0 visible, 1 partly, 2 largely hidden, 3 unknown; TAO takes all but 0 for difficult.
        alpha: observation angle, radians.
        height: metres, as width, length and the position x, y, z in the camera's frame.
        rotation: around the vertical, radians.
        score: the confidence of a predicted object, the 16th token.
    """

    name: str
    left: float
    top: float
    right: float
    bottom: float
    truncation: float = 0.0
    occlusion: float = 0.0
    alpha: float = 0.0
    height: float = 0.0
    width: float = 0.0
    length: float = 0.0
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    rotation: float = 0.0
    score: float | None = None

    @property
    def is_ignored(self) -> bool:
        """Whether this is a DontCare region, where nobody looked for objects."""
        return self.name.lower() == "dontcare"

    @property
    def box(self) -> Box:
        """What a picture needs of it."""
        corners = self.left, self.top, self.right, self.bottom
        return Box(self.name, *corners, score=self.score, difficult=self.occlusion != 0)

    @classmethod
    def of(cls, box: Box) -> KittiObject:
        """The object of a box: blanks in its class become underscores, difficult becomes partly occluded."""
        name = "_".join(box.label.split()) or "_"
        corners = box.left, box.top, box.right, box.bottom
        return cls(name, *corners, occlusion=float(box.difficult), score=box.score)


def parse_kitti(text: str, path: Path, *, exact: bool = False) -> list[KittiObject]:
    """The objects of a label file.

    Args:
        text: of the file.
        path: names it in messages.
        exact: as TAO's ``dataset_convert`` reads: every line has 15 tokens, 14 of them numbers. Otherwise as its
            training reads a folder of labels: lines of fewer than 9 tokens are no objects, a 16th token is the
            score, and of the numbers only occlusion, box and score count: others that are missing or none are 0.

    Raises:
        DataError: a line that isn't such an object; names it.
    """
    objects = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if exact and words and len(words) != _TOKENS:
            raise _wrong_count(len(words), number, path)
        if len(words) >= _LEAST:
            objects.append(_object(words, number, path, exact))
    return objects


def _object(words: list[str], number: int, path: Path, exact: bool) -> KittiObject:
    values = [finite(word) for word in words[1 : _TOKENS + 1]]
    required = range(len(values)) if exact else [at for at in _READ if at < len(values)]
    wrong = next((at for at in required if values[at] is None), None)
    if wrong is not None:
        raise DataError(
            f"Line {number} of {path} has {words[wrong + 1]!r} where KITTI has a number (token {wrong + 2})",
            path,
            "The class is one word, so blanks in it must be underscores",
        )
    numbers = [value or 0.0 for value in values] + [0.0] * (_TOKENS - 1 - len(values))
    before, corners, after = numbers[:3], numbers[3:7], numbers[7:]
    return KittiObject(words[0], *[*corners, *before, *after])


def _wrong_count(count: int, number: int, path: Path) -> DataError:
    hint = "A 16th token is a predicted score: leave it out" if count == _TOKENS + 1 else None
    return DataError(f"Line {number} of {path} has {count} tokens; a KITTI object has exactly {_TOKENS}", path, hint)


def format_kitti(objects: Iterable[KittiObject]) -> str:
    """The text of a label file: 15 tokens a line, 16 with a score; numbers with two decimals, more where needed."""
    return "".join(f"{_line(each)}\n" for each in objects)


def _line(each: KittiObject) -> str:
    corners = each.left, each.top, each.right, each.bottom
    space = each.height, each.width, each.length, each.x, each.y, each.z, each.rotation
    score = () if each.score is None else (each.score,)
    after = map(_written, (each.alpha, *corners, *space, *score))
    occlusion = f"{each.occlusion:.0f}" if float(each.occlusion).is_integer() else repr(float(each.occlusion))
    return " ".join([each.name, _written(each.truncation), occlusion, *after])


def _written(value: float) -> str:
    """The shortest decimal that reads back as the same number, but with two places at least."""
    short = f"{value:.2f}"
    return short if float(short) == value else repr(float(value))


def is_object(words: Sequence[str]) -> bool:
    """Whether the words of a line may be an object's."""
    return len(words) >= _LEAST and None not in map(finite, words[_CORNERS])


def detect_kitti(path: Path) -> bool:
    """Whether a folder holds KITTI labels, alone or beside pictures; empty label files beside pictures count too."""
    if lines := first_lines(path):
        return any(map(is_object, lines))
    return path.is_dir() and any(any(text_files(folders.labels)) for folders in find_folders(path))


def read_kitti(path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
    """Read a folder with ``images`` and ``labels``, or with those in split folders or with split folders in those.

    Lines are read as TAO's SSD and YOLO read a folder of labels (see :func:`parse_kitti`). An empty file is a
    negative picture; a picture without a file is left out, with a warning. DontCare regions are no findings: they
    are counted in a warning and dropped. Boxes stay as written, even outside the picture.

    Raises:
        DataError: no such folders, a line that is no object, no picture with labels, or, when strict, labels without a
            picture.
    """
    folders = find_folders(path, images) if path.is_dir() else []
    if not folders:
        raise DataError(f"{path} has no folders images and labels", path, "Give the folder of pictures with --images")
    samples: list[Sample] = []
    unlabelled: list[Path] = []
    ignored = short = 0
    for pair in (pair for each in folders for pair in pairs_in(each, strict)):
        if not pair.labels.is_file():
            unlabelled.append(pair.picture)
            continue
        text = label_text(pair.labels)
        objects = parse_kitti(text, pair.labels)
        short += sum(1 for line in text.splitlines() if line.split()) - len(objects)
        ignored += sum(each.is_ignored for each in objects)
        boxes = (each.box for each in objects if not each.is_ignored)
        samples.append(boxed_sample(pair.picture, boxes, pair.split))
    root = common_folder([each.pictures for each in folders])
    if unlabelled:
        named = first_few(picture.relative_to(root) for picture in unlabelled)
        logger.warning("%d pictures of %s have no label file and are left out: %s", len(unlabelled), root, named)
    if short:
        logger.warning("%d lines in the labels of %s have fewer than %d tokens and are skipped.", short, path, _LEAST)
    if ignored:
        logger.warning("%d DontCare regions of %s are no findings and are left out.", ignored, path)
    return boxed_table(samples, root, "kitti", path)


def write_kitti(table: SampleTable, folder: Path) -> None:
    """Write ``labels/train/a.txt`` for every ``train/a.png`` below the table's root; empty for a negative picture.

    Raises:
        XrayclsError: a file can't be written.
    """
    write_labels(table, folder / "labels", lambda index: format_kitti(map(KittiObject.of, table[index].boxes)))
