"""KITTI object labels: a text file a picture, a line an object (Geiger, Lenz and Urtasun, CVPR 2012)."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
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
DONT_CARE = "dontcare"  # regions where nobody looked for objects
_CORNERS = slice(4, 8)
_OCCLUSION = 1  # of the numbers after the class
_READ = (_OCCLUSION, 3, 4, 5, 6)  # those that a folder of labels must have: occlusion and box


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
        return self.name.lower() == DONT_CARE

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


def parse_kitti(
    text: str, path: Path, *, exact: bool = False, classes: Container[str] | None = None
) -> list[KittiObject]:
    """The objects of a label file.

    Args:
        text: of the file.
        path: names it in messages.
        exact: as TAO's ``dataset_convert`` reads: every line has 15 tokens, 14 of them numbers. Otherwise as its
            training reads a folder of labels: lines of fewer than 9 tokens are no objects, occlusion must be a whole
            number without a point and the box numbers; a 16th token is the score. Others that are missing or no
            numbers are 0, a score None.
        classes: that are wanted, in small letters; what can't be read is no object when it is of another, as comments
            are. None wants all.

    Raises:
        DataError: a line that isn't such an object; names it.
    """
    objects = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if exact and words and len(words) != _TOKENS:
            raise _wrong_count(words, number, path)
        if len(words) >= _LEAST:
            try:
                objects.append(_object(words, number, path, exact))
            except DataError:
                if classes is None or words[0].lower() in classes:
                    raise
    return objects


def _object(words: list[str], number: int, path: Path, exact: bool) -> KittiObject:
    values = [finite(word) for word in words[1 : _TOKENS + 1]]
    if name := _class_with_blank(words):
        raise _blank_in_class(words, name, number, path)
    if not exact:
        values[_OCCLUSION] = _whole(words[1 + _OCCLUSION])
    required = range(_TOKENS - 1) if exact else _READ
    wrong = next((at for at in required if values[at] is None), None)
    if wrong is not None:
        word = words[1 + wrong]
        kind, hint = "a number", "The class is one word, so blanks in it must be underscores"
        if finite(word) is not None:
            kind, hint = "a whole number", "Occlusion is 0, 1, 2 or 3"
        message = f"Line {number} of {path} has {word!r} where KITTI has {kind} (token {wrong + 2})"
        raise DataError(message, path, hint)
    score = values[_TOKENS - 1] if len(values) == _TOKENS else None
    numbers = [value or 0.0 for value in values[: _TOKENS - 1]] + [0.0] * (_TOKENS - 1 - len(values))
    before, corners, after = numbers[:3], numbers[3:7], numbers[7:]
    return replace(KittiObject(words[0], *[*corners, *before, *after]), score=score)


def _whole(word: str) -> float | None:
    """The number of a word that has neither point nor exponent; None for others."""
    try:
        int(word)
    except ValueError:
        return None
    return finite(word)


def _class_with_blank(words: list[str]) -> str | None:
    """The class of several words that a line begins with, such as "traffic light"; None where it is one."""
    count = next((at for at, word in enumerate(words[1:], start=1) if _is_number(word)), len(words))
    is_name = all(any(character.isalpha() for character in word) for word in words[:count])
    return " ".join(words[:count]) if 1 < count < len(words) and is_name else None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _blank_in_class(words: list[str], name: str, number: int, path: Path) -> DataError:
    return DataError(
        f"Line {number} of {path} has {words[1]!r} where KITTI has a number (token 2)",
        path,
        f"The class is one word, so blanks in it must be underscores: {name.replace(' ', '_')}",
    )


def _wrong_count(words: list[str], number: int, path: Path) -> DataError:
    count = len(words)
    if count > _TOKENS and (name := _class_with_blank(words)):
        return _blank_in_class(words, name, number, path)
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


def read_kitti(
    path: Path, *, images: Path | None = None, strict: bool = False, classes: Container[str] | None = None
) -> SampleTable:
    """Read a folder with ``images`` and ``labels``, or with those in split folders or with split folders in those.

    Lines are read as TAO's SSD and YOLO read a folder of labels (see :func:`parse_kitti`, which takes ``classes``). An
    empty file is a negative picture; a picture without a file is left out, with a warning. DontCare regions are no
    findings unless they are among ``classes``: they are counted in a warning and dropped. Boxes stay as written, even
    outside the picture.

    Raises:
        DataError: no such folders, a line that is no object, no picture with labels, or, when strict, labels without a
            picture.
    """
    folders = find_folders(path, images) if path.is_dir() else []
    if not folders:
        raise DataError(f"{path} has no folders images and labels", path, "Give the folder of pictures with --images")
    samples: list[Sample] = []
    unlabelled: list[Path] = []
    ignored = short = uneven = turned = 0
    keeps_regions = classes is not None and DONT_CARE in classes
    for pair in (pair for each in folders for pair in pairs_in(each, strict)):
        if not pair.labels.is_file():
            unlabelled.append(pair.picture)
            continue
        text = label_text(pair.labels)
        objects = parse_kitti(text, pair.labels, classes=classes)
        uneven += sum(
            _LEAST <= len(line.split()) < _TOKENS or len(line.split()) > _TOKENS + 1 for line in text.splitlines()
        )
        turned += sum(each.right < each.left or each.bottom < each.top for each in objects)
        short += sum(1 for line in text.splitlines() if line.split()) - len(objects)
        findings = [each for each in objects if keeps_regions or not each.is_ignored]
        ignored += len(objects) - len(findings)
        samples.append(boxed_sample(pair.picture, (each.box for each in findings), pair.split))
    root = common_folder([each.pictures for each in folders])
    if unlabelled:
        named = first_few(picture.relative_to(root) for picture in unlabelled)
        logger.warning("%d pictures of %s have no label file and are left out: %s", len(unlabelled), root, named)
    if short:
        reason = f"such as those of fewer than {_LEAST} tokens"
        logger.warning("%d lines in the labels of %s are no objects, %s, and are skipped.", short, path, reason)
    if uneven:
        logger.warning(
            "%d lines in the labels of %s have another number of tokens than KITTI's %d, or %d with a score; check "
            "that tokens 5 to 8 are left, top, right and bottom.",
            uneven,
            path,
            _TOKENS,
            _TOKENS + 1,
        )
    if turned:
        logger.warning(
            "%d boxes in the labels of %s end before they begin: xraycls data audit names them.", turned, path
        )
    if ignored:
        logger.warning("%d DontCare regions of %s are no findings and are left out.", ignored, path)
    return boxed_table(samples, root, "kitti", path)


def write_kitti(table: SampleTable, folder: Path) -> None:
    """Write ``labels/train/a.txt`` for every ``train/a.png`` below the table's root; empty for a negative picture.

    Raises:
        XrayclsError: a file can't be written.
    """
    write_labels(table, folder / "labels", lambda index: format_kitti(map(KittiObject.of, table[index].boxes)))
